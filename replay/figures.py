"""The plots of a replay's report. Each returns a figure, or None where there is nothing to draw.

Time runs from the bag's first message. Marks of safety events stand on every time axis, so that a plot answers what the
robot saw, planned and did when the filter stepped in.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from itertools import pairwise

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jepa_ros.types import Float64, UInt8
from jepa_ros_replay.result import STAGES, ReplayResult

SEVERITY_COLOURS = {"info": "0.6", "warning": "tab:orange", "error": "tab:red"}
_MOST_POINTS = 4000
_VIEW_WIDTH = 320
_WIDTH = 11.0


def inline(figure: Figure) -> str:
    """A figure as an `<img>` that needs no file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return _image(buffer.getvalue())


def inline_view(image: UInt8) -> str:
    """RGB `[h, w, 3]` as an `<img>`, no wider than the page needs."""
    height, width = image.shape[:2]
    if width > _VIEW_WIDTH:
        size = (_VIEW_WIDTH, max(1, round(height * _VIEW_WIDTH / width)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return _image(png(image))


def png(image: UInt8) -> bytes:
    """RGB `[h, w, 3]` as the bytes of a PNG file."""
    return bytes(cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))[1])


def _image(data: bytes) -> str:
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(data).decode()}">'


def latency(result: ReplayResult) -> Figure | None:
    """Box plot of each stage's time over all frames that were taken; whiskers at the 1st and 99th percentile."""
    rows = np.array([row.stage_ms for row in result.plans], dtype=np.float64).reshape(-1, len(STAGES))
    columns = [column[np.isfinite(column)] for column in rows.T]
    if not any(len(column) for column in columns):
        return None
    figure, (axes,) = _stack(1, 2.6, shared=False)
    axes.boxplot(columns, whis=(1, 99), flierprops={"markersize": 2})
    axes.set_xticks(range(1, len(STAGES) + 1), STAGES)
    if all((column > 0).all() for column in columns):
        axes.set_yscale("log")  # decoding takes a hundredth of planning
    axes.set_ylabel("ms")
    return figure


def surprise(result: ReplayResult) -> Figure | None:
    """Surprise over time, the line at 1, and where the shown frames are."""
    values = _finite((row.t, row.surprise) for row in result.plans)
    if not len(values):
        return None
    figure, (axes,) = _stack(1, 2.6)
    axes.plot(*_thin(values[:, 0] - result.began, values[:, 1]), linewidth=1)
    axes.axhline(1.0, color="0.3", linestyle="--", linewidth=1, label="99th percentile of the bundle's calibration")
    if result.views:
        at = [t - result.began for t, _, _ in result.views]
        axes.plot(at, [s for _, _, s in result.views], "v", color="tab:red", label="shown below")
    axes.set_ylabel("surprise")
    axes.set_ylim(bottom=0)
    _time_axis(axes, result)
    return figure


def energy(result: ReplayResult) -> Figure | None:
    """Distance to the goal over time, what the plans promised, and when goals began."""
    now = _finite((row.t, row.energy) for row in result.plans)
    promised = _finite((row.t, row.plan_energy) for row in result.plans)
    if not len(now) and not len(promised):
        return None
    figure, (axes,) = _stack(1, 2.6)
    for values, label in ((now, "of the frame"), (promised, "of the plan")):
        if len(values):
            axes.plot(*_thin(values[:, 0] - result.began, values[:, 1]), linewidth=1, label=label)
    for t, _ in result.goals:
        axes.axvline(t - result.began, color="tab:green", linewidth=1)
    axes.set_ylabel("energy")
    _time_axis(axes, result)
    return figure


def open_loop(result: ReplayResult) -> Figure | None:
    """Prediction error by horizon, beside that of copying the last latent."""
    rows = np.array([row[:3] for row in result.open_loop], dtype=np.float64)
    if not len(rows):
        return None
    figure, (axes,) = _stack(1, 2.6, shared=False)
    axes.plot(rows[:, 0], rows[:, 1], marker=".", label="model")
    axes.plot(rows[:, 0], rows[:, 2], marker=".", color="0.5", label="copying the last latent")
    axes.set(xlabel="horizon, model steps", ylabel="mean squared error")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    return figure


def commands(result: ReplayResult) -> Figure | None:
    """Joint targets of the shadow and of the bag, a panel a joint."""
    series = []
    for rows, label in ((result.commands, "shadow"), (result.recorded, "recorded")):
        if rows:
            times = np.array([row.t for row in rows]) - result.began
            series.append((label, times, np.stack([row.position for row in rows])))
    return _panels(result, result.joint_names, series, "rad")


