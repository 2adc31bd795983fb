"""Ordinary walking for a long time, faster than real time: does the safety filter stop a dog that does nothing wrong?

    python -m jepa_ros_simulation.endurance --minutes 30 --seed 0

The dog stands up and wanders about its room at random velocities over the whole range of its policy, away from walls
and furniture. Plans come at 5 Hz as from the planner; joints, inertial unit, feet and motor temperatures at every
control tick. Nothing is wrong at any time, so that every stop, damping and event is false. Exits with 1 if there is
one. Beside them, the largest value of what the limits judge.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from jepa_ros.control import JointController, Tick
from jepa_ros.robots import RobotModel
from jepa_ros.types import JointCommand, PlanChunk
from jepa_ros_simulation.collect import path_clearance
from jepa_ros_simulation.dog import DogSim
from jepa_ros_simulation.peaks import Peaks
from jepa_ros_simulation.rooms import Room

ACTIONS = ("vx", "vy", "wz")
STEP_S, VALID_S, LATENCY_S = 0.2, 0.6, 0.1
_KEEP_AWAY_M, _LONGEST_HOLD, _TRIES = 0.4, 8, 40
_AMBIENT_C, _WARMING_C_PER_NM2, _COOLING_PER_S = 30.0, 0.002, 0.01
_LONGEST_STEP_S = 0.004


class Wanderer:
    """Random body velocities over the policy's whole range, each held for a while; of several the one that stays clear.

    Args:
        robot: its range.
        room: what to stay clear of.
        rng: chance.
    """

    def __init__(self, robot: RobotModel, room: Room, rng: np.random.Generator) -> None:
        block = robot.locomotion
        if block is None:
            raise ValueError(f"robot {robot.name} has no locomotion policy")
        self._low, self._high = np.array(block.command_low), np.array(block.command_high)
        self._room, self._rng = room, rng
        self._action, self._hold = np.zeros(3), 0

    def next(self, pose: tuple[float, float, float]) -> NDArray[np.float64]:
        """The action `[3]` m/s, m/s, rad/s of the next model step, at a pose m, m, rad."""
        blocked = path_clearance(self._room, pose, self._action, 2) < _KEEP_AWAY_M
        if self._hold <= 0 or blocked:
            self._hold, best = int(self._rng.integers(1, _LONGEST_HOLD + 1)), -np.inf
            for _ in range(_TRIES):
                action = self._rng.uniform(self._low, self._high) * (self._rng.uniform() > 0.1)
                clearance = path_clearance(self._room, pose, action, self._hold)
                if clearance > best:
                    best, self._action = clearance, action
                if best > _KEEP_AWAY_M:
                    break
        self._hold -= 1
        return self._action


class Endurance:
    """The dog under `JointController`, in this process, on simulated time.

    Args:
        rate_hz: of the control loop.
        seed: of chance.
    """

    def __init__(self, rate_hz: float, seed: int) -> None:
        self.dt = 1.0 / rate_hz
        room, rng = Room(0), np.random.default_rng(seed)
        self.sim = DogSim(room, timestep=self.dt / np.ceil(self.dt / _LONGEST_STEP_S))
        self.controller = JointController(self.sim.robot, ACTIONS, rate_hz)
        self.safety = self.controller.safety
        self.wanderer, self.peaks = Wanderer(self.sim.robot, room, rng), Peaks(self.safety, self.sim.robot)
        self.now, self.temperatures = 0.0, np.full(len(self.sim.robot.joint_names), _AMBIENT_C)
        self.walked_s, self.falls, self.collisions = 0.0, 0, 0
        self._planned = -np.inf
        self._touching = False
        self._room, self._rng = room, rng
        self._lay("sit")

    def stand_up_and_walk(self) -> None:
        """What an operator does at the start of a day."""
        for what, state in (("stand", "stand"), ("walk", "walk")):
            self.tick()
            reply = self.safety.request(what)
            for _ in range(round(4.0 / self.dt)):
                if self.tick().decision.state == state:
                    break
            else:
                raise RuntimeError(f"{what}: {reply.message}; still {self.safety.state}")

    def start_again(self) -> None:
        """Lie down somewhere else, and begin anew."""
        self.safety.request("damp")
        self._lay("sit")
        self.tick()
        self.safety.request("recover")
        self.stand_up_and_walk()

    def tick(self) -> Tick:
        """One control tick."""
        sim, now = self.sim, self.now
        joints, imu, forces = sim.joint_state(), sim.imu(), sim.foot_forces()
        self.temperatures += self.dt * (
            _WARMING_C_PER_NM2 * joints.effort**2 - _COOLING_PER_S * (self.temperatures - _AMBIENT_C)
        )
        self.controller.on_joint_state(now, joints)
        self.controller.on_imu(now, imu)
        self.controller.on_foot_contacts(now, forces)
        self.controller.on_temperatures(now, self.temperatures)
        self.safety.on_commanders(now, 0)
        if now - self._planned >= STEP_S - 1e-9:
            self._planned = now
            self._plan(now)
        done = self.controller.tick(now, now)
        if done.command is not None:
            sim.apply(done.command)
            self.peaks.take(done.decision.state, joints, imu, forces, self.dt)
        sim.step(self.dt)
        self.now += self.dt
        self._referee(done.command)
        self.walked_s += self.dt * (done.decision.state == "walk")
        return done

    def _plan(self, now: float) -> None:
        values = np.tile(self.wanderer.next(self.sim.pose()), (4, 1))
        chunk = PlanChunk(ACTIONS, now, STEP_S, values, now - LATENCY_S, now + VALID_S, b"wander")
        self.controller.on_plan(now, now, chunk)

    def _referee(self, command: JointCommand | None) -> None:
        """Count falls and touches; one that has fallen is put on its feet elsewhere."""
        status = self.sim.status()
        self.collisions += status.collision and not self._touching
        self._touching = status.collision
        if status.fallen and command is not None:
            self.falls += 1
            self._lay("walk")

    def _lay(self, posture: str) -> None:
        self.sim.reset(*self._room.sample_pose(self._rng, _KEEP_AWAY_M), posture=posture)


def show(run: Endurance, stops: int, damps: int) -> list[Table]:
    """What was counted, and the peaks."""
    counted = Table("in ordinary walking", "count", title=f"{run.walked_s / 60:.1f} simulated minutes of walking")
    rows = {"false stops": stops, "false damps": damps, "falls": run.falls, "touches of furniture": run.collisions}
    for name, count in {**rows, **{f"event {reason}": count for reason, count in run.safety.counts.items()}}.items():
        counted.add_row(name, str(count))
    peaks = Table("judged", "largest", "limit", "margin", title="the largest of what the limits judge, while walking")
    for name, largest, limit, unit in run.peaks.rows():
        margin = f"{limit / largest:.1f} ×" if largest > 0 else "never"
        peaks.add_row(name, f"{largest:.4g} {unit}", f"{limit:.4g} {unit}", margin)
    return [counted, peaks]


def main(
    minutes: Annotated[float, typer.Option(min=0.01, help="simulated minutes of walking")] = 30.0,
    seed: Annotated[int, typer.Option(help="of the velocities")] = 0,
    rate: Annotated[float, typer.Option(min=50.0, max=1000.0, help="control rate in Hz, a multiple of 50")] = 100.0,
) -> None:
    """Walk for so long; exit with 1 on any false stop."""
    run, stops, damps = Endurance(rate, seed), 0, 0
    run.stand_up_and_walk()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("walking", total=minutes * 60)
        while run.walked_s < minutes * 60:
            decision = run.tick().decision
            if decision.state != "walk":
                stops += decision.state != "damp"
                damps += decision.state == "damp"
                progress.console.print(f"{run.now:.2f} s: {decision.state}: {decision.reason}")
                run.start_again()
            progress.update(bar, completed=run.walked_s)
    console = Console()
    for table in show(run, stops, damps):
        console.print(table)
    raise typer.Exit(int(stops + damps > 0))


if __name__ == "__main__":
    typer.run(main)
