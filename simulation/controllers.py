"""Who drives an episode: the world model (in a process that is handed images and nothing else) and the yardsticks
beside it."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.errors import JepaRosError
from jepa_ros.planning.factory import make_planner
from jepa_ros.planning.mpc import LatentMPC
from jepa_ros.planning.recorded import PlanLog
from jepa_ros.types import Float64, UInt8
from jepa_ros.vision import Preprocessor
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_simulation.collect import ACTION_HIGH, ACTION_LOW, draw_action
from jepa_ros_simulation.tasks import Pose, wrap


class Controller(Protocol):
    """Chooses the body velocity that takes effect one model step after what it was shown."""

    def begin(self, goal_image: UInt8, goal: Pose, episode: int) -> None:
        """A new episode. The goal pose is truth: only a ground-truth yardstick may use it."""
        ...

    def act(self, image: UInt8, pose: Pose) -> Float64:
        """Camera image `[h, w, 3]` (and the true pose, for the yardstick) → action `[3]` m/s, m/s, rad/s."""
        ...


class NoOp:
    """Stands still."""

    def begin(self, goal_image: UInt8, goal: Pose, episode: int) -> None: ...

    def act(self, image: UInt8, pose: Pose) -> Float64:
        return np.zeros(3)


class RandomWalk:
    """Draws an action every step, as exploration does."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def begin(self, goal_image: UInt8, goal: Pose, episode: int) -> None:
        self._rng = np.random.default_rng([self._seed, episode])

    def act(self, image: UInt8, pose: Pose) -> Float64:
        return draw_action(self._rng)


class Oracle:
    """A proportional controller on the true pose: what the task allows a controller that knows everything."""

    def begin(self, goal_image: UInt8, goal: Pose, episode: int) -> None:
        self._goal = goal

    def act(self, image: UInt8, pose: Pose) -> Float64:
        x, y, yaw = self._goal[0] - pose[0], self._goal[1] - pose[1], pose[2]
        forward, left = np.cos(yaw) * x + np.sin(yaw) * y, np.cos(yaw) * y - np.sin(yaw) * x
        return np.clip(np.array([0.8 * forward, 0.8 * left, 1.0 * wrap(self._goal[2] - yaw)]), ACTION_LOW, ACTION_HIGH)


class PlannerProcess:
    """The world model and its planner in a process of their own; over the pipe go images in and actions out.

    Args:
        bundle: folder of the bundle.
        seed: of the planner's samples.
        overrides: planner settings other than the manifest's.
        plans: folder to write each episode's plans to, as `plans_00000.npz`; None keeps none.

    Raises:
        JepaRosError: the bundle or the planner refused, with their sentence.
    """

    def __init__(self, bundle: Path, seed: int, overrides: dict[str, Any], plans: Path | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, bundle, seed, overrides, plans), daemon=True)
        self._process.start()
        theirs.close()
        self.plan_ms: list[float] = []
        self.energies: list[float] = []
        self._receive()

    def __enter__(self) -> PlannerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join(5.0)
        if self._process.is_alive():
            self._process.kill()

    def begin(self, goal_image: UInt8, goal: Pose, episode: int) -> None:
        self.plan_ms, self.energies = [], []
        self._pipe.send((episode, goal_image))
        self._receive()

    def act(self, image: UInt8, pose: Pose) -> Float64:
        self._pipe.send((None, image))
        action, plan_ms, energy = self._receive()
        self.plan_ms.append(plan_ms)
        self.energies.append(energy)
        return np.asarray(action, dtype=np.float64)

    def _receive(self) -> Any:
        try:
            answer = self._pipe.recv()
        except EOFError as error:
            raise JepaRosError(f"the planner's process died with exit code {self._process.exitcode}") from error
        if isinstance(answer, JepaRosError):
            raise answer
        return answer


def _serve(pipe: Connection, bundle_path: Path, seed: int, overrides: dict[str, Any], plans: Path | None) -> None:
    """The planner's process: images in, actions out."""
    log: PlanLog | None = None
    number = 0
    try:
        bundle = load_bundle(bundle_path)
        model = OnnxWorldModel(bundle)
        prepare = Preprocessor(bundle.manifest.camera)
        pipe.send(None)
        sent: Float64 | None = None
        committed: Float64 = np.zeros(len(bundle.manifest.action.names))
        while True:
            episode, image = pipe.recv()
            if episode is not None:
                _write_plans(log, plans, number)
                log, number = PlanLog.of(bundle) if plans else None, episode
                planner = make_planner(bundle.manifest, model, overrides, seed=seed * 100_003 + episode)
                mpc = LatentMPC(model, planner, bundle.manifest, delay_steps=1)
                goal = model.encode_goal(prepare(image))
                mpc.set_goal(goal)
                sent, committed = None, np.zeros_like(committed)
                pipe.send(None)
                continue
            step = mpc.step(prepare(image), None if sent is None else sent.astype(np.float32))
            if log is not None:
                log.keep(step, goal)
            usable = step.plan is not None and step.plan.feasible
            following = step.plan.actions[0].astype(np.float64) if usable else np.zeros_like(committed)
            sent, committed = committed, following
            pipe.send((committed, step.plan_ms + step.encode_ms, step.energy_now or 0.0))
    except EOFError:
        _write_plans(log, plans, number)
    except JepaRosError as error:
        pipe.send(error)


def _write_plans(log: PlanLog | None, folder: Path | None, episode: int) -> None:
    """Write what was kept of an episode, if something was."""
    if log and folder is not None:
        log.plans().write(folder / f"plans_{episode:05d}.npz")
