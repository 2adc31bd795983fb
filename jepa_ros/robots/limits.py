"""The `safety` block of a robot file: every number the safety filter uses, each with its unit."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

from pydantic import Field, model_validator

from jepa_ros.robots.strict import Strict


class Clamp(Strict):
    """Past this limit a value is always held to it; if it stays past it for `trip_after_s`, the robot is damped too."""

    clamp: Literal[True] = True
    trip_after_s: float | None = Field(default=None, ge=0)


class Trip(Strict):
    """Past this limit for `trip_after_s` the robot is damped: what is measured cannot be clamped."""

    trip_after_s: float = Field(ge=0)


class ClampTo(Clamp):
    """As `Clamp`, with the number."""

    limit: float = Field(gt=0)


class TripPast(Trip):
    """As `Trip`, with the number."""

    limit: float = Field(gt=0)


@dataclass(frozen=True)
class Rate:
    """How fast a target may move.

    Attributes:
        speed: rad/s.
        acceleration: rad/s².
        step: rad a tick.
        braking: rad/s² that are planned with; less than `acceleration` where whatever takes over may only do less.
    """

    speed: float
    acceleration: float
    step: float = inf
    braking: float = inf


class MotionLimits(Strict):
    """Limits while one kind of motion runs.

    Attributes:
        joint_range: targets outside a joint's range.
        effort: targets whose torque estimate `kp (q* − q) − kd dq` is past a joint's limit.
        joint_speed: measured speeds past a joint's limit.
        joint_acceleration: measured speeds that change by more rad/s², under a low pass of 20 ms.
    """

    joint_range: Clamp = Clamp()
    effort: Clamp = Clamp()
    joint_speed: Trip = Trip(trip_after_s=0.1)
    joint_acceleration: TripPast = TripPast(limit=1000.0, trip_after_s=0.05)


class GaitLimits(MotionLimits):
    """A gait's targets are never slowed: that makes a robot fall. Nonsense trips.

    Attributes:
        target_speed: rad/s between two of the policy's targets, once they are in range.
        target_acceleration: rad/s², likewise.
        target_step: rad by which what is sent may change in a tick.
    """

    target_speed: TripPast = TripPast(limit=220.0, trip_after_s=0.1)
    target_acceleration: TripPast = TripPast(limit=17000.0, trip_after_s=0.1)
    target_step: TripPast = TripPast(limit=3.6, trip_after_s=0.0)


class PacedLimits(MotionLimits):
    """Limits of direct joint motion and of stances: what is sent moves at a limited rate.

    Attributes:
        target_speed: rad/s.
        target_acceleration: rad/s²: the most by which the speed changes in a tick is this times its length.
        target_step: rad a tick; after a late tick the way is made up at the limited speed.
    """

    target_speed: ClampTo
    target_acceleration: ClampTo
    target_step: ClampTo = ClampTo(limit=0.2)

    @property
    def rate(self) -> Rate:
        """The three together."""
        return Rate(self.target_speed.limit, self.target_acceleration.limit, self.target_step.limit)

    @model_validator(mode="after")
    def _steps_leave_room_to_brake(self) -> PacedLimits:
        # A tick of t s slows v to step / t, which takes v − step / t ≤ a t for every t: step ≥ v² / 4a.
        least = self.target_speed.limit**2 / (4 * self.target_acceleration.limit)
        if self.target_step.limit < least:
            raise ValueError(
                f"target_step: must be {least:.3g} rad or more at this target_speed and target_acceleration"
            )
        return self


class KindsOfMotion(Strict):
    """Limits of the walking policy, of direct joint motion, and of holding and changing stances."""

    locomotion: GaitLimits = GaitLimits()
    direct: PacedLimits
    stance: PacedLimits

    @model_validator(mode="after")
    def _a_stance_can_take_over(self) -> KindsOfMotion:
        least = self.direct.target_speed.limit**2 / (4 * self.stance.target_acceleration.limit)
        if self.stance.target_step.limit < least:
            raise ValueError(f"stance.target_step: must be {least:.3g} rad or more, to take over from direct motion")
        return self


class StopLimits(Strict):
    """How a walk ends: velocity zero at once with the policy running, then a blend to the standing posture.

    Attributes:
        still_joint_speed: the root mean square of joint speeds in rad/s below which the robot counts as still ...
        still_for_s: ... once it has lasted so long.
        timeout_s: the blend begins after this long, still or not.
    """

    still_joint_speed: float = Field(default=0.25, gt=0)
    still_for_s: float = Field(default=0.2, ge=0)
    timeout_s: float = Field(default=1.5, gt=0)


class FootContactLimits(Strict):
    """Whether a robot that stands or walks has ground under it; judged once contacts were ever reported.

    Attributes:
        unloaded_n: a foot that presses less than this many N carries nothing.
        trip_after_s: all feet unloaded for so long damps: it was picked up, or it falls.
        timeout_s: contacts older than this end a walk.
    """

    unloaded_n: float = Field(default=10.0, gt=0)
    trip_after_s: float = Field(default=0.3, ge=0)
    timeout_s: float = Field(default=0.5, gt=0)


class TemperatureLimits(Strict):
    """Motor temperatures; judged once they were ever reported.

    Attributes:
        stop_c: a motor of so many °C ends the walk, and none begins.
        damp_c: damps.
        timeout_s: older ones are an event, and change nothing.
    """

    stop_c: float = 90.0
    damp_c: float = 100.0
    timeout_s: float = Field(default=5.0, gt=0)

    @model_validator(mode="after")
    def _stops_first(self) -> TemperatureLimits:
        if not self.stop_c < self.damp_c:
            raise ValueError(f"stop_c {self.stop_c} must be below damp_c {self.damp_c}")
        return self


class SafetyLimits(Strict):
    """Limits that hold in every state, and those of each kind of motion.

    Attributes:
        joint_state_timeout_s: joint state older than this damps.
        imu_timeout_s: inertial unit older than this damps.
        camera_timeout_s: walking stops when the newest frame behind the plans is older than this.
        plan_validity_max_s: no plan is believed for longer than this after it came, whatever it says.
        plan_future_s: a plan made from an image further in the future than this is refused.
        policy_timeout_s: walking without new targets for this long damps.
        loop_timeout_s: a control loop that stood still for longer than this damps when it comes back: the watchdog has
            let the robot sink meanwhile, and where the targets were is not where the joints are.
        clock_jump_s: the clock of stamps may gain or lose so much on the monotonic one from a tick to the next; more
            ends a walk, and all plans are forgotten. A simulated clock that runs at 20 times real time gains 0.19 s a
            tick of 10 ms.
        deadman_timeout_s: where a deadman switch is required, a switch last heard of longer ago counts as released.
        tilt_rad, tilt_after_s: a larger angle between the body's up and the world's, for so long, damps.
        tilt_rate, tilt_rate_after_s: a faster roll and pitch rate in rad/s, for so long, damps.
        position_tolerance_rad: a joint measured further outside its range than this damps: the measurement is wrong.
        stance_time_s: the least time a change of stance takes; longer where the limits of `motions.stance` need it.
        stance_tolerance_rad, stance_late_s: a change of stance is over when every joint is measured so near to it, in
            rad; so long after the targets should be there, the robot is damped (`stance_not_reached`).
        slew: how fast each body velocity command may change, in m/s² and rad/s², by action name.
        stop: how a walk ends.
        feet: ground contact.
        motors: temperatures.
        motions: limits of each kind of motion.
        disabled: names of limits that are switched off; `jepa_ros.safety.switches` has the names.
    """

    joint_state_timeout_s: float = Field(default=0.1, gt=0)
    imu_timeout_s: float = Field(default=0.1, gt=0)
    camera_timeout_s: float = Field(default=1.0, gt=0)
    plan_validity_max_s: float = Field(default=1.0, gt=0)
    plan_future_s: float = Field(default=0.1, gt=0)
    policy_timeout_s: float = Field(default=0.1, gt=0)
    loop_timeout_s: float = Field(default=0.15, gt=0)
    clock_jump_s: float = Field(default=0.25, gt=0)
    deadman_timeout_s: float = Field(default=0.25, gt=0)
    tilt_rad: float = Field(default=0.6, gt=0, lt=1.6)
    tilt_after_s: float = Field(default=0.05, ge=0)
    tilt_rate: float = Field(default=10.0, gt=0)
    tilt_rate_after_s: float = Field(default=0.06, ge=0)
    position_tolerance_rad: float = Field(default=0.3, gt=0)
    stance_time_s: float = Field(default=1.0, gt=0)
    stance_tolerance_rad: float = Field(default=0.35, gt=0)
    stance_late_s: float = Field(default=1.0, gt=0)
    slew: dict[str, float] = Field(default_factory=lambda: {"vx": 10.0, "vy": 10.0, "wz": 30.0})
    stop: StopLimits = StopLimits()
    feet: FootContactLimits = FootContactLimits()
    motors: TemperatureLimits = TemperatureLimits()
    motions: KindsOfMotion
    disabled: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _slew_is_positive(self) -> SafetyLimits:
        if any(value <= 0 for value in self.slew.values()):
            raise ValueError("slew: must be above zero")
        return self
