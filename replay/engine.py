"""`replay`: a bag through the same code that runs the robot, without ROS and as fast as the machine allows.

Messages are taken in the order of their recording. Before each one, the shadow's control loop ticks up to that moment,
at its fixed rate by the bag's clock; then the message is handed over. Plans have no deadline and fixed seeds, so that
two replays plan alike bit for bit. The world model is told what the robot really did (`applied_action` in the bag), not
what the shadow would have done: the frames that follow are the consequences of the former.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jepa_ros.bundle.loader import Bundle, load_bundle, sha256
from jepa_ros.bundle.manifest import MANIFEST_NAME
from jepa_ros.errors import ImageError, ModelError
from jepa_ros.messages import clock_seconds, horizontal_fov, image_view, seconds
from jepa_ros.planning.pursuit import GoalPursuit, Lens, Pursued, PursuitSettings
from jepa_ros.planning.recorded import PlanLog
from jepa_ros.types import Float32, UInt8
from jepa_ros_replay.bags import Bag, BagError, BagFault, BagMessage
from jepa_ros_replay.coverage import Coverage
from jepa_ros_replay.goals import Goal, goals_for
from jepa_ros_replay.open_loop import open_loop_error
from jepa_ros_replay.result import PlanRow, ReplayResult
from jepa_ros_replay.shadow import Shadow
from jepa_ros_replay.topics import find_topics
from jepa_ros_replay.views import MostSurprising

_PROGRESS_EVERY = 200


@dataclass(frozen=True)
class ReplaySettings:
    """How a bag is replayed.

    Attributes:
        robot: whose motion and limits the shadow has.
        seed, threads: of the planner's samples; of the model.
        control_rate: of the shadow's control loop, Hz.
        remaps: (usual topic, topic in the bag).
        goal: a name in the bundle, an image file, `BAG@12.5s`; empty takes the bag's goals, else its last frame.
        planner: settings other than the manifest's, as pairs of name and value.
        save_plans: keep the plans whole, as `ReplayResult.recorded_plans`.
    """

    robot: str = "go2"
    seed: int = 0
    threads: int = 1
    control_rate: float = 100.0
    remaps: tuple[tuple[str, str], ...] = ()
    goal: str = ""
    planner: tuple[tuple[str, Any], ...] = ()
    save_plans: bool = False


def replay(
    bag: Path,
    bundle: Path,
    settings: ReplaySettings | None = None,
    progress: Callable[[float], None] | None = None,
) -> ReplayResult:
    """Replay one bag.

    Args:
        bag: folder or file.
        bundle: folder.
        settings: defaults, if None.
        progress: told how much is done, 0…1.

    Raises:
        JepaRosError: nothing can be replayed: no such bag or bundle, no camera in it, a goal that does not exist.
    """
    began = time.perf_counter()
    settings = settings or ReplaySettings()
    opened, source = load_bundle(bundle), Bag(bag)
    topics = find_topics(source.topics, settings.remaps)
    if "camera" not in topics:
        raise BagError(
            f"bag {bag}: holds no camera images; its topics are {', '.join(sorted(source.topics)) or 'none'}"
        )
    goals = goals_for(source, topics, opened, settings.goal)
    source = Bag(bag)  # looking for goals has read it, and found its faults, once already
    run = _Run(opened, source, topics, goals, settings)
    span = (source.begin_ns or 0, source.end_ns or 0)
    for count, message in enumerate(source.messages(list(topics.values()))):
        run.feed(message)
        if progress is not None and count % _PROGRESS_EVERY == 0 and span[1] > span[0]:
            progress(min((message.time - span[0]) / (span[1] - span[0]), 1.0))
    result = run.finish()
    result.wall_s = time.perf_counter() - began
    if progress is not None:
        progress(1.0)
    return result


class _Run:
    """One replay in progress."""

    def __init__(
        self, bundle: Bundle, bag: Bag, topics: dict[str, str], goals: list[Goal], settings: ReplaySettings
    ) -> None:
        self._bag, self._goals = bag, goals
        pursuit = PursuitSettings(seed=settings.seed, threads=settings.threads, planner=settings.planner)
        self._pursuit = GoalPursuit(bundle, pursuit)
        self._log = PlanLog.of(bundle) if settings.save_plans else None
        self._goal_latent: Float32 | None = None
        names = tuple(bundle.manifest.action.names)
        self.result = ReplayResult(
            bag=bag.path,
            bundle=bundle.manifest.name,
            bundle_sha256=sha256(bundle.path / MANIFEST_NAME),
            robot=settings.robot,
            action_names=names,
            topics=topics,
        )
        self._shadow = Shadow(settings.robot, names, settings.control_rate, bundle.manifest.timing.step_s, self.result)
        self._roles = {topic: role for role, topic in topics.items()}
        self._handlers: dict[str, Callable[[Any, float], None]] = {
            "camera": self._on_image,
            "camera_info": self._on_info,
            "joint_states": self._shadow.on_joint_state,
            "imu": self._shadow.on_imu,
            "applied_action": self._on_applied,
            "joint_commands": self._shadow.on_recorded,
        }
        self._controlled = {"joint_states", "imu"} <= set(topics)
        self._coverage, self._views = Coverage(len(bag.files) == 1), MostSurprising()
        self._lens: Lens | None = None
        self._planning = False
        self._runs: list[tuple[list[Float32], list[Float32]]] = []

    def feed(self, message: BagMessage) -> None:
        """Take in the next message of the bag."""
        clock = clock_seconds(message.time)
        if not self.result.began:
            self.result.began = clock
        self.result.ended = max(clock, self.result.ended)
        fault = self._coverage.hear(message, str(self.result.bag))
        if fault is not None:
            self.result.faults.append(fault)
        if self._controlled:
            self._shadow.tick_until(clock)
        self._begin_goals(message.time, clock)
        handler = self._handlers.get(self._roles[message.topic])
        if handler is None:
            return
        try:
            handler(self._bag.deserialize(message), clock)
        except BagError as error:
            self.result.faults.append(BagFault(str(self.result.bag), message.offset, str(error)))

    def finish(self) -> ReplayResult:
        """The result, with what can only be said at the end.

        Raises:
            BagError: not one frame could be used.
        """
        result, topics = self.result, self.result.topics
        result.faults += self._bag.faults
        for role, meaning in (
            ("joint_states", "no commands were replayed"),
            ("imu", "no commands were replayed"),
            ("applied_action", "what the robot did is not known: surprise takes it to have rested"),
        ):
            if role not in topics:
                result.faults.append(BagFault(str(result.bag), None, f"there is no {role} in it: {meaning}"))
        self._coverage.write_to(result)
        result.views = self._views.most_first()
        if self._log:
            result.recorded_plans = self._log.plans()
        if "applied_action" in topics:
            result.open_loop = open_loop_error(self._pursuit.model, self._runs)
        if not result.plans:
            why = next(iter(result.images_refused), "it holds none")
            raise BagError(f"bag {result.bag}: no camera frame could be used: {why}")
        return result

    def _begin_goals(self, now: int, clock: float) -> None:
        while self._goals and self._goals[0].time <= now:
            goal = self._goals.pop(0)
            latent = self._pursuit.model.encode_goal(self._pursuit.prepare(goal.image))
            self._pursuit.begin(goal.identity, latent, fresh=not self._planning)
            self._goal_latent = latent
            if not self._planning:
                self._runs.append(([], []))
            self._planning = True
            self.result.goals.append((clock, goal.what))

    def _on_info(self, message: Any, _clock: float) -> None:
        self._lens = Lens(message.width, message.height, horizontal_fov(message))

    def _on_applied(self, message: Any, _clock: float) -> None:
        at, values = seconds(message.header.stamp), np.asarray(message.values, dtype=np.float64)
        if tuple(message.names) == self.result.action_names and self._pursuit.applied.put(at, values):
            self.result.recorded_applied.append((at, values))

    def _on_image(self, message: Any, clock: float) -> None:
        stamp = seconds(message.header.stamp)
        self._coverage.frame(stamp, clock)
        self._pursuit.cadence.saw(stamp)
        if not self._pursuit.cadence.due(stamp):
            return
        try:
            begin = time.perf_counter()
            image = image_view(message)
            decode_ms = (time.perf_counter() - begin) * 1e3
            found = self._pursuit.pursue(image, stamp, lens=self._lens)
        except (ImageError, ModelError) as error:
            self.result.images_refused[str(error)] += 1
            return
        self._keep(found, image, stamp, decode_ms)
        if found.chunk is not None and self._controlled:
            self._shadow.on_plan(found.chunk, clock)

    def _keep(self, found: Pursued, image: UInt8, stamp: float, decode_ms: float) -> None:
        """Write a taken frame down."""
        step, plan = found.step, found.step.plan
        if self._log is not None and self._goal_latent is not None:
            self._log.keep(step, self._goal_latent)
        surprise = float("nan") if step.surprise is None else step.surprise
        self.result.plans.append(
            PlanRow(
                t=stamp,
                energy=float("nan") if step.energy_now is None else step.energy_now,
                surprise=surprise,
                iterations=0 if plan is None else plan.iterations,
                plan_energy=float("nan") if plan is None else float(plan.energy),
                stage_ms=(decode_ms, found.prepare_ms, step.encode_ms, step.plan_ms),
                restarted=found.restarted,
                actions=None if plan is None else plan.actions,
                latent=step.latent,
            )
        )
        self._views.offer(stamp, image, surprise)
        if found.restarted or not self._runs:
            self._runs.append(([], []))
        latents, actions = self._runs[-1]
        if latents:
            rest = np.zeros(self._pursuit.model.action_dim, np.float32)
            actions.append(rest if found.applied is None else found.applied)
        latents.append(step.latent)
