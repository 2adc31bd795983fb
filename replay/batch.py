"""Many bags: each into its own report folder, and summary.json over them all. What is done already is kept."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from jepa_ros_replay.bags import BagError
from jepa_ros_replay.engine import ReplaySettings
from jepa_ros_replay.engine import replay as replay_bag
from jepa_ros_replay.goals import MOMENT
from jepa_ros_replay.jobs import Job, Replay, Row, goal_path, is_report, kept_row, robot_path, unique_names
from jepa_ros_replay.report import SUMMARY, finite_or_none
from jepa_ros_replay.workers import OnProgress, cores, run_local, run_ray

Engine = Literal["local", "ray"]


def run_batch(
    bags: Sequence[Path],
    bundle: Path,
    out: Path,
    settings: ReplaySettings | None = None,
    *,
    workers: int | None = None,
    engine: Engine = "local",
    force: bool = False,
    replay: Replay = replay_bag,
    console: Console | None = None,
) -> list[Row]:
    """Replay every bag, and write `out/<bag's name>/` and `out/summary.json`.

    Args:
        bags: as `find_bags` returns them; what earlier replays wrote is passed over.
        workers: how many at a time; None takes every core.
        force: replay also what has a report already.
        replay: what replays one bag; must be importable by other processes.
        console: where progress is shown; None shows none.

    Returns:
        A row a bag, in their order. A bag that could not be replayed has its error in its row.

    Raises:
        JepaRosError: there is no bag, a report would lie inside a bag, or the engine is not there.
    """
    jobs = jobs_for(bags, bundle, out, settings or ReplaySettings())
    rows: dict[str, Row] = {}
    for job in jobs:
        kept = None if force else kept_row(job)
        if kept is not None:
            rows[job.folder.name] = kept
    left = [job for job in jobs if job.folder.name not in rows]
    with _shown(console, len(jobs), len(rows)) as (on_progress, on_row):
        for row in _run(engine, left, replay, workers, on_progress):
            rows[row.name] = row
            on_row(row)
    ordered = [rows[job.folder.name] for job in jobs]
    write_summary(out, ordered)
    return ordered


def jobs_for(bags: Sequence[Path], bundle: Path, out: Path, settings: ReplaySettings) -> list[Job]:
    """A job a bag. Paths are absolute: a worker on another machine stands elsewhere.

    Raises:
        BagError: there is no bag, or a report would lie inside a bag.
    """
    found = [bag for bag in bags if not is_report(bag)]
    if not found:
        raise BagError("there is no bag to replay" + ("; those given are reports of earlier replays" if bags else ""))
    robot = robot_path(settings.robot)
    settings = replace(
        settings, goal=_absolute_goal(settings.goal), robot=str(robot.resolve()) if robot else settings.robot
    )
    jobs = []
    for bag, name in zip(found, unique_names(found), strict=True):
        folder = out.resolve() / name
        if bag.resolve() == folder or bag.resolve() in folder.parents:
            raise BagError(f"out {out}: the report of {bag} would lie inside the bag; choose another folder")
        jobs.append(Job(bag.resolve(), bundle.resolve(), settings, folder))
    return jobs


def write_summary(out: Path, rows: Sequence[Row]) -> Path:
    """Write totals and a row a bag."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / SUMMARY
    content = {"totals": totals(rows), "rows": [asdict(row) for row in rows]}
    path.write_text(json.dumps(finite_or_none(content), indent=1, allow_nan=False), encoding="utf-8")
    return path


def totals(rows: Sequence[Row]) -> dict[str, Any]:
    """Sums over the bags; of surprise, the median of the bags' own figures."""
    done = [row.summary for row in rows if row.summary is not None]
    seconds, wall = (sum(float(summary[key]) for summary in done) for key in ("seconds", "wall_s"))
    events: Counter[str] = Counter()
    for summary in done:
        events.update(summary["safety_events"])
    surprise = {}
    for key in ("p50", "p99"):
        values = [summary["surprise"][key] for summary in done if summary["surprise"][key] is not None]
        surprise[key] = float(np.median(values)) if values else None
    counted = ("frames", "frames_taken", "frames_late", "frames_dropped", "plans")
    return {
        "bags": len(rows),
        "kept": sum(row.kept for row in rows),
        "failed": sum(bool(row.error) for row in rows),
        "seconds": round(seconds, 3),
        "wall_s": round(wall, 3),
        "realtime_factor": round(seconds / wall, 3) if wall > 0 else None,
        **{key: sum(int(summary[key]) for summary in done) for key in counted},
        "frames_refused": sum(sum(summary["frames_refused"].values()) for summary in done),
        "faults": sum(len(summary["faults"]) for summary in done),
        "gaps": sum(len(summary["gaps"]) for summary in done),
        "safety_events": dict(events),
        "surprise": surprise,
    }


def _run(
    engine: Engine, jobs: Sequence[Job], replay: Replay, workers: int | None, on_progress: OnProgress
) -> Iterator[Row]:
    if not jobs:
        return iter(())
    if engine == "ray":
        return run_ray(jobs, replay, workers, on_progress)
    return run_local(jobs, replay, workers or cores(), on_progress)


@contextmanager
def _shown(console: Console | None, bags: int, kept: int) -> Iterator[tuple[OnProgress, Any]]:
    """A bar over the bags, and one for each bag that is being replayed."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console or Console(quiet=True)) as progress:
        whole = progress.add_task("bags", total=bags, completed=kept)
        bars: dict[str, TaskID] = {}

        def on_progress(name: str, part: float) -> None:
            if name not in bars:
                bars[name] = progress.add_task(f"  {name}", total=100)
            progress.update(bars[name], completed=round(100 * part))

        def on_row(row: Row) -> None:
            if row.name in bars:
                progress.remove_task(bars.pop(row.name))
            progress.advance(whole)

        yield on_progress, on_row


def _absolute_goal(goal: str) -> str:
    path, moment = goal_path(goal), MOMENT.fullmatch(goal)
    if path is None:
        return goal
    return f"{path.resolve()}@{moment['seconds']}" if moment else str(path.resolve())
