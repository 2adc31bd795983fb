"""Runs → rows: JSON for machines, a table for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from .judge import Outcome
from .trial import Trials

MEDIAN_MS, WORST_MS = 50.0, 150.0  # of time to safe, on an idle machine


def _spread(values: Iterable[float | None], *quantiles: str) -> dict[str, float | None]:
    """Percentiles of times in s, as ms; None where nothing was measured."""
    found = np.array([value * 1e3 for value in values if value is not None])
    make = {"p50": lambda: np.median(found), "p99": lambda: np.percentile(found, 99), "max": found.max}
    return {name: round(float(make[name]()), 1) if len(found) else None for name in quantiles}


def late(trials: Trials) -> list[str]:
    """What is late: the median past `MEDIAN_MS` or a run past `WORST_MS`. Faults at which the dog may walk on have no
    time to safe."""
    if Outcome.WALK in trials.fault.expected:
        return []
    time = _spread((t.to_safe for t in trials.runs), "p50", "max")
    limits = {"p50": MEDIAN_MS, "max": WORST_MS}
    return [f"time to safe {name} {time[name]} ms" for name, most in limits.items() if (time[name] or 0.0) > most]


def row(trials: Trials) -> dict[str, Any]:
    """One row of the JSON."""
    fault, runs = trials.fault, trials.runs
    reasons = Counter(reason for trial in runs for reason in dict.fromkeys(trial.reasons))
    return {
        "fault": fault.name,
        "runs": len(runs),
        "skipped": trials.skipped,
        "detected": {"runs": sum(t.detected(fault) for t in runs) if fault.reasons else None, "as": dict(reasons)},
        "detected_as_expected": list(fault.reasons),
        "time_to_safe_ms": _spread((t.to_safe for t in runs), "p50", "p99", "max"),
        "detectable_after_ms": _spread((t.detectable_after for t in runs), "p50")["p50"],
        "still_ms": _spread((t.to_still for t in runs), "p50", "max"),
        "falls": sum(t.fell for t in runs),
        "unsafe_commands": sum(len(t.unsafe) for t in runs),
        "unsafe_why": sorted({u.why for t in runs for u in t.unsafe})[:5],
        "interfered": sum(t.interfered for t in runs),
        "false_stops": sum(t.false_stop(fault) for t in runs),
        "expected_state": sorted(outcome.value for outcome in fault.expected),
        "ended_in": dict(Counter(t.outcome.value for t in runs)),
        "fall_permitted": fault.fall_permitted,
        "recovered": sum(t.recovered for t in runs),
        "recovery_ms": _spread((t.to_stand for t in runs), "p50", "max"),
        "retries": sum(t.retries for t in runs),
        "max_stall_ms": round(max((t.stall for t in runs), default=0.0) * 1e3, 1),
        "failed": trials.complaints(),
        "late": late(trials),
    }


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """What the rows say, for a screen."""
    shown = Table(title="Faults while the simulated dog walks")
    for name in ("fault", "runs", "expected", "ended in", "detected as", "safe ms p50/p99/max", "tellable ms"):
        shown.add_column(name, overflow="fold", no_wrap=name in ("fault", "safe ms p50/p99/max"))
    for name in ("still ms", "falls", "unsafe", "false stops", "recovered", "stall ms"):
        shown.add_column(name, justify="right")
    for entry in rows:
        good = not entry["failed"]
        colour = "dim" if entry["skipped"] else "red" if not good else "yellow" if entry["late"] else "green"
        safe, still = entry["time_to_safe_ms"], entry["still_ms"]
        detected = entry["skipped"] or ", ".join(f"{r} {n}" for r, n in entry["detected"]["as"].items())
        shown.add_row(
            f"[{colour}]{entry['fault']}[/{colour}]",
            str(entry["runs"]),
            "/".join(entry["expected_state"]),
            ", ".join(f"{outcome} {n}" for outcome, n in entry["ended_in"].items()),
            detected,
            "/".join("–" if safe[q] is None else f"{safe[q]:.0f}" for q in ("p50", "p99", "max")),
            "–" if entry["detectable_after_ms"] is None else f"{entry['detectable_after_ms']:.0f}",
            "–" if still["p50"] is None else f"{still['p50']:.0f}",
            f"{entry['falls']}{'*' if entry['fall_permitted'] else ''}",
            str(entry["unsafe_commands"]),
            str(entry["false_stops"]),
            f"{entry['recovered']}/{entry['runs']}",
            f"{entry['max_stall_ms']:.0f}",
        )
    return shown
