"""The check list before a robot moves: what was heard of it, and what this machine can do, judged one line a check.

Nothing here listens or publishes; each check is a function of what was found.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from jepa_ros.bundle.loader import Bundle
from jepa_ros.errors import ImageError, JepaRosError
from jepa_ros.motion import make_motion
from jepa_ros.planning.pursuit import GoalPursuit
from jepa_ros.robots import RobotModel
from jepa_ros.types import Float64, Imu
from jepa_ros.vision import Preprocessor

_PLANS = 9  # the first warms up
_IN_TIME = 0.75  # a plan holds for more than one step: one that is missed now and then is bridged
_SLACK = 0.9  # of a rate that is asked for
_GRAVITY_RAD = 0.5  # a body at rest feels its weight against where it says that down is
_STEADY_S = 0.05


@dataclass(frozen=True)
class Check:
    """One line of the list.

    Attributes:
        name: what was looked at.
        passed: whether the robot may start with it.
        found: what was found, with numbers; for a failure also what to do.
    """

    name: str
    passed: bool
    found: str


@dataclass
class Stream:
    """When messages of a topic came and were made.

    Attributes:
        topic: whole name.
        came: monotonic s.
        ages: s from the stamp to this machine's clock on receipt; messages without a stamp have none.
        problem: why the newest could not be used, or nothing.
    """

    topic: str
    came: list[float] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)
    problem: str = ""

    def rate(self) -> float:
        """Hz; 0 for fewer than two messages."""
        span = self.came[-1] - self.came[0] if len(self.came) > 1 else 0.0
        return (len(self.came) - 1) / span if span > 0 else 0.0

    def gap(self) -> float:
        """The longest silence between two messages, s."""
        return float(np.diff(self.came).max()) if len(self.came) > 1 else math.inf

    def age(self) -> float:
        """The median age, s; below zero for stamps from the future. Clocks that differ always do: a stall, which one of
        these two processes may have had, does not count."""
        return float(np.median(self.ages)) if self.ages else 0.0


@dataclass
class Heard:
    """What a robot said in a few seconds; see `preflight_listening`."""

    images: Stream
    joints: Stream
    inertial: Stream
    size: tuple[int, int] | None = None
    """Width and height of the newest image in pixels."""
    fov_rad: float = 0.0
    """Of camera_info; 0 where it says nothing."""
    positions: list[Float64] = field(default_factory=list)
    imus: list[Imu] = field(default_factory=list)
    publishers: dict[str, int] = field(default_factory=dict)
    """How many each topic has."""
    clock_steps: list[float] = field(default_factory=list)
    """What the clock of stamps gained on the monotonic one between two looks, s."""


def _stream(name: str, stream: Stream, least_hz: float, longest_s: float) -> Check | None:
    """A failure that any stream may have; None for none."""
    if stream.problem:
        return Check(name, False, f"{stream.topic}: {stream.problem}")
    if len(stream.came) < 2:
        return Check(name, False, f"{stream.topic}: {len(stream.came)} messages came: is the driver running?")
    if stream.rate() < least_hz * _SLACK:
        return Check(name, False, f"{stream.topic}: {stream.rate():.1f} Hz, needs {least_hz:.1f} Hz")
    if abs(stream.age()) > longest_s:
        where = "from the future" if stream.age() < 0 else "old"
        return Check(
            name,
            False,
            f"{stream.topic}: stamps {abs(stream.age()):.3f} s {where}, the limit is {longest_s} s: set both "
            "clocks by NTP or PTP, or stamp on receipt",
        )
    return None


def camera(heard: Heard, robot: RobotModel, step_s: float) -> Check:
    """A frame for each model step, fresh, and stamped by this machine's clock."""
    failed = _stream("camera", heard.images, 1.0 / step_s, robot.safety.camera_timeout_s)
    if failed is not None:
        return failed
    if not heard.images.ages:
        return Check("camera", False, f"{heard.images.topic}: header.stamp is empty: have the driver set it")
    width, height = heard.size or (0, 0)
    found = f"{heard.images.rate():.1f} Hz, {width}×{height}, {heard.images.age():.3f} s old"
    return Check("camera", True, found)


