"""`GoalPursuit`: camera frames in, plans out. The node and the replay share it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jepa_ros.bundle.loader import Bundle
from jepa_ros.bundle.manifest import Manifest
from jepa_ros.errors import BundleError, ImageError, RobotError
from jepa_ros.motion import check_units
from jepa_ros.planning.factory import Engine, lacks, make_planner, planners_of
from jepa_ros.planning.frames import AppliedActions, FrameCadence
from jepa_ros.planning.mpc import LatentMPC, Step
from jepa_ros.planning.pacing import ClockRate
from jepa_ros.types import Float32, PlanChunk, UInt8
from jepa_ros.vision import Preprocessor
from jepa_ros.world_model import OnnxWorldModel

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class PursuitSettings:
    """How plans are timed.

    Attributes:
        delay_steps: model steps from a frame to its plan taking effect.
        valid_steps: model steps for which a plan holds from then on.
        margin_s: s before a plan takes effect at which it must be out: the planner's deadline.
        seed: of the planner's samples.
        threads: CPU threads of the model.
        engine: of planning, see `make_planner`.
        planner: settings other than the manifest's, as pairs of name and value; see `make_planner`.
    """

    delay_steps: int = 1
    valid_steps: int = 2
    margin_s: float = 0.03
    seed: int = 0
    threads: int = 1
    engine: Engine | None = None
    planner: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Lens:
    """What camera_info says: image size in pixels and horizontal field of view in rad; 0 where it is not known."""

    width: int
    height: int
    horizontal_fov: float


@dataclass(frozen=True)
class Pursued:
    """What one frame led to.

    Attributes:
        step: latent, plan, surprise, latencies.
        chunk: the plan to send; None where there is none.
        restarted: why the history began anew with this frame, or nothing.
        prepare_ms: crop, resize.
        applied: `[A]` mean of what was carried out since the frame before, of each part of the model step for an action
            block; None where nothing was, or is known.
    """

    step: Step
    chunk: PlanChunk | None
    restarted: str
    prepare_ms: float
    applied: Float32 | None


class GoalPursuit:
    """Plans toward one goal after another from frames a model step apart. One thread calls it.

    Args:
        bundle: an opened bundle.
        settings: timing, seed, threads.

    Raises:
        BundleError: a bundle that no robot can feed or follow.
        JepaRosError: a bundle that cannot be run, or whose golden outputs differ here.
    """

    def __init__(self, bundle: Bundle, settings: PursuitSettings | None = None) -> None:
        self.settings = settings or PursuitSettings()
        self.bundle, self.manifest = bundle, bundle.manifest
        refuse_what_a_robot_has_not(bundle.manifest)
        _warn_of_a_random_calibration(bundle.manifest)
        self.model = OnnxWorldModel(bundle, self.settings.threads)
        self.prepare = Preprocessor(bundle.manifest.camera)
        changes = dict(self.settings.planner)
        planner = make_planner(bundle.manifest, self.model, changes, self.settings.seed, self.settings.engine)
        self._mpc = LatentMPC(self.model, planner, bundle.manifest, self.settings.delay_steps)
        self._mpc.prepare()
        self.cadence = FrameCadence(bundle.manifest.timing.step_s)
        self.applied = AppliedActions(len(bundle.manifest.action.names))
        self._goal, self._rate = b"", ClockRate()
        # Rest is a command only where an action is a rate; zero joint angles are a posture.
        self._can_rest = all(unit.endswith("/s") for unit in bundle.manifest.action.units)

    def begin(self, goal: bytes, latent: Float32, fresh: bool = True) -> None:
        """Plan toward a goal `[D]` from the next frame on; `fresh`: the history is forgotten, it would have a hole."""
        if fresh:
            self._mpc.reset()
            self.cadence.reset()
        self._goal = goal
        self._mpc.set_goal(None)  # nothing that was planned for the goal before is carried out any more
        self._mpc.set_goal(latent)

    def end(self) -> None:
        """Plan no more."""
        self._mpc.set_goal(None)

    def pursue(
        self, image: UInt8, stamp: float, clock: Callable[[], float] | None = None, lens: Lens | None = None
    ) -> Pursued:
        """Take a frame that is due, and plan.

        Args:
            image: RGB `[h, w, 3]`, as it came.
            stamp: s.
            clock: the plans' clock in s, for the deadline, slower or faster than this machine's as it may be; None
                plans all iterations.
            lens: what camera_info says.

        Raises:
            ImageError: not the image that camera_info announces, or a lens far from the training camera's.
            ModelError: the encoder returned something that is not a number.
        """
        began = time.perf_counter()
        self._check(image, lens)
        frame = self.prepare(image)
        prepare_ms = (time.perf_counter() - began) * 1e3
        step_s, previous = self.manifest.timing.step_s, self.cadence.previous
        restarted = self.cadence.take(stamp)
        if restarted:
            self._mpc.reset()
            previous = None
        applied = None if previous is None else self.applied.means(previous, stamp, self.manifest.action.block)
        effect = stamp + self.settings.delay_steps * step_s
        left = None if clock is None else self._seconds_left(effect - self.settings.margin_s, clock)
        step = self._mpc.step(frame, applied, left)
        return Pursued(step, self._chunk(step, stamp, effect), restarted, prepare_ms, applied)

    def _seconds_left(self, deadline: float, clock: Callable[[], float]) -> Callable[[], float]:
        """Until a time of the plans' clock, in this machine's seconds, which are what iterations take."""
        self._rate.observe(clock(), time.perf_counter())
        rate = self._rate.rate
        return lambda: (deadline - clock()) / rate

    def _check(self, image: UInt8, lens: Lens | None) -> None:
        if lens is None:
            return
        height, width = image.shape[:2]
        if (lens.width, lens.height) != (width, height):
            raise ImageError(
                f"image is {width}×{height} pixels, camera_info says {lens.width}×{lens.height}; "
                "publish both from the same camera"
            )
        if lens.horizontal_fov > 0:
            self.prepare.check_field_of_view(lens.horizontal_fov, width, height)

    def _chunk(self, step: Step, stamp: float, effect: float) -> PlanChunk | None:
        """The plan to send. One that breaks a guardrail is replaced by rest, or by nothing where rest is no command."""
        plan, action = step.plan, self.manifest.action
        if plan is None or not plan.iterations or not (plan.feasible or self._can_rest):
            return None
        values = plan.actions.astype(np.float64) if plan.feasible else np.zeros(plan.actions.shape)
        step_s = self.manifest.timing.step_s
        until = effect + self.settings.valid_steps * step_s
        # A block is several actions, one after another within the model step.
        singly = values.reshape(-1, len(action.names))
        return PlanChunk(tuple(action.names), effect, step_s / action.block, singly, stamp, until, self._goal)


def refuse_what_a_robot_has_not(manifest: Manifest) -> None:
    """Refuse a bundle that plans in the core but cannot drive a robot from its camera.

    Raises:
        BundleError: naming the field.
    """
    where = f"bundle {manifest.name}"
    if manifest.proprio is not None:
        raise BundleError(
            f"{where}: proprio asks for {', '.join(manifest.proprio.names)}, which no node measures; it can be planned "
            "with through jepa_ros.planning only"
        )
    if manifest.action.delta:
        raise BundleError(
            f"{where}: action.delta is true, and no motion of a robot takes changes; export rates instead"
        )
    try:
        check_units(manifest.action.names, manifest.action.units, manifest.action.frame)
    except RobotError as error:
        raise BundleError(f"{where}: {error}") from error
    if manifest.camera.channels == 2:
        raise BundleError(f"{where}: camera.channels is 2, and no camera gives such images; it must be 3 or 1")
    name = manifest.planner.name
    if lacking := lacks(manifest, name):
        raise BundleError(
            f"{where}: planner.name is {name}, which is not available: it needs {lacking}; set one of "
            f"{', '.join(planners_of(manifest))}"
        )


def _warn_of_a_random_calibration(manifest: Manifest) -> None:
    if manifest.calibration.measured_on == "random":
        _LOG.warning(
            "bundle %s: calibration was not measured on recordings: arrival and surprise mean nothing; export it with "
            "--data",
            manifest.name,
        )
