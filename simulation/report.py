"""The report of a drive to several goals: one HTML file that needs nothing beside it, and summary.json."""

from __future__ import annotations

import base64
import html
import io
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle

from jepa_ros_simulation.records import GoalRecord, percentiles_ms
from jepa_ros_simulation.rooms import HALF_SIDE_M, Room

RULE = "the dog ended within 0.25 m and 15 deg of the goal pose (truth); reported_reached is by latents alone"
_STAGES = ("image age", "decode", "encode", "plan", "total")
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.3em .8em;border-bottom:1px solid #ddd;text-align:right}
th:first-child,td:first-child{text-align:left}.goal{border-top:2px solid #ccc;margin-top:2em}
figure{display:inline-block;margin:.3em}figcaption{font-size:13px;color:#666}
.yes{color:#0a7d32}.no{color:#b3261e}img{max-width:100%}"""


def draw_room(axes: Axes, room: Room) -> None:
    """The room from above, x to the right."""
    for piece in room.furniture:
        if piece.shape == "cylinder":
            axes.add_patch(Circle((piece.x, piece.y), piece.half[0], color=piece.rgb))
        else:
            corner = (piece.x - piece.half[0], piece.y - piece.half[1])
            size = (2 * piece.half[0], 2 * piece.half[1])
            axes.add_patch(
                Rectangle(corner, *size, angle=np.degrees(piece.yaw), rotation_point="center", color=piece.rgb)
            )
    axes.set(
        xlim=(-HALF_SIDE_M, HALF_SIDE_M), ylim=(-HALF_SIDE_M, HALF_SIDE_M), aspect="equal", xlabel="x, m", ylabel="y, m"
    )


def draw_drive(axes: Axes, record: GoalRecord) -> None:
    """The way taken, with an arrow for the pose at the start (blue), at the goal (green) and at the end (red)."""
    if record.poses:
        way = np.array(record.poses)
        axes.plot(way[:, 1], way[:, 2], color="0.25", linewidth=1.2)
    ends = [("tab:blue", record.start), ("tab:green", record.goal)]
    ends += [("tab:red", record.poses[-1][1:])] if record.poses else []
    for colour, (x, y, yaw) in ends:
        axes.arrow(
            x, y, 0.22 * np.cos(yaw), 0.22 * np.sin(yaw), width=0.03, color=colour, length_includes_head=True, zorder=3
        )


def _table(rows: dict[str, str]) -> str:
    """Two columns of text."""
    cells = (f"<tr><td>{html.escape(key)}</td><td>{html.escape(value)}</td></tr>" for key, value in rows.items())
    return f"<table>{''.join(cells)}</table>"


def _inline(figure: Any) -> str:
    """A figure as an `<img>`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80, bbox_inches="tight")
    plt.close(figure)
    return f'<img src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def _goal_figure(record: GoalRecord, room: Room) -> str:
    """Views, path, energy and surprise, latencies and joint targets of one goal."""
    figure, grid = plt.subplots(2, 4, figsize=(15, 7))
    views = (("start", record.start_view), ("goal", record.goal_view), ("end", record.end_view))
    for axes, (title, view) in zip(grid[0], views, strict=False):
        if view is not None:
            axes.imshow(view)
        axes.set(title=title, xticks=[], yticks=[])
    draw_room(grid[0, 3], room)
    draw_drive(grid[0, 3], record)
    grid[0, 3].set_title("path from above")
    series: list[tuple[str, Callable[[Axes], None]]] = [
        ("energy to the goal", lambda axes: _plot(axes, record.plans, 1, "energy")),
        ("surprise (1 = 99th percentile of calibration)", lambda axes: _plot(axes, record.plans, 2, "surprise")),
        ("latency of a plan by stage, ms", lambda axes: _plot_stages(axes, record)),
        ("joint targets, rad", lambda axes: _plot_commands(axes, record)),
    ]
    for axes, (title, draw) in zip(grid[1], series, strict=True):
        draw(axes)
        axes.set_title(title, fontsize=10)
    figure.tight_layout()
    return _inline(figure)


def _plot(axes: Axes, rows: list[tuple[float, ...]], column: int, label: str) -> None:
    values = np.array(rows)
    if len(values):
        axes.plot(values[:, 0], values[:, column], marker=".", markersize=3)
    axes.set(xlabel="s", ylabel=label)
    axes.set_ylim(bottom=0)


def _plot_stages(axes: Axes, record: GoalRecord) -> None:
    values = np.array(record.stages) * 1e3
    if len(values):
        axes.boxplot([values[:, i] for i in range(len(_STAGES))], showfliers=True)
        axes.set_xticks(range(1, len(_STAGES) + 1), _STAGES, fontsize=7)


def _plot_commands(axes: Axes, record: GoalRecord) -> None:
    values = np.array(record.commands)
    if len(values):
        axes.plot(values[:, 0], values[:, 1:], linewidth=0.5)
    axes.set_xlabel("s")


def summarise(records: list[GoalRecord], control: dict[str, Any], events: dict[str, int]) -> dict[str, Any]:
    """The figures of summary.json. `control` has command_hz, ticks and missed_ticks."""
    ends = [record.end_errors() for record in records]
    return {
        "goals": len(records),
        "reached": sum(record.at_goal() for record in records),
        "reported_reached": sum(record.reached for record in records),
        "rule": RULE,
        "median_distance_m": round(float(np.median([d for d, _ in ends])), 3) if ends else None,
        "median_yaw_error_deg": round(float(np.degrees(np.median([a for _, a in ends]))), 1) if ends else None,
        "plan_ms": percentiles_ms(records, 3),
        "total_ms": percentiles_ms(records, 4),
        "command_hz": round(float(control["command_hz"]), 2),
        "deadline_miss_rate": control["missed_ticks"] / max(control["ticks"], 1),
        "safety_events": events,
        "rows": [
            {
                "goal": record.number,
                "at_goal": record.at_goal(),
                "reported": record.reached,
                "reason": record.reason,
                "distance_m": round(distance, 3),
                "yaw_error_deg": round(float(np.degrees(turn)), 1),
                "elapsed_s": round(record.elapsed, 2),
                "start": record.start,
                "target": record.goal,
            }
            for record, (distance, turn) in zip(records, ends, strict=True)
        ],
    }


def headlines(summary: dict[str, Any]) -> dict[str, str]:
    """The figures of a summary as people read them."""
    plan, total, events = summary["plan_ms"], summary["total_ms"], summary["safety_events"]
    return {
        "goals reached": f"{summary['reached']} of {summary['goals']}",
        "median distance at the end": f"{summary['median_distance_m']} m, {summary['median_yaw_error_deg']}°",
        "plan latency": f"p50 {plan['p50']:.0f} ms, p99 {plan['p99']:.0f} ms",
        "image to plan": f"p50 {total['p50']:.0f} ms, p99 {total['p99']:.0f} ms",
        "control rate": f"{summary['command_hz']:.1f} Hz, {summary['deadline_miss_rate']:.2%} of ticks missed",
        "safety events": ", ".join(f"{reason} × {count}" for reason, count in events.items()) or "none",
    }


def write_report(
    folder: Path, records: list[GoalRecord], room: Room, summary: dict[str, Any], about: dict[str, str]
) -> Path:
    """Write report.html and summary.json into `folder`; `about` is shown at the head."""
    (folder / "summary.json").write_text(json.dumps(summary, indent=1))
    figure, axes = plt.subplots(figsize=(6, 6))
    draw_room(axes, room)
    for record in records:
        draw_drive(axes, record)
    facts = {**about, "machine": f"{platform.machine()}, {platform.system()}", "success": summary["rule"]}
    head = _table(facts)
    body = _table(headlines(summary))
    parts = []
    for record, row in zip(records, summary["rows"], strict=True):
        mark = '<span class="yes">at the goal</span>' if row["at_goal"] else '<span class="no">not at the goal</span>'
        parts.append(
            f'<div class="goal"><h2>Goal {record.number}: {mark}</h2><p>{row["distance_m"]:.2f} m and '
            f"{row['yaw_error_deg']:.0f}° away after {row['elapsed_s']:.1f} s; the robot says: "
            f"{html.escape(record.reason)}</p>{_goal_figure(record, room)}</div>"
        )
    film = '<p><video src="drive.mp4" controls width="640"></video> <a href="drive.mp4">drive.mp4</a></p>'
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>jepa_ros drive</title><style>{_STYLE}</style>"
        f"<h1>The robot dog walks to what it is shown</h1>{head}{body}"
        f"<figure>{_inline(figure)}<figcaption>all drives from above; blue start, green goal, red end</figcaption>"
        "</figure>"
        f"{film if (folder / 'drive.mp4').exists() else ''}{''.join(parts)}</html>"
    )
    path = folder / "report.html"
    path.write_text(page)
    return path
