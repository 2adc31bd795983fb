"""What is known of the robot's body, how old it is, and whether it may go on moving."""

from __future__ import annotations

from math import acos, hypot, inf, isfinite, sqrt

import numpy as np

from jepa_ros.robots import RobotModel
from jepa_ros.robots.limits import MotionLimits, SafetyLimits
from jepa_ros.safety.events import Fault, age
from jepa_ros.safety.lasting import Lasting
from jepa_ros.safety.switches import Switches
from jepa_ros.types import Imu, JointState

_SPEED_IMPLAUSIBLE = 5.0
_NORM_TOLERANCE = 0.02
_ACCELERATION_FILTER_S = 0.02
_LONGEST_GAP_S = 0.1


class JointMonitor:
    """The newest joint state, with what is wrong with it.

    Args:
        robot: joints with their limits.
        limits: time-out and tolerance.
        switches: which limits are on.

    Attributes:
        joints: the newest that was usable, or None; its arrays are buffers.
        speed_rms: root mean square of joint speeds, rad/s.
        acceleration: the largest joint acceleration under the low pass, rad/s².
    """

    def __init__(self, robot: RobotModel, limits: SafetyLimits, switches: Switches) -> None:
        self._robot, self._limits, self._switches = robot, limits, switches
        count = len(robot.joint_names)
        self._shape = (count,)
        self._buffers = JointState(np.zeros(count), np.zeros(count), np.zeros(count))
        self.joints: JointState | None = None
        self._at = -inf
        self.speed_rms = self.acceleration = 0.0
        self._accelerations, self._work, self._speeds = np.zeros(count), np.zeros(count), np.zeros(count)
        self._mask = np.empty(count, bool)
        self._lowest = robot.lower - limits.position_tolerance_rad
        self._highest = robot.upper + limits.position_tolerance_rad
        self._fastest = _SPEED_IMPLAUSIBLE * robot.velocity_limits
        self._too_fast = False
        self._fast, self._jerked, self._still = Lasting(), Lasting(), Lasting()

    def take(self, t: float, joints: JointState) -> Fault | None:
        """Take a measurement of time `t`, finite.

        Returns:
            What is wrong with it; such a measurement is not kept.
        """
        fault = self.judge(joints)
        if fault is not None:
            return fault
        self._differentiate(t, joints)
        np.copyto(self._buffers.position, joints.position)
        np.copyto(self._buffers.velocity, joints.velocity)
        self.joints, self._at = self._buffers, t
        np.abs(self._buffers.velocity, out=self._speeds)
        self._too_fast = bool(np.greater(self._speeds, self._robot.velocity_limits, out=self._mask).any())
        self.speed_rms = sqrt(float(self._speeds.dot(self._speeds)) / len(self._speeds))
        return None

    def late(self, t: float, now: float) -> Fault | None:
        """Whether a measurement of time `t` came out of order: one that is newer is known. One from the future, more
        than the time-out ahead of `now`, is not taken for newer."""
        return out_of_order("joint_state", t, self._at, now + self._limits.joint_state_timeout_s)

    def age(self, now: float) -> float:
        """Seconds; infinite before the first."""
        return age(now, self._at)

    def stale(self, now: float) -> Fault | None:
        """Why there is no joint state to go by, or None."""
        old, limit = self.age(now), self._limits.joint_state_timeout_s
        return Fault("joint_state_stale", told("joint state", old, limit)) if old > limit else None

    def fault(self, now: float, motion: str, limits: MotionLimits) -> Fault | None:
        """Whether a joint has been too fast for too long, or its speed changed too fast.

        Args:
            now: monotonic seconds.
            motion: whose limits they are.
            limits: of the motion that runs.
        """
        after = limits.joint_speed.trip_after_s
        if self._fast.seconds(now, self._too_fast) >= after and self._switches.on("joint_speed", motion):
            np.subtract(self._speeds, self._robot.velocity_limits, out=self._work)
            worst = int(self._work.argmax())
            name, speed = self._robot.joint_names[worst], self._buffers.velocity[worst]
            return Fault("joint_speed", f"{name} turned at {speed:.1f} rad/s, past its limit, for {after} s")
        most = limits.joint_acceleration
        lasts = self._jerked.seconds(now, self.acceleration > most.limit)
        if lasts >= most.trip_after_s and self._switches.on("joint_acceleration", motion):
            detail = f"a joint's speed changed by {self.acceleration:.0f} rad/s², the limit is {most.limit:.0f}"
            return Fault("joint_acceleration", detail)
        return None

    def still_for(self, now: float, speed: float) -> float:
        """Seconds for which the root mean square of joint speeds has been below `speed` rad/s; −1 while it is not."""
        return self._still.seconds(now, self.joints is not None and self.speed_rms < speed)

    def judge(self, joints: JointState) -> Fault | None:
        """What is wrong with joint values by themselves: not a number, or nothing a joint could do."""
        position, velocity, mask = joints.position, joints.velocity, self._mask
        if position.shape != self._shape or velocity.shape != self._shape:
            told = f"{position.shape} positions and {velocity.shape} speeds, not {self._shape[0]}"
            return Fault("joint_state_shape", f"joint state has {told}: map joints by name")
        if not (np.isfinite(position, out=mask).all() and np.isfinite(velocity, out=mask).all()):
            return Fault("joint_state_not_finite", "the joint state holds a value that is not a number")
        np.maximum(position, self._lowest, out=self._work)
        np.minimum(self._work, self._highest, out=self._work)
        if np.not_equal(self._work, position, out=mask).any():
            worst = int(mask.argmax())
            where = f"{self._robot.joint_names[worst]} is measured at {position[worst]:.3g} rad"
            return Fault("joint_state_implausible", f"{where}, far outside its range")
        np.abs(velocity, out=self._work)
        if np.greater(self._work, self._fastest, out=mask).any():
            return Fault("joint_state_implausible", f"a joint speed is past {_SPEED_IMPLAUSIBLE:g} times its limit")
        return None

    def _differentiate(self, t: float, joints: JointState) -> None:
        """Follow the accelerations under a first-order low pass, whose form needs no division by a short time."""
        dt = t - self._at
        if not dt <= _LONGEST_GAP_S:
            self._accelerations.fill(0.0)
        elif dt > 0:
            np.subtract(joints.velocity, self._buffers.velocity, out=self._work)
            self._accelerations *= _ACCELERATION_FILTER_S
            self._accelerations += self._work
            self._accelerations /= _ACCELERATION_FILTER_S + dt
        np.abs(self._accelerations, out=self._work)
        self.acceleration = float(self._work.max())


