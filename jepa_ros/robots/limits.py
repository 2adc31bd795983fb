"""The `safety` block of a robot file: every number the safety filter uses, each with its unit in its name."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Clamp(_Strict):
    """Past this limit a value is always held to it; if it stays past it for `trip_after_s`, the robot is damped too."""

    clamp: Literal[True] = True
    trip_after_s: float | None = Field(default=None, ge=0)


class Trip(_Strict):
    """Past this limit for `trip_after_s` the robot is damped: what is measured cannot be clamped."""

    trip_after_s: float = Field(ge=0)


class Rate(_Strict):
    """How fast a target may move: rad/s, and rad/s²."""

    speed: float = Field(gt=0)
    acceleration: float = Field(gt=0)


class MotionLimits(_Strict):
    """Limits while one kind of motion runs.

    Attributes:
        joint_range: targets outside a joint's range.
        effort: targets whose torque estimate `kp (q* − q) − kd dq` is past a joint's limit.
        joint_speed: measured speeds past a joint's limit.
    """

    joint_range: Clamp
    effort: Clamp
    joint_speed: Trip


class PacedLimits(MotionLimits):
    """As `MotionLimits`, at a limited rate. Never for a gait: slowing a leg in swing makes a robot fall."""

    rate: Rate


class KindsOfMotion(_Strict):
    """Limits of the walking policy, of direct joint motion, and of holding and changing stances."""

    locomotion: MotionLimits
    direct: PacedLimits
    stance: PacedLimits


class StopLimits(_Strict):
    """How a walk ends: velocity zero at once with the policy running, then a blend to the standing posture.

    Attributes:
        still_joint_speed: the root mean square of joint speeds in rad/s below which the robot counts as still ...
        still_for_s: ... once it has lasted so long.
        timeout_s: the blend begins after this long, still or not.
    """

    still_joint_speed: float = Field(default=0.25, gt=0)
    still_for_s: float = Field(default=0.2, ge=0)
    timeout_s: float = Field(default=1.5, gt=0)


class SafetyLimits(_Strict):
    """Limits that hold in every state, and those of each kind of motion.

    Attributes:
        joint_state_timeout_s: joint state older than this damps.
        imu_timeout_s: inertial unit older than this damps.
        camera_timeout_s: walking stops when the newest frame behind the plans is older than this.
        plan_validity_max_s: no plan is believed for longer than this after it came, whatever it says.
        policy_timeout_s: walking without new targets for this long damps.
        loop_timeout_s: a control loop that stood still for longer than this damps when it comes back: the watchdog has
            let the robot sink meanwhile, and where the targets were is not where the joints are.
        tilt_rad: a larger angle between the body's up and the world's damps.
        position_tolerance_rad: a joint measured further outside its range than this damps: the measurement is wrong.
        stance_time_s: the least time a change of stance takes; longer where `motions.stance.rate` needs it.
        slew: how fast each body velocity command may change, in m/s² and rad/s², by action name.
        stop: how a walk ends.
        motions: limits of each kind of motion.
    """

    joint_state_timeout_s: float = Field(default=0.1, gt=0)
    imu_timeout_s: float = Field(default=0.1, gt=0)
    camera_timeout_s: float = Field(default=1.0, gt=0)
    plan_validity_max_s: float = Field(default=1.0, gt=0)
    policy_timeout_s: float = Field(default=0.1, gt=0)
    loop_timeout_s: float = Field(default=0.15, gt=0)
    tilt_rad: float = Field(default=0.6, gt=0, lt=1.6)
    position_tolerance_rad: float = Field(default=0.3, gt=0)
    stance_time_s: float = Field(default=1.0, gt=0)
    slew: dict[str, float] = Field(default_factory=lambda: {"vx": 10.0, "vy": 10.0, "wz": 30.0})
    stop: StopLimits = StopLimits()
    motions: KindsOfMotion

    @model_validator(mode="after")
    def _slew_is_positive(self) -> SafetyLimits:
        if any(value <= 0 for value in self.slew.values()):
            raise ValueError("slew: must be above zero")
        return self