def actions(result: ReplayResult) -> Figure | None:
    """Each plan's first action, what the shadow and what the robot applied, a panel an action."""
    planned = [(row.t, row.actions[0]) for row in result.plans if row.actions is not None]
    series = []
    for label, rows in (("planned", planned), ("shadow", result.applied), ("recorded", result.recorded_applied)):
        if rows:
            times = np.array([t for t, _ in rows]) - result.began
            series.append((label, times, np.stack([values for _, values in rows]).astype(np.float64)))
    return _panels(result, result.action_names, series, "SI units")


def coverage(result: ReplayResult) -> Figure | None:
    """A bar for each topic, broken where it was silent."""
    topics = list(dict.fromkeys([*result.topics.values(), *(gap.topic for gap in result.gaps)]))
    length = result.ended - result.began
    if not topics or length <= 0:
        return None
    figure, (axes,) = _stack(1, 0.6 + 0.3 * len(topics))
    for row, topic in enumerate(topics):
        silent = [(gap.begin - result.began, gap.end - gap.begin) for gap in result.gaps if gap.topic == topic]
        axes.broken_barh([(0, length)], (row - 0.3, 0.6), color="tab:blue")
        axes.broken_barh(silent, (row - 0.3, 0.6), color="white", edgecolor="tab:red", hatch="///")
    axes.set_yticks(range(len(topics)), topics, fontsize=8)
    axes.invert_yaxis()
    _time_axis(axes, result)
    return figure


def _stack(panels: int, height: float, shared: bool = True) -> tuple[Figure, list[Axes]]:
    """Panels under one another, each `height` inches tall; without pyplot, so that no figure outlives its report."""
    figure = Figure(figsize=(_WIDTH, height * panels), layout="constrained")
    return figure, list(figure.subplots(panels, 1, sharex=shared, squeeze=False)[:, 0])


def _panels(
    result: ReplayResult, names: Sequence[str], series: list[tuple[str, Float64, Float64]], unit: str
) -> Figure | None:
    """Small multiples: series are (label, times `[n]`, values `[n, k]`); three in a row."""
    count = min((values.shape[1] for _, _, values in series), default=0)
    if not count:
        return None
    names = names if len(names) >= count else [f"number {i}" for i in range(count)]
    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(_WIDTH, 1.7 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    for i, axes in enumerate(grid):
        if i >= count:
            axes.set_visible(False)
            continue
        for label, times, values in series:
            axes.plot(*_thin(times, values[:, i]), linewidth=0.7, label=label)
        _mark_events(axes, result)
        axes.set_title(names[i], fontsize=8)
        axes.tick_params(labelsize=7)
    grid[0].set_ylabel(unit, fontsize=8)
    figure.supxlabel("s from the first message", fontsize=8)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper right", ncols=len(series), fontsize=8)
    return figure


def _time_axis(axes: Axes, result: ReplayResult) -> None:
    """The whole bag's time, with the safety events on it."""
    _mark_events(axes, result)
    if result.ended > result.began:
        axes.set_xlim(0, result.ended - result.began)
    axes.set_xlabel("s from the first message")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=3)  # above, where it hides no peak


def _mark_events(axes: Axes, result: ReplayResult) -> None:
    for severity, colour in SEVERITY_COLOURS.items():
        at = [row.t - result.began for row in result.safety if row.severity == severity]
        if at:
            axes.vlines(at, 0, 1, color=colour, linewidth=0.8, alpha=0.6, transform=axes.get_xaxis_transform())


def _finite(rows: Iterable[tuple[float, float]]) -> Float64:
    """Rows `[n, 2]` of what is a number."""
    found = np.array(list(rows), dtype=np.float64).reshape(-1, 2)
    return np.asarray(found[np.isfinite(found).all(axis=1)], dtype=np.float64)


def _thin(times: Float64, values: Float64) -> tuple[Float64, Float64]:
    """At most `_MOST_POINTS` points: the least and the largest of each stretch, so that no peak is lost."""
    if len(times) <= _MOST_POINTS:
        return times, values
    edges = np.linspace(0, len(values), _MOST_POINTS // 2 + 1).astype(int)
    kept = set()
    for begin, end in pairwise(edges):
        kept |= {begin + int(np.argmin(values[begin:end])), begin + int(np.argmax(values[begin:end]))}
    where = np.array(sorted(kept))
    return times[where], values[where]