def lens(heard: Heard, robot: RobotModel, bundle: Bundle) -> Check:
    """The camera's field of view against the bundle's: camera_info's, else the robot file's."""
    source, fov = "camera_info", heard.fov_rad
    if not fov and robot.camera is not None:
        source, fov = "the robot's file (camera_info says none)", robot.camera.fov_rad
    if not fov:
        return Check("lens", False, "neither camera_info nor `camera` in the robot's file says a field of view")
    width, height = heard.size or (None, None)
    try:
        Preprocessor(bundle.manifest.camera).check_field_of_view(fov, width, height)
    except ImageError as error:
        return Check("lens", False, f"{source}: {error}")
    return Check("lens", True, f"{math.degrees(fov):.0f}° across, by {source}")


def joints(heard: Heard, robot: RobotModel) -> Check:
    """Names, ranges, numbers, rate and age of joint_states."""
    limits = robot.safety
    failed = _stream("joints", heard.joints, 2.0 / limits.joint_state_timeout_s, limits.joint_state_timeout_s)
    if failed is not None:
        return failed
    found = np.stack(heard.positions)
    if not np.isfinite(found).all():
        return Check("joints", False, f"{heard.joints.topic}: holds a position that is not a number")
    over = np.maximum(robot.lower - found, found - robot.upper).max(axis=0)
    worst = int(over.argmax())
    if over[worst] > limits.position_tolerance_rad:
        joint = robot.joints[worst]
        return Check(
            "joints",
            False,
            f"{heard.joints.topic}: {joint.name} at {found[-1, worst]:.3f} rad is outside {joint.lower}…{joint.upper}: "
            "check its name, sign and zero",
        )
    moved = np.ptp(found, axis=0).max()
    told = f"{len(robot.joints)} joints, {heard.joints.rate():.0f} Hz, longest gap {heard.joints.gap() * 1e3:.0f} ms"
    return Check("joints", True, f"{told}, moved {moved:.3f} rad")


def inertial(heard: Heard, robot: RobotModel) -> Check:
    """A unit quaternion, upright, that agrees with the weight that is felt."""
    limits = robot.safety
    failed = _stream("imu", heard.inertial, 2.0 / limits.imu_timeout_s, limits.imu_timeout_s)
    if failed is not None:
        return failed
    newest = heard.imus[-1]
    values = np.concatenate([newest.angular_velocity, newest.orientation, newest.linear_acceleration])
    length = float(np.linalg.norm(newest.orientation))
    if not np.isfinite(values).all() or abs(length - 1.0) > 0.02:
        return Check("imu", False, f"{heard.inertial.topic}: the quaternion's length is {length:.3f}: it must be 1")
    down = newest.gravity_direction()
    tilt = math.acos(float(np.clip(-down[2], -1.0, 1.0)))
    if tilt > limits.tilt_rad:
        return Check("imu", False, f"tilted by {tilt:.2f} rad, the limit is {limits.tilt_rad}: set it on its belly")
    felt = np.mean([imu.linear_acceleration for imu in heard.imus], axis=0)
    weight = float(np.linalg.norm(felt))
    if weight > 1.0:  # some units give the acceleration without gravity: nothing to compare
        off = math.acos(float(np.clip(-(felt @ down) / weight, -1.0, 1.0)))
        if off > _GRAVITY_RAD:
            return Check(
                "imu",
                False,
                f"{heard.inertial.topic}: orientation and acceleration differ by {off:.2f} rad about where down is: "
                "check the quaternion's order (x, y, z, w) and the axes (x forward, z up)",
            )
    return Check("imu", True, f"{heard.inertial.rate():.0f} Hz, tilt {tilt:.2f} rad, weight {weight:.1f} m/s²")


