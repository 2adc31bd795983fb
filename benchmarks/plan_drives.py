"""Real problems for `jepa-bench plan`: what the planner is asked while the dog drives in the simulator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rich.progress import track

from jepa_ros.errors import JepaRosError
from jepa_ros.planning.factory import make_planner
from jepa_ros.planning.mpc import HorizonPlanner, LatentMPC
from jepa_ros.planning.problem import Plan, PlanProblem
from jepa_ros.types import Float32, Float64, UInt8
from jepa_ros.vision import Preprocessor
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_simulation.dog import DogSim
from jepa_ros_simulation.evaluate import run_episode
from jepa_ros_simulation.rooms import Room
from jepa_ros_simulation.tasks import Pose, sample_tasks
from jepa_ros_simulation.walker import Walker

ROOM, DRIVE_SEED, A_DRIVE = 0, 11, 4


class _Listener:
    """A planner that keeps what it was asked."""

    def __init__(self, planner: HorizonPlanner) -> None:
        self._planner = planner
        self.problems: list[PlanProblem] = []

    @property
    def horizon(self) -> int:
        return self._planner.horizon

    def plan(self, problem: PlanProblem, seconds_left: Callable[[], float] | None = None) -> Plan:
        self.problems.append(problem)
        return self._planner.plan(problem, seconds_left)


class _Driver:
    """The world model in this process, as `jepa_ros_simulation.controllers` runs it in another."""

    def __init__(self, model: OnnxWorldModel) -> None:
        self._model, self._prepare = model, Preprocessor(model.manifest.camera)
        self.problems: list[PlanProblem] = []
        self.goal: Float32 = np.zeros(0, np.float32)

    def begin(self, goal_image: UInt8, goal: Pose, episode: int) -> None:
        manifest = self._model.manifest
        listener = _Listener(make_planner(manifest, self._model, seed=DRIVE_SEED * 100_003 + episode, engine="numpy"))
        self._mpc, self.problems = LatentMPC(self._model, listener, manifest, delay_steps=1), listener.problems
        self.goal = self._model.encode_goal(self._prepare(goal_image))
        self._mpc.set_goal(self.goal)
        self._sent: Float64 | None = None
        self._committed: Float64 = np.zeros(3)

    def act(self, image: UInt8, pose: Pose) -> Float64:
        step = self._mpc.step(self._prepare(image), None if self._sent is None else self._sent.astype(np.float32))
        usable = step.plan is not None and step.plan.feasible
        following = step.plan.actions[0].astype(np.float64) if usable else np.zeros_like(self._committed)
        self._sent, self._committed = self._committed, following
        return following


def collect(model: OnnxWorldModel, count: int) -> dict[str, Float32]:
    """Drive to as many goals as it takes, and keep `A_DRIVE` problems of each drive, evenly over its time.

    Returns:
        `latents` `[N, T, D]`, `past` `[N, T − 1, A]`, `goal` `[N, D]` and `warm_start` `[N, H, A]`.

    Raises:
        JepaRosError: a drive too short for that many problems with a whole history.
    """
    longest = model.manifest.timing.history_max
    drives = -(-count // A_DRIVE)
    rows: list[tuple[Float32, Float32, Float32, Float32]] = []
    walker, driver = Walker(DogSim(Room(ROOM))), _Driver(model)
    for number, task in enumerate(track(sample_tasks(Room(ROOM), drives, DRIVE_SEED)[0], "driving for problems")):
        run_episode(walker, driver, task, number)
        whole = [p for p in driver.problems if len(p.history.latents) == longest and p.warm_start is not None]
        if len(whole) < A_DRIVE:
            raise JepaRosError(f"drive {number} has {len(whole)} problems with a whole history, fewer than {A_DRIVE}")
        for at in np.linspace(0, len(whole) - 1, A_DRIVE).round().astype(int):
            problem, warm = whole[at], whole[at].warm_start
            assert warm is not None  # noqa: S101 (chosen above)
            rows.append((problem.history.latents, problem.history.actions, driver.goal, warm.copy()))
    walker.sim.close()
    names = ("latents", "past", "goal", "warm_start")
    return {name: np.stack([row[i] for row in rows[:count]]) for i, name in enumerate(names)}
