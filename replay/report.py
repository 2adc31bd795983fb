"""The report of one replay: a page that needs nothing beside it, and summary.json."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from jepa_ros_replay import figures
from jepa_ros_replay.result import ReplayResult

REPORT, SUMMARY = "report.html", "summary.json"
_MOST_ROWS = 200
_MARKS = (
    "<p>Thin vertical lines on the plots are safety events: grey for notes, orange where the walk was stopped, red "
    "where the robot was damped.</p>"
)
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.3em .8em;border-bottom:1px solid #ddd;text-align:right;
vertical-align:top}th:first-child,td:first-child,table.text td{text-align:left}h2{border-top:2px solid #ccc;
margin-top:2em;padding-top:.5em}figure{display:inline-block;margin:.3em}figcaption{font-size:13px;color:#666}
img{max-width:100%}.wrong{border-left:4px solid #b3261e;padding-left:1em}.right{color:#0a7d32}.none{color:#666}"""


def write_report(folder: Path, result: ReplayResult) -> Path:
    """Write report.html and summary.json into `folder`, which is made; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    summary = finite_or_none(result.summary())
    (folder / SUMMARY).write_text(json.dumps(summary, indent=1, allow_nan=False), encoding="utf-8")
    parts = [
        f"<h1>Replay of {_text(Path(result.bag).name)}</h1>",
        _table((), about(result, summary).items(), "text"),
        _wrong(result),
        _MARKS if result.safety else "",
        _section("Latency", "Time of each stage for every frame that was taken.", figures.latency(result)),
        _latency_table(summary),
        _section(
            "Surprise",
            "How far what was seen lay from what the model had predicted. Above 1 the world did what 99 % of the "
            "bundle's calibration did not.",
            figures.surprise(result),
        ),
        _surprise_table(summary),
        _views(result),
        _section(
            "Open-loop prediction",
            "The model predicts from one frame through the recorded actions; a model that is not better than copying "
            "the last latent has learnt nothing about motion.",
            figures.open_loop(result),
        ),
        _open_loop_table(result),
        _section("Energy to the goal", "Green lines: a goal began.", figures.energy(result)),
        _section("Planned and recorded commands", "Joint targets.", figures.commands(result)),
        _difference_table(result),
        _section(
            "Planned and recorded actions",
            "What each plan would do first, what the shadow applied after safety, what the robot did.",
            figures.actions(result),
        ),
        _section("Safety events", "", None, bool(result.safety)),
        _safety_table(result),
        _section("Coverage", "When each topic spoke; hatched where it was silent.", figures.coverage(result)),
    ]
    title = f"<title>replay of {_text(Path(result.bag).name)}</title>"
    page = f"<!doctype html><html lang=en><meta charset=utf-8>{title}<style>{_STYLE}</style>{''.join(parts)}</html>"
    path = folder / REPORT
    path.write_text(page, encoding="utf-8")
    return path


def about(result: ReplayResult, summary: dict[str, Any]) -> dict[str, str]:
    """What was replayed, as people read it."""
    factor = summary["realtime_factor"]
    facts = {
        "bag": str(result.bag),
        "bundle": f"{result.bundle} ({result.bundle_sha256[:12]})",
        "robot": result.robot,
        "through": {"core": "the core, without ROS", "ros": "the ROS nodes"}.get(result.through, result.through),
        "length": f"{summary['seconds']:.1f} s",
        "replayed in": f"{result.wall_s:.1f} s" + (f", {factor:.1f} × real time" if factor else ""),
        "frames": f"{len(result.plans)} taken of {result.frames}, {summary['plans']} plans",
        "plan hash": result.plan_sha256[:12] if summary["plans"] else "no plan",
    }
    goals = [f"{what} from {t - result.began:.1f} s" for t, what in result.goals]
    return facts | {"goals": "; ".join(goals) or "none: nothing was planned"}


def complaints(result: ReplayResult) -> list[str]:
    """In words, what is wrong with the bag: damage, silence, and frames that could not be used."""
    found = []
    for fault in result.faults:
        where = "" if fault.offset is None else f" (byte {fault.offset} of {Path(fault.path).name})"
        found.append(f"{fault.what}{where}")
    for gap in result.gaps:
        begin = gap.begin - result.began
        found.append(f"{gap.topic} was silent for {gap.end - gap.begin:.1f} s from {begin:.1f} s on")
    found += [f"{_count(n, 'frame')} refused: {why}" for why, n in result.images_refused.items()]
    if result.dropped:
        found.append(f"{_count(result.dropped, 'camera frame')} missing by count")
    if result.late:
        found.append(f"{_count(result.late, 'camera frame')} came more than one frame period after the stamp")
    return found


def finite_or_none(value: Any) -> Any:
    """The same, with None for every number that JSON does not know (NaN, infinity)."""
    if isinstance(value, dict):
        return {key: finite_or_none(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_none(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _wrong(result: ReplayResult) -> str:
    found = complaints(result)
    if not found:
        return '<p class="right">Nothing is wrong with this bag: no faults, no gaps, every frame could be used.</p>'
    items = "".join(f"<li>{_text(sentence)}</li>" for sentence in found[:_MOST_ROWS])
    return f'<div class="wrong"><p>What is wrong with this bag:</p><ul>{items}</ul>{_more(len(found))}</div>'


def _section(title: str, meaning: str, figure: Figure | None, there: bool = False) -> str:
    """A heading with its plot; says so where there is nothing to show."""
    head = f"<h2>{title}</h2>"
    if figure is None:
        return head if there else f'{head}<p class="none">none in this replay</p>'
    return f"{head}<p>{meaning}</p>{figures.inline(figure)}"


def _latency_table(summary: dict[str, Any]) -> str:
    if not summary["frames_taken"]:
        return ""
    rows = [(stage, *map(_number, found.values())) for stage, found in summary["stage_ms"].items()]
    return _table(("stage, ms", "p50", "p99", "largest"), rows)


def _surprise_table(summary: dict[str, Any]) -> str:
    found = summary["surprise"]
    if found["p50"] is None:
        return ""
    row = ("surprise", *(_number(found[key]) for key in ("p50", "p99", "max")), f"{found['above_1']:.1%}")
    return _table(("", "p50", "p99", "largest", "above 1"), [row])


def _views(result: ReplayResult) -> str:
    if not result.views:
        return ""
    shown = "".join(
        f"<figure>{figures.inline_view(image)}<figcaption>{t - result.began:.1f} s, surprise {value:.2f}</figcaption>"
        "</figure>"
        for t, image, value in result.views
    )
    return f"<p>Where the world disobeyed the model most:</p>{shown}"


def _open_loop_table(result: ReplayResult) -> str:
    rows = [
        (str(steps), f"{model:.4g}", f"{copied:.4g}", f"{model / copied:.2f}" if copied > 0 else "–", str(windows))
        for steps, model, copied, windows in result.open_loop
    ]
    return _table(("steps", "model", "copying the last", "model / copying", "windows"), rows)


def _difference_table(result: ReplayResult) -> str:
    rows = [(joint, f"{rms:.4f}") for joint, rms in result.command_difference().items()]
    return _table(("joint", "RMS difference, rad"), rows)


def _safety_table(result: ReplayResult) -> str:
    rows = [(f"{row.t - result.began:.2f}", row.severity, row.reason, row.detail) for row in result.safety]
    return _table(("s", "severity", "reason", "what happened"), rows[:_MOST_ROWS], "text") + _more(len(rows))


def _more(count: int) -> str:
    return f"<p>… and {count - _MOST_ROWS} more.</p>" if count > _MOST_ROWS else ""


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], kind: str = "") -> str:
    """Text in rows; nothing where there are none."""
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    heads = f"<tr>{''.join(f'<th>{_text(cell)}</th>' for cell in head)}</tr>" if head else ""
    return f'<table class="{kind}">{heads}{body}</table>' if body else ""


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _text(value: str) -> str:
    return html.escape(str(value))
