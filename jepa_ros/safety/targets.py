"""Joint targets held to what the joints can do: range, torque estimate, rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_ros.robots import RobotModel
from jepa_ros.robots.limits import Rate
from jepa_ros.safety.events import Fault
from jepa_ros.types import Float64, JointState

_LONGEST_TICK_S = 0.1


@dataclass(frozen=True)
class Held:
    """Targets after the limits: position rad, kp Nm/rad, kd Nm·s/rad, each `[n]`; and which limits had to act."""

    position: Float64
    kp: Float64
    kd: Float64
    joint_range: bool
    effort: bool


def hold_to_limits(robot: RobotModel, targets: Float64, joints: JointState, kp: float, kd: float) -> Held:
    """Move targets into the joint range and to where `|kp (q* − q) − kd dq|` is within the torque limit.

    Where no target does both (a joint near its stop, thrown at it fast), that joint's gains are scaled until the
    estimate fits: the torque is then what a saturated motor would give.

    Args:
        robot: the limits.
        targets: `[n]` rad, finite.
        joints: measured, finite.
        kp: above zero.
        kd: zero or more.
    """
    limit = robot.effort_limits
    inside = np.clip(targets, robot.lower, robot.upper)
    middle = joints.position + (kd / kp) * joints.velocity
    position = np.clip(np.clip(inside, middle - limit / kp, middle + limit / kp), robot.lower, robot.upper)
    torque = np.abs(kp * (position - joints.position) - kd * joints.velocity)
    scale = np.minimum(1.0, limit / np.maximum(torque, limit))
    return Held(position, kp * scale, kd * scale, bool((inside != targets).any()), bool((position != inside).any()))


class RateLimiter:
    """Follows targets at a limited speed and acceleration, and brakes in time not to overshoot.

    For direct joint motion only: on a gait, slowing a leg in swing makes a robot fall.

    Args:
        rate: rad/s and rad/s².
        position: `[n]` rad, where to start, at rest.
    """

    def __init__(self, rate: Rate, position: Float64) -> None:
        self._rate = rate
        self._position = position.copy()
        self._speed = np.zeros_like(position)

    def follow(self, targets: Float64, dt: float) -> Float64:
        """Targets `[n]` rad, `dt` s after the last → targets that can be reached by now."""
        if dt <= 0:
            return self._position.copy()
        dt = min(dt, _LONGEST_TICK_S)
        rate, away = self._rate, targets - self._position
        # The largest speed from which constant braking, in steps of dt, still ends at the target.
        step = rate.acceleration * dt
        braking = np.sqrt((step / 2) ** 2 + 2 * rate.acceleration * np.abs(away)) - step / 2
        wanted = np.sign(away) * np.minimum(np.minimum(braking, rate.speed), np.abs(away) / dt)
        self._speed = np.clip(np.clip(wanted, self._speed - step, self._speed + step), -rate.speed, rate.speed)
        self._position = self._position + self._speed * dt
        return self._position.copy()


class MotionTargets:
    """The motion's newest targets, held between its ticks and rate-limited where its limits say so.

    Args:
        rate: how fast they may move, or None.
        silent_after_s: how long the motion may give none.
        now: when it begins.
        position: `[n]` rad, where it begins.
    """

    def __init__(self, rate: Rate | None, silent_after_s: float, now: float, position: Float64) -> None:
        self._silent_after_s = silent_after_s
        self._newest = position
        self._came = self._ticked = now
        self._limiter = None if rate is None else RateLimiter(rate, position)

    def take(self, now: float, raw: Float64 | None) -> Fault | None:
        """New targets `[n]` rad, or None to hold the last; returns what is wrong with them."""
        if raw is None:
            silent = now - self._came
            return (
                Fault("policy_silent", f"no joint targets for {silent:.3f} s")
                if silent > self._silent_after_s
                else None
            )
        if raw.shape != self._newest.shape:
            return Fault(
                "policy_shape", f"the motion gave {raw.shape} targets, the robot has {len(self._newest)} joints"
            )
        if not np.isfinite(raw).all():
            return Fault("policy_not_finite", "the motion gave a joint target that is not a number")
        self._newest, self._came = raw.copy(), now
        return None

    def at(self, now: float) -> Float64:
        """What to ask of the joints now, `[n]` rad."""
        if self._limiter is None:
            return self._newest
        dt, self._ticked = now - self._ticked, now
        return self._limiter.follow(self._newest, dt)
