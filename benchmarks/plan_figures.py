"""The arithmetic of `jepa-bench plan`: percentiles, time to a reference energy, what a plan calls, a row's fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jepa_ros.planning.config import PlannerConfig
from jepa_ros.types import Float32, Float64

# What a backward pass through the predictor counts, beside the forward pass that it needs: it computes two products
# for each of the forward pass's one.
BACKWARD_CALLS = 2
SLACK = 1e-6  # of a reference energy, relative: rounding

WITH_DERIVATIVE = ("gradient", "hybrid")


@dataclass(frozen=True)
class Run:
    """One plan, timed.

    Attributes:
        actions: `[H, A]` what the planner would send.
        seconds: from the problem to the plan.
        ends: `[I]` seconds from the start at which each iteration's energy was known.
        energies: `[I]` the best energy scored so far, at those times.
    """

    actions: Float32
    seconds: float
    ends: Float64
    energies: Float64


@dataclass(frozen=True)
class Label:
    """What plans, on what. `engine`: graph, numpy, or who else's planner; `threads`: of the CPU, None on a GPU."""

    planner: str
    engine: str
    provider: str
    precision: str
    threads: int | None

    def __str__(self) -> str:
        threads = "" if self.threads is None else f", {self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.planner}, {self.engine} ({self.provider} {self.precision}{threads})"


@dataclass
class Series:
    """All runs of one contender, one for each problem, with their energies judged by the fp32 model.

    Attributes:
        runs: in the problems' order.
        judged: `[N]` energy of each run's actions.
        references: `[N]` energies to reach.
    """

    runs: list[Run] = field(default_factory=list)
    judged: list[float] = field(default_factory=list)
    references: list[float] = field(default_factory=list)


def iteration_ends(marks: Sequence[float], end: float, iterations: int) -> Float64:
    """When each iteration's energy was known, from the times at which a planner asked for the time left.

    A planner asks before every call. Where one call runs several iterations, all of them are known when it ends; how
    many each ran is not said, so they are spread over the calls, and none is known before it can be.

    Args:
        marks: a time before each call.
        end: when the plan was there.
        iterations: that ran.
    """
    if iterations == 0:
        return np.zeros(0)
    calls = [*marks[1:iterations], end] if marks else [end]
    return np.array([calls[-(-(i + 1) * len(calls) // iterations) - 1] for i in range(iterations)])


def seconds_to(reference: float, run: Run) -> float:
    """When the best energy first is at most the reference; infinite where it never is."""
    reached = np.flatnonzero(run.energies <= reference + SLACK * abs(reference))
    return float(run.ends[reached[0]]) if reached.size else float("inf")


def own_reference(reference: float, run: Run) -> float:
    """The reference that the published search is held to: what it reached in this run where rounding, or another order
    of near-equal elites, left it above the reference's."""
    return max(reference, float(run.energies[-1])) if run.energies.size else reference


def time_to_reference(series: Series) -> tuple[float | None, float]:
    """Median ms to the reference, those that never reach it counted as infinite (None: half or more never do), and the
    share that reaches it."""
    times = np.array([seconds_to(r, run) for r, run in zip(series.references, series.runs, strict=True)])
    if not times.size:
        return None, 0.0
    middle = float(np.sort(times)[times.size // 2])  # of an even number the later one: no mean with infinity
    return (middle * 1e3 if np.isfinite(middle) else None), float(np.isfinite(times).mean())


def predictor_calls(planner: str, config: PlannerConfig, iterations: int) -> int:
    """Steps of single candidates that the predictor computes in a plan: samples × horizon × iterations.

    A derivative costs its backward pass besides (`BACKWARD_CALLS`): in all iterations of `gradient` and in `hybrid`'s
    descents, which are on the elites alone, but for the last, which scores only.

    Args:
        iterations: that ran, descents among them.
    """
    if planner not in WITH_DERIVATIVE:
        return config.samples * config.horizon * iterations
    rows, sampled = config.samples, 0
    if planner == "hybrid":
        rows, sampled = config.elites, min(config.iterations, iterations)
    descents = iterations - sampled
    passes = descents + BACKWARD_CALLS * max(descents - 1, 0)
    return config.horizon * (config.samples * sampled + rows * passes)


def times_ms(runs: Sequence[Run]) -> dict[str, float]:
    """Median, 99th percentile (of few runs: their slowest) and least."""
    ms = np.array([run.seconds for run in runs]) * 1e3
    return {
        "p50_ms": float(np.median(ms)),
        "p99_ms": float(np.percentile(ms, 99, method="higher")),
        "min_ms": float(ms.min()),
    }


def relative_energy(series: Series) -> float | None:
    """Median of energy over reference; None where a reference is not above zero, as with rewards."""
    if not min(series.references) > 0:  # or unknown
        return None
    return float(np.median(np.array(series.judged) / np.array(series.references)))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def row_of(unit: str, label: Label, config: PlannerConfig, series: Series) -> dict[str, Any]:
    """A contender's fields, but for those that need the others' (see `with_ratios`) or the device's limit."""
    milliseconds, share = time_to_reference(series)
    iterations = int(np.median([len(run.energies) for run in series.runs]))
    return {
        "unit": unit,
        "planner": label.planner,
        "engine": label.engine,
        "provider": label.provider,
        "precision": label.precision,
        "threads": label.threads,
        "samples": config.samples,
        "iterations": iterations,
        "horizon": config.horizon,
        "plans": len(series.runs),
        **times_ms(series.runs),
        "ratio_to_torch": None,
        "energy": float(np.median(series.judged)),
        "reference_energy": _known(float(np.median(series.references))),
        "energy_to_reference": relative_energy(series),
        "predictor_calls": predictor_calls(label.planner, config, iterations),
        "ms_to_reference_energy": milliseconds,
        "reached_reference": share,
        "speedup_to_reference": None,
        "flops": None,
        "share_of_limit": None,
        "start_up_s": None,
    }


def with_ratios(rows: list[dict[str, Any]], eager: str, published: str) -> None:
    """Fill in the ratios: against PyTorch eager at its best number of threads, of the same provider where it ran there.

    Args:
        rows: are changed in place.
        eager: the engine of PyTorch's plan with the rows' settings, where those are not the published ones.
        published: the engine of the published configuration, whose time to its own energy is what others are held to.
    """
    for provider in {row["provider"] for row in rows}:
        here = [row for row in rows if row["provider"] == provider]
        same = [row["p50_ms"] for row in here if row["engine"] == published]
        base = [row["p50_ms"] for row in here if row["engine"] == eager] or same
        own = [row["ms_to_reference_energy"] for row in here if row["engine"] == published]
        own = [ms for ms in own if ms is not None]
        for row in here:
            plan = same if row["engine"] == published else base
            if plan:
                row["ratio_to_torch"] = min(plan) / row["p50_ms"]
            if own and row["ms_to_reference_energy"]:
                row["speedup_to_reference"] = min(own) / row["ms_to_reference_energy"]
