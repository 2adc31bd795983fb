"""The same goals with and without ROS, paired: what do topics, processes and real time cost?

Takes the JSON that `python -m jepa_ros_simulation.evaluate` wrote, drives its first episodes through the running
nodes, scores them by the same rule, and compares episode by episode.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from jepa_ros.errors import JepaRosError
from jepa_ros.share import default_bundle
from jepa_ros_nodes.launching import RunningLaunch, private_environment
from jepa_ros_simulation.dog import DogSim
from jepa_ros_simulation.records import GoalRecord
from jepa_ros_simulation.report import summarise
from jepa_ros_simulation.rooms import Room
from jepa_ros_simulation.tasks import EPISODE_S, HELD_S, reached, wilson
from jepa_ros_simulation.walker import Walker

_SETTLE_S = 1.0
_NEVER_ARRIVE = -1.0


def held(record: GoalRecord) -> bool:
    """The evaluation's rule on a recorded drive: at the goal throughout the last second of 10 s."""
    last = [(x, y, yaw) for t, x, y, yaw in record.poses if EPISODE_S - HELD_S <= t <= EPISODE_S]
    return bool(last) and record.poses[-1][0] >= EPISODE_S - 0.2 and reached(record.goal, last)


def paired(first: list[bool], second: list[bool]) -> dict[str, Any]:
    """Difference of two paired success rates, its 95 % interval (Wald, paired) and McNemar's exact p."""
    n = len(first)
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    difference = (only_first - only_second) / n
    half = 1.959964 * math.sqrt(max(only_first + only_second - n * difference**2, 0.0)) / n
    discordant, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(discordant, k) for k in range(fewer + 1)) / 2**discordant
    return {
        "difference": difference,
        "ci95": [difference - half, difference + half],
        "only_first": only_first,
        "only_second": only_second,
        "mcnemar_p": min(1.0, 2 * tail),
    }


def drive(rows: list[dict[str, Any]], room: Room) -> tuple[list[GoalRecord], dict[str, Any], dict[str, int]]:
    """Drive every row's task through the nodes."""
    import rclpy

    from jepa_ros_nodes import security
    from jepa_ros_nodes.goal_client import GoalClient

    artist = Walker(DogSim(room))
    records = []
    security.init()
    with GoalClient() as client:
        client.wait_until_ready()
        for row in track(rows, description="through ROS"):
            view = artist.goal_view(*row["goal"])
            time.sleep(_SETTLE_S)
            client.place(tuple(row["start"]))
            time.sleep(0.3)  # the camera shows the new place
            records.append(client.reach(row["episode"], tuple(row["goal"]), view, EPISODE_S, _NEVER_ARRIVE))
        control, events = client.control_figures()
    rclpy.try_shutdown()
    artist.sim.close()
    return records, control, events


def main(
    evaluation: Annotated[Path, typer.Argument(help="JSON written by jepa_ros_simulation.evaluate")],
    bundle: Annotated[Path | None, typer.Option(help="the bundle that was evaluated; default: the shipped one")] = None,
    episodes: Annotated[int, typer.Option(min=1, help="how many of its episodes")] = 50,
    json_out: Annotated[Path | None, typer.Option("--json", help="write the comparison here")] = None,
    log: Annotated[Path, typer.Option(help="the launch's output")] = Path("runs/compare.log"),
) -> None:
    """Drive the episodes of an evaluation through ROS and compare, pair by pair."""
    console = Console()
    environment = private_environment()
    if any(os.environ.get(name) != value for name, value in environment.items()):
        os.execve(sys.executable, [sys.executable, "-m", "jepa_ros_nodes.compare", *sys.argv[1:]], environment)
    try:
        found = json.loads(evaluation.read_text())
        rows, room = found["rows"][:episodes], Room(found["room"])
        log.parent.mkdir(parents=True, exist_ok=True)
        arguments = {"bundle": str((bundle or default_bundle()).resolve()), "room": str(room.seed)}
        with RunningLaunch("sim.launch.py", arguments, log, environment):
            records, control, events = drive(rows, room)
    except (JepaRosError, OSError, KeyError, ValueError) as error:
        console.print(f"[red]compare: {error}[/red]")
        raise typer.Exit(1) from error
    through_ros, direct = [held(record) for record in records], [bool(row["success"]) for row in rows]
    result = {
        "episodes": len(rows),
        "ros": {"success_rate": float(np.mean(through_ros)), "ci95": wilson(sum(through_ros), len(rows))},
        "direct": {"success_rate": float(np.mean(direct)), "ci95": wilson(sum(direct), len(rows))},
        "paired": paired(through_ros, direct),
        "running": summarise(records, control, events),
    }
    table = Table(title=f"{len(rows)} identical goals, with and without ROS")
    for column in ("", "success", "95 % interval"):
        table.add_column(column)
    for name in ("ros", "direct"):
        table.add_row(name, f"{result[name]['success_rate']:.2f}", "{:.2f}–{:.2f}".format(*result[name]["ci95"]))
    pair = result["paired"]
    table.add_row("difference", f"{pair['difference']:+.2f}", "{:+.2f}–{:+.2f}".format(*pair["ci95"]))
    console.print(table)
    console.print(
        f"only with ROS {pair['only_first']}, only without {pair['only_second']}, McNemar p {pair['mcnemar_p']:.2f}"
    )
    if json_out is not None:
        json_out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    typer.run(main)
