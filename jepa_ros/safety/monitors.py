"""What is known of the robot's body, how old it is, and whether it may go on moving."""

from __future__ import annotations

from math import hypot, inf

import numpy as np

from jepa_ros.errors import RobotError
from jepa_ros.robots import RobotModel
from jepa_ros.robots.limits import SafetyLimits
from jepa_ros.safety.events import Fault, age
from jepa_ros.types import Float64, Imu, JointState

_SPEED_IMPLAUSIBLE = 5.0
_NORM_TOLERANCE = 0.02


class Lasting:
    """How long a condition has held without a break."""

    def __init__(self) -> None:
        self._since: float | None = None

    def seconds(self, now: float, holds: bool) -> float:
        """Seconds since it began to hold; −1 while it does not."""
        if not holds:
            self._since = None
            return -1.0
        if self._since is None:
            self._since = now
        return now - self._since


class BodyMonitor:
    """The newest joint state and inertial measurement, with what is wrong with them.

    Args:
        robot: joints with their limits.
        limits: time-outs, tilt and tolerances.
    """

    def __init__(self, robot: RobotModel, limits: SafetyLimits) -> None:
        self._robot, self._limits = robot, limits
        self.joints: JointState | None = None
        self.imu: Imu | None = None
        self._joints_at = self._imu_at = -inf
        self.tilt = 0.0
        self._fast, self._still = Lasting(), Lasting()

    def on_joint_state(self, t: float, joints: JointState) -> Fault | None:
        """Take a measurement of time `t`.

        Returns:
            What is wrong with it; such a measurement is not kept.

        Raises:
            RobotError: it has another number of joints than the robot.
        """
        count = len(self._robot.joint_names)
        for name, values in (("positions", joints.position), ("velocities", joints.velocity)):
            if values.shape != (count,):
                raise RobotError(
                    f"robot {self._robot.name}: joint state has {values.shape} {name}, not {count}: map joints by name"
                )
        fault = self.judge_joints(joints)
        if fault is None:
            self.joints, self._joints_at = joints, t
        return fault

    def on_imu(self, t: float, imu: Imu) -> Fault | None:
        """Take a measurement of time `t`; as `on_joint_state`."""
        fault = self.judge_imu(imu)
        if fault is None:
            self.imu, self._imu_at = imu, t
            self.tilt = float(np.arccos(np.clip(-imu.gravity_direction()[2], -1.0, 1.0)))
        return fault

    def joint_state_age(self, now: float) -> float:
        """Seconds; infinite before the first."""
        return age(now, self._joints_at)

    def imu_age(self, now: float) -> float:
        """As `joint_state_age`."""
        return age(now, self._imu_at)

    def fault(self, now: float, speed_trip_s: float) -> Fault | None:
        """What damps a moving robot now, the most urgent first.

        Args:
            now: monotonic seconds.
            speed_trip_s: how long a joint may be over its speed limit.
        """
        limits, joints_age, imu_age = self._limits, self.joint_state_age(now), self.imu_age(now)
        if self.joints is None or joints_age > limits.joint_state_timeout_s:
            return Fault("joint_state_stale", _old("joint state", joints_age, limits.joint_state_timeout_s))
        if self.imu is None or imu_age > limits.imu_timeout_s:
            return Fault("imu_stale", _old("inertial unit", imu_age, limits.imu_timeout_s))
        if self.tilt > limits.tilt_rad:
            return Fault("tilt", f"the body is tilted by {self.tilt:.2f} rad, the limit is {limits.tilt_rad} rad")
        over = np.abs(self.joints.velocity) - self._robot.velocity_limits
        if self._fast.seconds(now, bool((over > 0).any())) >= speed_trip_s:
            worst = int(over.argmax())
            name, speed = self._robot.joint_names[worst], self.joints.velocity[worst]
            return Fault("joint_speed", f"{name} turned at {speed:.1f} rad/s, past its limit, for {speed_trip_s} s")
        return None

    def still_for(self, now: float, speed: float) -> float:
        """Seconds for which the root mean square of joint speeds has been below `speed` rad/s; −1 while it is not."""
        return self._still.seconds(now, self.joints is not None and _rms(self.joints.velocity) < speed)

    @staticmethod
    def judge_imu(imu: Imu) -> Fault | None:
        """What is wrong with the values by themselves: not a number, or a quaternion that is no rotation."""
        if not (np.isfinite(imu.angular_velocity).all() and np.isfinite(imu.orientation).all()):
            return Fault("imu_not_finite", "the inertial unit gave a value that is not a number")
        length = hypot(*imu.orientation)
        if abs(length - 1.0) > _NORM_TOLERANCE:
            return Fault("imu_implausible", f"the inertial unit's quaternion has length {length:.3g}, not 1")
        return None

    def judge_joints(self, joints: JointState) -> Fault | None:
        """What is wrong with joint values by themselves: not a number, or nothing a joint could do."""
        robot, tolerance = self._robot, self._limits.position_tolerance_rad
        if not (np.isfinite(joints.position).all() and np.isfinite(joints.velocity).all()):
            return Fault("joint_state_not_finite", "the joint state holds a value that is not a number")
        outside = np.maximum(robot.lower - joints.position, joints.position - robot.upper)
        if outside.max() > tolerance:
            worst = int(outside.argmax())
            detail = (
                f"{robot.joint_names[worst]} is measured at {joints.position[worst]:.3g} rad, far outside its range"
            )
            return Fault("joint_state_implausible", detail)
        if (np.abs(joints.velocity) > _SPEED_IMPLAUSIBLE * robot.velocity_limits).any():
            return Fault("joint_state_implausible", f"a joint speed is past {_SPEED_IMPLAUSIBLE:g} times its limit")
        return None


def _old(what: str, seconds: float, limit: float) -> str:
    return f"no {what} yet" if seconds == inf else f"{what} stale: {seconds:.3f} s old, the limit is {limit} s"


def _rms(values: Float64) -> float:
    return float(np.sqrt(np.mean(values**2)))
