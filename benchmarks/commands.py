"""How steady the command stream is: joint commands at a high rate for minutes, with the planner running beside them.

    jepa-bench commands --rate 500 --minutes 10

Launches `sim.launch.py` with joint_command at that rate, and reads when each command reached a listener outside (the
time at which DDS received it). Three rows: a bare loop of this package's `Ticker` before anything else runs, which is
what this machine can do at all; the dog standing without a goal; and driving, with a plan for every model step. An
interval's error is its distance from the period. Beside each, the longest time for which the machine itself stood
still, measured by a process that only sleeps.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import rclpy
import typer
import yaml
from jepa_ros_msgs.msg import JointCommand
from rich.console import Console
from rich.table import Table

from jepa_ros.share import default_bundle, share_folder
from jepa_ros_benchmarks.stalls import longest_stall
from jepa_ros_nodes import qos
from jepa_ros_nodes.goal_client import GoalClient
from jepa_ros_nodes.launching import RunningLaunch, private_environment
from jepa_ros_nodes.ticking import Ticker
from jepa_ros_simulation.dog import DogSim
from jepa_ros_simulation.rooms import Room
from jepa_ros_simulation.tasks import sample_tasks
from jepa_ros_simulation.walker import Walker

_NEVER = -1.0
_DRIVE_S = 10.0


def figures(times_s: np.ndarray[Any, np.dtype[np.float64]], rate_hz: float, stall_s: float) -> dict[str, float]:
    """Rate, and how far intervals `[n]` s are from the period."""
    intervals = np.diff(times_s)
    errors = np.abs(intervals - 1.0 / rate_hz) * 1e3
    p50, p99 = np.percentile(errors, [50, 99])
    return {
        "commands": len(times_s),
        "rate_hz": len(intervals) / float(times_s[-1] - times_s[0]),
        "error_p50_ms": float(p50),
        "error_p99_ms": float(p99),
        "error_max_ms": float(errors.max()),
        "over_20_ms": int((intervals > 0.02).sum()),
        "longest_machine_stall_ms": stall_s * 1e3,
    }


def bare_loop(rate_hz: float, seconds: float) -> dict[str, float]:
    """What a loop that does nothing reaches on this machine."""
    times: list[float] = []
    ticker = Ticker(rate_hz, times.append, "bare")
    with longest_stall() as worst:
        ticker.start()
        time.sleep(seconds)
        ticker.stop()
        return figures(np.array(times), rate_hz, worst.value)


def stand(seconds: float) -> None:
    """Let the dog stand."""
    time.sleep(seconds)


def driver(client: GoalClient) -> Callable[[float], None]:
    """What drives the dog to goals that never count as reached, for so many seconds."""
    artist = Walker(DogSim(Room(0)))
    tasks = [(task, artist.goal_view(*task.goal)) for task in sample_tasks(Room(0), 20, seed=11)[0]]
    artist.sim.close()

    def drive(seconds: float) -> None:
        until, number = time.monotonic() + seconds, 0
        while (left := until - time.monotonic()) > 0:
            task, view = tasks[number % len(tasks)]
            client.place(task.start)
            client.reach(number, task.goal, view, min(_DRIVE_S, max(left, 1.0)), _NEVER)
            number += 1

    return drive


def through_ros(rate_hz: float, standing_s: float, driving_s: float) -> dict[str, dict[str, Any]]:
    """Rows for the dog standing, and for driving."""
    times: list[int] = []
    rows: dict[str, dict[str, Any]] = {}
    rclpy.init()
    with GoalClient() as client:
        client.inputs.add_raw(JointCommand, "joint_commands", lambda _data, at: times.append(at), qos.RECORD)
        drive = driver(client)
        client.wait_until_ready()
        phases = (("standing, no goal", stand, standing_s), ("driving, with the planner", drive, driving_s))
        for name, phase, seconds in phases:
            before, _ = client.control_figures()
            with longest_stall() as worst:
                times.clear()
                phase(seconds)
                rows[name] = figures(np.array(times) * 1e-9, rate_hz, worst.value)
            after, events = client.control_figures()
            ticks, missed = (after[key] - before[key] for key in ("ticks", "missed_ticks"))
            rows[name] |= {"missed_ticks": missed / max(ticks, 1), "safety_events": events}
    rclpy.try_shutdown()
    return rows


def show(rows: dict[str, dict[str, Any]], rate_hz: float) -> Table:
    """One row each."""
    table = Table(title=f"joint commands at {rate_hz:g} Hz on {os.cpu_count()} cores")
    columns = ("", "commands", "rate", "error p50 / p99 / worst", "gaps > 20 ms", "machine stood still", "control loop")
    for column in columns:
        table.add_column(column)
    for name, row in rows.items():
        missed = f"{row['missed_ticks']:.2%} of ticks missed" if "missed_ticks" in row else ""
        events = row.get("safety_events")
        table.add_row(
            name,
            str(row["commands"]),
            f"{row['rate_hz']:.2f} Hz",
            f"{row['error_p50_ms']:.3f} / {row['error_p99_ms']:.2f} / {row['error_max_ms']:.1f} ms",
            str(row["over_20_ms"]),
            f"{row['longest_machine_stall_ms']:.1f} ms",
            f"{missed}; events {json.dumps(events)}" if events else missed,
        )
    return table


def main(
    rate: Annotated[float, typer.Option(min=50, max=1000, help="of joint_command, Hz")] = 500.0,
    minutes: Annotated[float, typer.Option(min=0.2, help="of driving")] = 10.0,
    standing: Annotated[float, typer.Option(min=2.0, help="s of the bare loop, and of standing")] = 60.0,
    json_out: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
) -> None:
    """Measure the command stream."""
    environment = private_environment()
    if any(os.environ.get(name) != value for name, value in environment.items()):
        os.execve(sys.executable, [sys.executable, "-m", "jepa_ros_benchmarks.cli", *sys.argv[1:]], environment)
    parameters = yaml.safe_load((share_folder() / "config" / "sim.yaml").read_text())
    parameters["/**/joint_command"]["ros__parameters"]["control_rate"] = rate
    rows: dict[str, dict[str, Any]] = {"a bare loop, nothing else running": bare_loop(rate, standing)}
    with TemporaryDirectory() as folder:
        given = Path(folder) / "parameters.yaml"
        given.write_text(yaml.safe_dump(parameters))
        arguments = {"bundle": str(default_bundle()), "params_file": str(given)}
        with RunningLaunch("sim.launch.py", arguments, Path(folder) / "launch.log", environment):
            rows |= through_ros(rate, standing, 60.0 * minutes)
    Console().print(show(rows, rate))
    if json_out is not None:
        json_out.write_text(json.dumps({"rate_hz": rate, "rows": rows}, indent=1))
