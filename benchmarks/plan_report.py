"""`jepa-bench plan` on the screen and as a plot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from jepa_ros.types import Float64
from jepa_ros_benchmarks.plan_figures import Label, Series

_POINTS = 200


def _or_dash(field: str, form: str, scale: float = 1.0) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: "–" if row[field] is None else format(row[field] * scale, form)


WHO: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "planner": lambda row: row["planner"],
    "engine": lambda row: row["engine"],
    "on": lambda row: f"{row['provider']} {row['precision']}" + (f" ×{row['threads']}" if row["threads"] else ""),
}
TIMES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "plan": lambda row: f"{row['samples']} × {row['iterations']}, {row['horizon']}",
    "ms (least, p99)": lambda row: f"{row['p50_ms']:.1f} ({row['min_ms']:.1f}, {row['p99_ms']:.1f})",
    "× torch": _or_dash("ratio_to_torch", ".2f"),
    "GFLOP": _or_dash("flops", ".2f", 1e-9),
    "of limit": _or_dash("share_of_limit", ".0%"),
    "start-up, s": _or_dash("start_up_s", ".1f"),
}
ENERGIES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "energy": _or_dash("energy", ".4g"),
    "of reference": _or_dash("energy_to_reference", ".3f"),
    "calls": lambda row: f"{row['predictor_calls']:,}",
    "ms to reference": _or_dash("ms_to_reference_energy", ".1f"),
    "reached": _or_dash("reached_reference", ".0%"),
    "× sooner": _or_dash("speedup_to_reference", ".1f"),
}


def tables_of(rows: list[dict[str, Any]], title: str) -> list[Table]:
    """Times and energies of all rows; compiled plans in bold."""
    tables = []
    for columns, what in ((TIMES, "times; plan: samples × iterations, horizon"), (ENERGIES, "energies")):
        table = Table(title=f"{title}: {what}")
        for column in (*WHO, *columns):
            table.add_column(column, justify="left" if column in WHO else "right", no_wrap=True)
        for row in rows:
            cells = [show(row) for show in (*WHO.values(), *columns.values())]
            table.add_row(*cells, style="bold" if row["engine"] == "graph" else None)
        tables.append(table)
    return tables


def energy_over_time(series: Series, times: Float64) -> Float64:
    """Quartiles of the best energy so far over the problems, at each time: `[3, len(times)]`.

    Relative to each problem's reference where all of those are above zero, else minus it. Infinite where too few have
    an energy yet.
    """
    references = np.array(series.references)
    curves = np.full((len(series.runs), len(times)), np.inf)
    for curve, run in zip(curves, series.runs, strict=True):
        done = np.searchsorted(run.ends, times, side="right")
        curve[done > 0] = run.energies[done[done > 0] - 1]
    scaled = curves / references[:, None] if (references > 0).all() else curves - references[:, None]
    ordered = np.sort(scaled, axis=0)
    return np.stack([ordered[int(share * (len(ordered) - 1))] for share in (0.25, 0.5, 0.75)])


def plot(found: Mapping[Label, Series], title: str, path: Path) -> None:
    """Energy against time: the median over the problems as a line, the quartiles as a band; of each planner and engine
    the fastest threads alone."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    fastest: dict[tuple[str, str, str, str], Label] = {}
    for label, series in found.items():
        key = (label.planner, label.engine, label.provider, label.precision)
        if key not in fastest or _median_s(series) < _median_s(found[fastest[key]]):
            fastest[key] = label
    ends = [run.ends for label in fastest.values() for run in found[label].runs if len(run.ends)]
    first, last = min(end[0] for end in ends), max(end[-1] for end in ends)
    times = np.geomspace(first, last * 1.05, _POINTS)
    figure, axes = plt.subplots(figsize=(9, 5.5))
    for label, look in zip(fastest.values(), line_looks(len(fastest)), strict=True):
        low, middle, high = (np.where(np.isfinite(q), q, np.nan) for q in energy_over_time(found[label], times))
        axes.step(times * 1e3, middle, where="post", label=str(label), **look)
        axes.fill_between(times * 1e3, low, high, step="post", alpha=0.15, color=look["color"], linewidth=0)
    relative = all(min(series.references) > 0 for series in found.values())
    axes.axhline(1.0 if relative else 0.0, color="black", linewidth=0.8, linestyle=":", label="reference energy")
    axes.set_xscale("log")
    if relative:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:.3g}")
        axes.yaxis.set_minor_formatter("{x:.3g}")
    axes.set_xlabel("time since the plan began, ms")
    axes.set_ylabel("best energy so far / reference energy" if relative else "best energy so far − reference energy")
    axes.set_title(title)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def line_looks(count: int) -> list[dict[str, Any]]:
    """Colour and dashes of this many lines, no two alike: matplotlib's ten colours, then again dashed, then with a dot
    more behind each dash for every further ten."""
    dashes = ["-", *((0, (5, 2, *(1, 2) * dots)) for dots in range(count // 10))]
    return [{"color": f"C{i % 10}", "linestyle": dashes[i // 10]} for i in range(count)]


def _median_s(series: Series) -> float:
    return float(np.median([run.seconds for run in series.runs]))
