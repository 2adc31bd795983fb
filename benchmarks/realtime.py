"""Does the whole chain keep up: simulator, camera, planning and joint commands together, on this machine?

    jepa-bench realtime --help

Launches `sim.launch.py`, drives to goals that never count as reached, and listens from outside. Nothing is recorded
and nothing is drawn meanwhile. Rates are counted from messages that arrived; missed ticks are what the control loop
itself counts; memory and CPU are the processes' own, as the kernel tells.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from jepa_ros.bundle.manifest import read_manifest
from jepa_ros_nodes.launching import RunningLaunch, private_environment
from jepa_ros_simulation.dog import DogSim
from jepa_ros_simulation.records import percentiles_ms
from jepa_ros_simulation.rooms import Room
from jepa_ros_simulation.tasks import sample_tasks
from jepa_ros_simulation.walker import Walker

NEVER = -1.0
STARTED = re.compile(r"\[INFO\] \[(\w+)-\d+\]: process started with pid \[(\d+)\]")


def usage(log: str) -> dict[str, tuple[float, float]]:
    """CPU seconds so far and resident MB of every process that the launch log names."""
    found = {}
    for name, pid in STARTED.findall(log):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        found[name] = (cpu, pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
    return found


def watch(goals: int, seconds: float, step_s: float, log: Path) -> dict[str, Any]:
    """Drive to goals for `seconds` each and count; a plan is late when it left more than `step_s` after its image."""
    import rclpy
    from jepa_ros_msgs.msg import ActionChunk, JointCommand, SimStatus
    from sensor_msgs.msg import Image

    from jepa_ros_nodes import qos
    from jepa_ros_nodes.goal_client import GoalClient

    artist = Walker(DogSim(Room(0)))
    tasks = [(task, artist.goal_view(*task.goal)) for task in sample_tasks(Room(0), goals, seed=11)[0]]
    artist.sim.close()
    counts = dict.fromkeys(("camera", "plan", "joint_commands"), 0)
    factors: list[float] = []

    def count(name: str) -> None:
        counts[name] += 1

    rclpy.init()
    with GoalClient() as client:
        for kind, topic, name, profile in (
            (Image, "camera/image_raw", "camera", qos.SENSOR),
            (ActionChunk, "plan", "plan", qos.RECENT),
            (JointCommand, "joint_commands", "joint_commands", qos.RECENT),
        ):
            client.inputs.add_raw(kind, topic, lambda _data, _at, n=name: count(n), profile)
        client.inputs.add(SimStatus, "ground_truth/status", lambda m: factors.append(m.real_time_factor), qos.SENSOR)
        client.wait_until_ready()

        time.sleep(1.0)
        control, _ = client.control_figures()
        before, at = usage(log.read_text()), time.monotonic()
        driving, records = 0.0, []
        counts.update(dict.fromkeys(counts, 0))
        factors.clear()
        for number, (task, view) in enumerate(track(tasks, description="driving")):
            client.place(task.start)
            begin = time.monotonic()
            records.append(client.reach(number, task.goal, view, seconds, NEVER))
            driving += time.monotonic() - begin
        elapsed = time.monotonic() - at
        after, (ended, events) = usage(log.read_text()), client.control_figures()
    rclpy.try_shutdown()
    ticks, missed = (ended[name] - control[name] for name in ("ticks", "missed_ticks"))
    return {
        "seconds": elapsed,
        "camera_hz": counts["camera"] / elapsed,
        "plan_hz": counts["plan"] / driving,
        "joint_commands_hz": counts["joint_commands"] / elapsed,
        "control_ticks": ticks,
        "control_missed": missed / ticks,
        "plans": sum(len(record.stages) for record in records),
        "plan_late": float(np.mean([row[-1] > step_s for record in records for row in record.stages])),
        "image_to_plan_ms": percentiles_ms(records),
        "real_time_factor": {"p50": float(np.median(factors)), "min": float(np.min(factors))},
        "safety_events": events,
        "cpu": {name: (after[name][0] - before[name][0]) / elapsed for name in after},
        "memory_mb": {name: after[name][1] for name in after},
    }


def show(found: dict[str, Any]) -> Table:
    """The figures beside what is asked of them."""
    table = Table(title=f"{found['seconds']:.0f} s of driving on {os.cpu_count()} cores")
    for column in ("", "measured", "asked"):
        table.add_column(column)
    factor, latency, memory = found["real_time_factor"], found["image_to_plan_ms"], found["memory_mb"]
    nodes = memory["world_model"] + memory["joint_command"]
    table.add_row("simulated seconds a second", f"{factor['p50']:.3f}, least {factor['min']:.3f}", "1")
    table.add_row("camera", f"{found['camera_hz']:.1f} Hz", "≥ 10 Hz")
    table.add_row("plans", f"{found['plan_hz']:.1f} Hz", "≥ 5 Hz")
    table.add_row("joint commands", f"{found['joint_commands_hz']:.1f} Hz", "≥ 50 Hz")
    table.add_row("control ticks missed", f"{found['control_missed']:.2%} of {found['control_ticks']}", "≤ 1 %")
    table.add_row("plans out too late", f"{found['plan_late']:.2%} of {found['plans']}", "≤ 1 %")
    table.add_row("image to plan", f"p50 {latency['p50']:.0f} ms, p99 {latency['p99']:.0f} ms", "")
    table.add_row("memory of world_model and joint_command", f"{nodes:.0f} MB", "< 1000 MB")
    table.add_row("CPU, cores", ", ".join(f"{name} {cores:.2f}" for name, cores in found["cpu"].items()), "")
    table.add_row("safety events", json.dumps(found["safety_events"]) if found["safety_events"] else "none", "none")
    return table


def main(
    goals: Annotated[int, typer.Option(min=1, help="how many goals")] = 6,
    seconds: Annotated[float, typer.Option(min=5.0, help="of driving to each")] = 10.0,
    bundle: Annotated[Path, typer.Option(help="folder of the bundle")] = Path("bundles/default"),
    json_out: Annotated[Path | None, typer.Option("--json", help="write the figures here")] = None,
) -> None:
    """Run everything together and say whether it keeps up."""
    environment = private_environment()
    if any(os.environ.get(name) != value for name, value in environment.items()):
        os.execve(sys.executable, [sys.executable, "-m", "jepa_ros_benchmarks.cli", *sys.argv[1:]], environment)
    step_s = read_manifest(bundle).timing.step_s
    with TemporaryDirectory() as folder:
        log = Path(folder) / "launch.log"
        with RunningLaunch("sim.launch.py", {"bundle": str(bundle.resolve())}, log, environment):
            found = watch(goals, seconds, step_s, log)
    Console().print(show(found))
    if json_out is not None:
        json_out.write_text(json.dumps(found, indent=1))
