"""The demo: launch the simulated dog and its nodes, show it goals one after another, and leave a report.

`python -m jepa_ros_nodes.demo --help`. Everything that moves the dog goes through ROS topics between processes; this
script only chooses goals, draws their views, and writes down what it hears.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from jepa_ros.errors import JepaRosError
from jepa_ros.share import default_bundle
from jepa_ros_nodes.launching import RunningLaunch, private_environment
from jepa_ros_simulation.dog import DogSim
from jepa_ros_simulation.film import write_film
from jepa_ros_simulation.records import GoalRecord
from jepa_ros_simulation.report import headlines, summarise, write_report
from jepa_ros_simulation.rooms import Room
from jepa_ros_simulation.tasks import FARTHEST_M, NEAREST_M, WIDEST_TURN_RAD, Pose, why_invalid, wrap
from jepa_ros_simulation.walker import Walker

if TYPE_CHECKING:  # imported where it is used: `--help` needs no ROS
    from jepa_ros_nodes.goal_client import GoalClient

_DRAWS, _PLACES, _THERE_M = 500, 20, 0.1


def next_goal(room: Room, pose: Pose, rng: np.random.Generator) -> Pose | None:
    """A goal that can be reached straight from `pose`: 0.6–1.5 m away, turned by up to 60°; None if there is none."""
    for _ in range(_DRAWS):
        distance, bearing = rng.uniform(NEAREST_M, FARTHEST_M), rng.uniform(-np.pi, np.pi)
        turn = rng.uniform(-WIDEST_TURN_RAD, WIDEST_TURN_RAD)
        goal = (pose[0] + distance * np.cos(bearing), pose[1] + distance * np.sin(bearing), wrap(pose[2] + turn))
        if why_invalid(room, pose, goal) is None:
            return (float(goal[0]), float(goal[1]), float(goal[2]))
    return None


def goal_from(client: GoalClient, room: Room, rng: np.random.Generator) -> Pose:
    """A goal that can be reached straight from where the dog is; where there is none, the dog is put elsewhere first.

    Raises:
        JepaRosError: nor is there one from any of the other places, or the simulator does not answer.
    """
    client.wait_for("the dog's pose", lambda: client.pose is not None, 5.0)
    for _ in range(_PLACES):
        goal = next_goal(room, client.pose, rng)
        if goal is not None:
            return goal
        pose = room.sample_pose(rng, radius=0.5)
        client.place(pose)
        # the pose is told by a topic: until it comes, the dog seems to be where it was
        client.wait_for("the dog at its new place", partial(_is_near, client, pose), 5.0)
    raise JepaRosError(f"room {room.seed}: no goal can be reached straight from any of {_PLACES} places")


def _is_near(client: GoalClient, pose: Pose) -> bool:
    return float(np.hypot(client.pose[0] - pose[0], client.pose[1] - pose[1])) < _THERE_M


def drive(
    goals: int, seed: int, room: Room, time_limit: float
) -> tuple[list[GoalRecord], dict[str, Any], dict[str, int]]:
    """Drive to goals one after another from wherever the dog is; returns records, control figures and safety events."""
    import rclpy

    from jepa_ros_nodes import security
    from jepa_ros_nodes.goal_client import GoalClient

    rng, artist = np.random.default_rng(seed), Walker(DogSim(room))
    records: list[GoalRecord] = []
    security.init()
    with GoalClient() as client:
        client.wait_until_ready()
        for number in track(range(1, goals + 1), description="driving to goals"):
            goal = goal_from(client, room, rng)
            records.append(client.reach(number, goal, artist.goal_view(*goal), time_limit))
        control, events = client.control_figures()
    rclpy.try_shutdown()
    artist.sim.close()
    return records, control, events


def show(summary: dict[str, Any], console: Console) -> None:
    """Print the outcome as the last lines."""
    table = Table(title=f"{summary['reached']} of {summary['goals']} goals reached ({summary['rule'].split(';')[0]})")
    for column in ("goal", "at the goal", "the robot says", "distance", "turn", "time"):
        table.add_column(column)
    for row in summary["rows"]:
        end = (f"{row['distance_m']:.2f} m", f"{row['yaw_error_deg']:.0f}°", f"{row['elapsed_s']:.1f} s")
        table.add_row(str(row["goal"]), "yes" if row["at_goal"] else "no", row["reason"], *end)
    console.print(table)
    figures = Table(show_header=False)
    for name, value in headlines(summary).items():
        figures.add_row(name, value)
    console.print(figures)


def main(
    goals: Annotated[int, typer.Option(min=1, help="how many goals")] = 10,
    seed: Annotated[int, typer.Option(help="of the goals")] = 0,
    room: Annotated[int, typer.Option(help="which room (its seed); the default bundle knows room 0")] = 0,
    bundle: Annotated[Path | None, typer.Option(help="folder of the bundle; default: the one that is shipped")] = None,
    time_limit: Annotated[float, typer.Option(min=1.0, help="seconds a goal")] = 15.0,
    out: Annotated[Path | None, typer.Option(help="folder for the report; default runs/<time>")] = None,
    film: Annotated[bool, typer.Option(help="also draw an MP4 of the drive")] = True,
) -> None:
    """Launch the simulated dog, drive it to goal images with a world model, and write a report."""
    console = Console()
    folder = out or Path("runs") / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    environment = private_environment()
    if any(os.environ.get(name) != value for name, value in environment.items()):
        os.execve(sys.executable, [sys.executable, "-m", "jepa_ros_nodes.demo", *sys.argv[1:]], environment)
    bundle = bundle or default_bundle()
    arguments = {"bundle": str(bundle.resolve()), "room": str(room), "record": str((folder / "recording").resolve())}
    try:
        if not bundle.is_dir():
            raise JepaRosError(f"bundle {bundle}: no such folder")
        folder.mkdir(parents=True, exist_ok=True)
        with RunningLaunch("sim.launch.py", arguments, folder / "launch.log", environment):
            records, control, events = drive(goals, seed, Room(room), time_limit)
        if film:
            write_film(folder / "drive.mp4", records, Room(room))
    except JepaRosError as error:
        console.print(f"[red]demo: {error}[/red]\nthe launch log is {folder / 'launch.log'}")
        raise typer.Exit(1) from error
    summary = summarise(records, control, events)
    report = write_report(
        folder, records, Room(room), summary, {"bundle": bundle.name, "room": str(room), "seed": str(seed)}
    )
    show(summary, console)
    console.print(f"report: {report}")


if __name__ == "__main__":
    typer.run(main)