class ImuMonitor:
    """The newest inertial measurement, with what is wrong with it.

    Args:
        limits: time-out, tilt and tilt rate.
        switches: which limits are on.

    Attributes:
        tilt: angle in rad between the body's up and the world's.
        tilt_rate: roll and pitch rate together, rad/s.
    """

    def __init__(self, limits: SafetyLimits, switches: Switches) -> None:
        self._limits, self._switches = limits, switches
        self._at = -inf
        self.tilt = self.tilt_rate = 0.0
        self._tilted, self._turning = Lasting(), Lasting()

    def take(self, t: float, imu: Imu) -> Fault | None:
        """Take a measurement of time `t`, finite; as `JointMonitor.take`."""
        fault = self.judge(imu)
        if fault is None:
            x, y, _, _ = imu.orientation.tolist()
            self.tilt = acos(min(max(1.0 - 2.0 * (x * x + y * y), -1.0), 1.0))
            roll, pitch, _ = imu.angular_velocity.tolist()
            self.tilt_rate = hypot(roll, pitch)
            self._at = t
        return fault

    def late(self, t: float, now: float) -> Fault | None:
        """As `JointMonitor.late`."""
        return out_of_order("imu", t, self._at, now + self._limits.imu_timeout_s)

    def age(self, now: float) -> float:
        """Seconds; infinite before the first."""
        return age(now, self._at)

    def stale(self, now: float) -> Fault | None:
        """Why there is no inertial measurement to go by, or None."""
        old, limit = self.age(now), self._limits.imu_timeout_s
        return Fault("imu_stale", told("inertial unit", old, limit)) if old > limit else None

    def fault(self, now: float) -> Fault | None:
        """Whether the body is tilted too far or turns over too fast, for too long."""
        limits, on = self._limits, self._switches.on
        if self._tilted.seconds(now, self.tilt > limits.tilt_rad) >= limits.tilt_after_s and on("tilt"):
            return Fault("tilt", f"the body is tilted by {self.tilt:.2f} rad, the limit is {limits.tilt_rad} rad")
        turns = self._turning.seconds(now, self.tilt_rate > limits.tilt_rate)
        if turns >= limits.tilt_rate_after_s and on("tilt_rate"):
            return Fault("tilt_rate", f"the body tips at {self.tilt_rate:.1f} rad/s, the limit is {limits.tilt_rate}")
        return None

    @staticmethod
    def judge(imu: Imu) -> Fault | None:
        """What is wrong with the values by themselves: not a number, or a quaternion that is no rotation."""
        if imu.angular_velocity.shape != (3,) or imu.orientation.shape != (4,):
            told = f"{imu.angular_velocity.shape} angular velocities and a quaternion of {imu.orientation.shape}"
            return Fault("imu_shape", f"the inertial unit gave {told}, not 3 and 4")
        if not all(map(isfinite, (*imu.angular_velocity.tolist(), *imu.orientation.tolist()))):
            return Fault("imu_not_finite", "the inertial unit gave a value that is not a number")
        length = hypot(*imu.orientation.tolist())
        if abs(length - 1.0) > _NORM_TOLERANCE:
            return Fault("imu_implausible", f"the inertial unit's quaternion has length {length:.3g}, not 1")
        return None


def out_of_order(name: str, t: float, newest: float, soon: float) -> Fault | None:
    """A measurement of `t` that is older than the newest; None where that one is itself of later than `soon`."""
    if not -inf < t < newest <= soon:
        return None
    return Fault(f"{name}_out_of_order", f"{name}: a sample came {newest - t:.3f} s older than the newest: ignored")


def told(what: str, seconds: float, limit: float) -> str:
    """A sentence on something old."""
    return f"no {what} yet" if seconds == inf else f"{what} stale: {seconds:.3f} s old, the limit is {limit} s"