def clock(heard: Heard) -> Check:
    """The clock of stamps runs like the monotonic one."""
    worst = max(heard.clock_steps, key=abs, default=0.0)
    if abs(worst) > _STEADY_S:
        return Check("clock", False, f"it jumped by {worst:.3f} s while it was watched: wait until NTP has settled")
    return Check("clock", True, f"steady to {abs(worst) * 1e3:.1f} ms")


def actions(robot: RobotModel, bundle: Bundle, configured: Sequence[str]) -> Check:
    """What the bundle plans is what this robot, with this output, carries out."""
    action = bundle.manifest.action
    if list(configured) != list(action.names):
        return Check(
            "actions",
            False,
            f"the bundle plans [{', '.join(action.names)}], joint_command's action_names are [{', '.join(configured)}]",
        )
    try:
        motion = make_motion(robot, action.names, bundle.manifest.timing.step_s)
    except JepaRosError as error:
        return Check("actions", False, str(error))
    kind = type(motion).__name__.removesuffix("Motion").lower()
    return Check("actions", True, f"{', '.join(action.names)} by {kind} motion, sent as {robot.output.kind}")


def feet(robot: RobotModel, names: Sequence[str] | None) -> Check:
    """Feet in foot_contacts, where anything was heard of them."""
    missing = [] if names is None else [foot for foot in robot.feet if foot not in names]
    if missing:
        return Check("feet", False, f"foot_contacts lacks {', '.join(missing)}, which the robot's file names")
    told = "none in the robot's file" if not robot.feet else "nothing heard" if names is None else f"{len(names)} feet"
    return Check("feet", True, told)


def provider(pursuit: GoalPursuit, available: Sequence[str]) -> Check:
    """The model runs where it should: a GPU's provider that is installed is also used."""
    used = pursuit.model.provider
    faster = [name for name in available if name.startswith(("CUDA", "Tensorrt"))]
    if faster and used == "CPUExecutionProvider":
        return Check("provider", False, f"{used}, although {faster[0]} is installed: check its driver and libraries")
    return Check("provider", True, used)


def deadline(pursuit: GoalPursuit) -> Check:
    """A few real plans, from pictures of noise, against the deadline of the nodes."""
    camera_spec, settings = pursuit.manifest.camera, pursuit.settings
    step_s = pursuit.manifest.timing.step_s
    budget_s = settings.delay_steps * step_s - settings.margin_s
    rng = np.random.default_rng(0)
    shape = (camera_spec.height, camera_spec.width, 3)
    images = rng.integers(0, 256, (_PLANS, *shape), dtype=np.uint8)
    taken: list[float] = []
    counts: list[int] = []
    try:
        goal = pursuit.model.encode_goal(pursuit.prepare(images[0]))
        pursuit.begin(b"preflight", goal)
        for number, image in enumerate(images):
            began, stamp = time.perf_counter(), number * step_s
            found = pursuit.pursue(image, stamp, lambda at=stamp, t=began: at + time.perf_counter() - t)
            taken.append(time.perf_counter() - began)
            counts.append(0 if found.step.plan is None else found.step.plan.iterations)
    except JepaRosError as error:
        return Check("deadline", False, str(error))
    finally:
        pursuit.end()
    good = [took <= budget_s and count > 0 for took, count in zip(taken[1:], counts[1:], strict=True)]
    told = (
        f"{sum(good)} of {len(good)} plans in time, slowest {max(taken[1:]) * 1e3:.0f} ms of {budget_s * 1e3:.0f}, "
        f"at least {min(counts[1:])} iterations"
    )
    if sum(good) < _IN_TIME * len(good):
        return Check("deadline", False, f"{told}: raise delay_steps, use a faster machine, or end what else runs on it")
    return Check("deadline", True, told)
