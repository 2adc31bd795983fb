"""What the safety filter costs a control tick: time, and memory.

    jepa-bench safety

A walking Go2 with every limit on: each tick hears joints, inertial unit, feet, temperatures, camera, clock and
commanders, and gives new targets. CPU time is this thread's own, which a busy machine does not lengthen by taking the
core away. Memory is the most that a tick holds at once by tracemalloc, which sees NumPy's arrays too; it is measured
for this robot and for one of many joints: were an array made, it would grow with them.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from jepa_ros.robots import RobotModel, load_robot
from jepa_ros.safety import SafetyFilter
from jepa_ros.types import Imu, JointState

TICK_S, MANY, _WARM_UP = 0.01, 4096, 20
_LEVEL = Imu(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.0, 0.0, 9.81]))


def many_joints(count: int) -> RobotModel:
    """A Go2 with its first joints repeated to so many. No such robot walks; its filter does the same work."""
    fields = load_robot("go2").model_dump(exclude={"locomotion": {"joint_order"}, "output": True, "description": True})
    first = fields["joints"]
    fields["joints"] = [{**first[i % len(first)], "name": f"joint_{i}"} for i in range(count)]
    for name, stance in fields["stances"].items():
        angles = list(stance.values())
        fields["stances"][name] = {f"joint_{i}": angles[i % len(angles)] for i in range(count)}
    fields["locomotion"]["joint_order"] = [f"joint_{i}" for i in range(count)]
    return RobotModel(**fields)


class Walk:
    """A filter that walks, its inputs made beforehand.

    Args:
        robot: whose.
    """

    def __init__(self, robot: RobotModel) -> None:
        count = len(robot.joint_names)
        self.filter, self.now = SafetyFilter(robot), 100.0
        self.targets = robot.stance("walk") + 0.01
        self.action = np.array([0.4, 0.0, 0.2])
        self.joints = JointState(robot.stance("stand"), np.zeros(count), np.zeros(count))
        self.forces, self.celsius = np.full(len(robot.feet), 40.0), np.full(count, 40.0)
        self._go()

    def hear(self) -> None:
        """One tick's inputs."""
        self.now += TICK_S
        safety, now = self.filter, self.now
        safety.on_joint_state(now, self.joints)
        safety.on_imu(now, _LEVEL)
        safety.on_foot_contacts(now, self.forces)
        safety.on_temperatures(now, self.celsius)
        safety.on_commanders(now, 0)
        safety.on_clock(now, now)
        safety.on_camera(now)
        safety.on_plan(now, now + 0.3, b"goal")

    def act(self) -> None:
        """One tick's `update`, `limit_action` and `command`."""
        now = self.now
        decision = self.filter.update(now)
        self.filter.limit_action(now, decision, self.action)
        self.filter.command(now, decision, self.targets, self.joints, _LEVEL)

    def _go(self) -> None:
        for what, ticks in (("stand", 250), ("walk", 10)):
            self.hear()
            self.act()
            self.filter.request(what)
            for _ in range(ticks):
                self.hear()
                self.act()
                if self.filter.state == "stand":
                    self.joints = JointState(self.targets, self.joints.velocity, self.joints.effort)
        if self.filter.state != "walk":
            raise RuntimeError(f"the filter does not walk: {self.filter.update(self.now).reason}")


def bytes_a_tick(walk: Walk, ticks: int = 200) -> tuple[int, int]:
    """The most memory that a walking tick holds besides what it found, and what all of them left behind, in bytes."""
    most = begun = after = 0
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for tick in range(_WARM_UP + ticks):
            walk.hear()
            before, _ = tracemalloc.get_traced_memory()
            if tick == _WARM_UP:
                most, begun = 0, before
            tracemalloc.reset_peak()
            walk.act()
            after, peak = tracemalloc.get_traced_memory()
            most = max(most, peak - before)
    finally:
        tracemalloc.stop()
        gc.enable()
    return most, after - begun


def times(ticks: int) -> dict[str, NDArray[np.float64]]:
    """Seconds by the clock and of CPU `[ticks, 2]` of each tick: hearing its inputs, and the three calls."""
    walk, found = Walk(load_robot("go2")), np.zeros((3, ticks, 2))
    wall, cpu = time.perf_counter, time.thread_time
    for tick in range(ticks):
        found[0, tick] = wall(), cpu()
        walk.hear()
        found[1, tick] = wall(), cpu()
        walk.act()
        found[2, tick] = wall(), cpu()
    hearing, acting = np.diff(found, axis=0)
    return {"hearing every input": hearing, "update, limit_action, command": acting}


def main(ticks: Annotated[int, typer.Option(min=100, help="how many to time")] = 20000) -> None:
    """What the safety filter costs a tick."""
    columns = ("p50 ms", "p99 ms", "max ms", "p50 CPU ms", "p99 CPU ms")
    table = Table("a tick of a walking Go2", *columns, title=f"every limit on, {ticks} ticks")
    for name, seconds in times(ticks).items():
        wall, cpu = seconds.T * 1e3
        figures = (*np.percentile(wall, [50, 99]), wall.max(), *np.percentile(cpu, [50, 99]))
        table.add_row(name, *(f"{figure:.4f}" for figure in figures))
    memory = Table("joints", "most held in a tick, bytes", "left behind by 200, bytes")
    for count in (12, MANY):
        most, left = bytes_a_tick(Walk(many_joints(count)))
        memory.add_row(str(count), str(most), str(left))
    Console().print(table, memory)


if __name__ == "__main__":
    typer.run(main)
