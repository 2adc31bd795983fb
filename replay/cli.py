"""`jepa-replay`: bags through a bundle without ROS, a report for each, and what changed between two replays.

Exit codes: 0 fine; 1 a bag could not be replayed, or the comparison found a regression; 2 wrong usage.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jepa_ros.bundle.manifest import MANIFEST_NAME
from jepa_ros.errors import JepaRosError
from jepa_ros.share import default_bundle
from jepa_ros_replay.bags import find_bags
from jepa_ros_replay.batch import run_batch
from jepa_ros_replay.compare import THRESHOLD, Comparison, compare
from jepa_ros_replay.engine import ReplaySettings
from jepa_ros_replay.goals import MOMENT
from jepa_ros_replay.jobs import Row
from jepa_ros_replay.report import REPORT, SUMMARY
from jepa_ros_replay.summaries import read_summaries

_FAILED, _USAGE = 1, 2
_PAGE_COLUMNS = 160
_COLUMNS = (
    "bag", "seconds", "× real time", "plans", "surprise p50/p99", "open loop", "safety events", "faults", "plan hash"
)  # fmt: skip


class Engine(str, Enum):
    """Where bags are replayed."""

    local = "local"
    ray = "ray"


def command(
    paths: Annotated[
        list[Path], typer.Argument(metavar="BAG…", help="bags, or folders of them; with --compare two summary.json")
    ],
    bundle: Annotated[Path | None, typer.Option(help="folder of the bundle; default: the one that is shipped")] = None,
    out: Annotated[Path, typer.Option(help="folder of the reports; what it holds already is not done again")] = Path(
        "runs/replay"
    ),
    goal: Annotated[
        str, typer.Option(metavar="NAME|IMAGE", help="drive to this; default: the bag's goals, else its last frame")
    ] = "",
    goal_from: Annotated[str, typer.Option(metavar="BAG@12.5s", help="drive to what was seen then")] = "",
    remap: Annotated[
        list[str] | None, typer.Option(metavar="FROM:=TO", help="usual topic := topic in the bag; may be repeated")
    ] = None,
    robot: Annotated[str, typer.Option(help="name or YAML of the robot whose commands are replayed")] = "go2",
    seed: Annotated[int, typer.Option(help="of the planner's samples")] = 0,
    planner: Annotated[str, typer.Option(help="planner settings other than the bundle's, as JSON")] = "{}",
    save_plans: Annotated[
        bool, typer.Option("--save-plans", help="also write each bag's plans.npz, to train a policy prior on")
    ] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="bags at a time; default: one a core")] = None,
    engine: Annotated[Engine, typer.Option(help="processes of this machine, or a Ray cluster")] = Engine.local,
    force: Annotated[bool, typer.Option("--force", help="replay also what has a report already")] = False,
    compare_: Annotated[bool, typer.Option("--compare", help="compare two summary.json, old and new")] = False,
    threshold: Annotated[float, typer.Option(min=0.0, help="of --compare: relative change that counts")] = THRESHOLD,
    json_out: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="of --compare: write what was found here")
    ] = None,
) -> None:
    """Replay recorded drives through a world model, without ROS; or compare two replays."""
    console = Console(width=None if sys.stdout.isatty() else _PAGE_COLUMNS)
    try:
        if compare_:
            raise typer.Exit(_compare(paths, threshold, json_out, console))
        if json_out is not None:
            raise _wrong("--json", "only --compare writes a comparison")
        settings = ReplaySettings(
            robot=robot,
            seed=seed,
            remaps=_remaps(remap or []),
            goal=_goal(goal, goal_from),
            planner=_planner(planner),
            save_plans=save_plans,
        )
        chosen = bundle or default_bundle()
        if not (chosen / MANIFEST_NAME).is_file():
            raise JepaRosError(f"bundle {chosen}: no such folder, or no {MANIFEST_NAME} in it")
        rows = run_batch(
            find_bags(paths),
            chosen,
            out,
            settings,
            workers=workers,
            engine=engine.value,
            force=force,
            console=console,
        )
    except JepaRosError as error:
        console.print(f"[red]jepa-replay: {escape(str(error))}[/red]", soft_wrap=True)
        raise typer.Exit(_USAGE) from error
    show(rows, out, console)
    raise typer.Exit(_FAILED if any(row.error for row in rows) else 0)


def show(rows: Sequence[Row], out: Path, console: Console) -> None:
    """Print where the reports are and what failed, and a table as the last lines."""
    for row in rows:
        if row.error:
            console.print(f"[red]{escape(row.name)}: {escape(row.error)}[/red]", soft_wrap=True)
    kept = sum(row.kept for row in rows)
    if kept:
        console.print(f"{kept} of {len(rows)} had been replayed before and were kept (--force replays them)")
    if any(row.summary is not None for row in rows):
        console.print(
            f"reports: {escape(str(out / (rows[0].name if len(rows) == 1 else '*') / REPORT))}", soft_wrap=True
        )
    console.print(f"summary: {escape(str(out / SUMMARY))}", soft_wrap=True)
    table = Table()
    for column in _COLUMNS:
        table.add_column(column, overflow="fold")
    for row in rows:
        cells = ("failed", *[""] * (len(_COLUMNS) - 2)) if row.summary is None else _cells(row.summary)
        table.add_row(escape(row.name), *cells)
    console.print(table)


def _cells(summary: dict[str, Any]) -> tuple[str, ...]:
    surprise, factor = summary["surprise"], summary["realtime_factor"]
    longest = max(summary["open_loop"], key=lambda row: row["steps"], default=None)
    ahead = "–"
    if longest is not None:
        ahead = f"{_short(longest['model'])} / {_short(longest['copy_last'])} at {longest['steps']}"
    return (
        f"{summary['seconds']:.1f}",
        _short(factor),
        str(summary["plans"]),
        f"{_short(surprise['p50'])} / {_short(surprise['p99'])}",
        ahead,
        str(sum(summary["safety_events"].values())),
        str(len(summary["faults"])),
        summary["plan_sha256"][:12] if summary["plans"] else "–",
    )


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _wrong(option: str, what: str) -> typer.BadParameter:
    return typer.BadParameter(what, param_hint=option)


def _goal(goal: str, goal_from: str) -> str:
    """What the settings call a goal."""
    if goal and goal_from:
        raise _wrong("--goal-from", "give --goal or --goal-from, not both")
    if goal_from and MOMENT.fullmatch(goal_from) is None:
        raise _wrong("--goal-from", f"{goal_from!r}: must be a bag and a time in it, as in drive@12.5s")
    return goal_from or goal


def _planner(text: str) -> tuple[tuple[str, Any], ...]:
    """Pairs of a planner setting and its value."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise _wrong("--planner", f"{text!r}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise _wrong("--planner", f'{text!r}: must be names and values, as in {{"samples": 300}}')
    return tuple(sorted(found.items()))


def _remaps(given: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of usual topic and topic in the bag."""
    pairs = []
    for word in given:
        usual, mark, name = word.partition(":=")
        if not (usual and mark and name):
            raise _wrong("--remap", f"{word!r}: must be FROM:=TO, as in camera/image_raw:=/front/image")
        pairs.append((usual, name))
    return tuple(pairs)


def _compare(paths: Sequence[Path], threshold: float, json_out: Path | None, console: Console) -> int:
    """Print a comparison; returns the exit code."""
    if len(paths) != 2:
        raise _wrong("--compare", f"takes two summary.json, the old and the new, not {len(paths)}")
    found = compare(read_summaries(paths[0]), read_summaries(paths[1]), threshold)
    if json_out is not None:
        try:
            json_out.write_text(json.dumps(found.to_dict(), indent=1), encoding="utf-8")
        except OSError as error:
            raise JepaRosError(f"{json_out}: cannot be written: {error.strerror}") from error
    show_comparison(found, console)
    return _FAILED if found.regression else 0


def show_comparison(found: Comparison, console: Console) -> None:
    """Print every figure, and the verdict as the last line."""
    several = len(found.bags) > 1
    table = Table(caption="open-loop errors are shares of what copying the last latent costs")
    columns = ("figure", "old", "new", "new / old", "", "95 % interval", "sign test p", "bags")
    for column in columns if several else columns[:5]:
        table.add_column(column)
    for figure in found.figures:
        colour = {"better": "green", "worse": "red"}.get(figure.verdict, "default")
        cells = [figure.name, _short(figure.old), _short(figure.new), _short(figure.ratio)]
        cells.append(f"[{colour}]{figure.verdict}[/{colour}]")
        if several:
            between = "–" if figure.interval is None else "{:.3g}–{:.3g}".format(*figure.interval)
            cells += [between, _short(figure.sign_p), str(figure.bags)]
        table.add_row(*cells)
    console.print(table)
    console.print(f"plans are the same bit for bit in {found.same_plans} of {len(found.bags)} bags")
    console.print(escape(found.verdict), soft_wrap=True, style="red" if found.regression else "green")


def main() -> None:
    """The console script."""
    typer.run(command)


if __name__ == "__main__":
    main()
