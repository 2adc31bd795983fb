"""The largest values of what the safety filter's limits judge: what a robot's file says on ordinary walking."""

from __future__ import annotations

from math import hypot

import numpy as np
from numpy.typing import NDArray

from jepa_ros.robots import RobotModel
from jepa_ros.safety import SafetyFilter
from jepa_ros.types import Imu, JointState


class Peaks:
    """Follows a walk. What only the filter works out (low passes, differences of targets) is read from it.

    Args:
        safety: the filter that drives the walk.
        robot: its limits.
    """

    def __init__(self, safety: SafetyFilter, robot: RobotModel) -> None:
        self._safety, self._robot = safety, robot
        self._largest: dict[str, float] = {}
        self._unloaded_s = self._tipping_s = self._tilted_s = 0.0
        self._last: NDArray[np.float64] | None = None

    def take(self, state: str, joints: JointState, imu: Imu, forces: NDArray[np.float64], dt: float) -> None:
        """One tick of `dt` s."""
        if state != "walk":
            self._last = None
            return
        limits = self._robot.safety
        sent = self._safety.last_command.position
        if self._last is not None:
            self._keep("target_step", float(np.abs(sent - self._last).max()))
        self._last = sent.copy()
        for name, value in self._safety.measured.items():
            self._keep(name, value)
        relative = np.abs(joints.velocity) / self._robot.velocity_limits
        self._keep("joint_speed", float(relative.max()))
        rate = hypot(*imu.angular_velocity[:2].tolist())
        self._keep("tilt_rate", rate)
        self._unloaded_s = self._unloaded_s + dt if forces.max() < limits.feet.unloaded_n else 0.0
        self._tipping_s = self._tipping_s + dt if rate > limits.tilt_rate else 0.0
        self._tilted_s = self._tilted_s + dt if self._safety.tilt > limits.tilt_rad else 0.0
        self._keep("tilt past its limit", self._tilted_s)
        self._keep("all feet unloaded", self._unloaded_s)
        self._keep("tilt_rate past its limit", self._tipping_s)

    def rows(self) -> list[tuple[str, float, float, str]]:
        """Name, largest value, limit, unit."""
        safety = self._robot.safety
        gait = safety.motions.locomotion
        limits = {
            "target_speed": (gait.target_speed.limit, "rad/s"),
            "target_acceleration": (gait.target_acceleration.limit, "rad/s²"),
            "target_step": (gait.target_step.limit, "rad"),
            "joint_speed": (1.0, "of its limit"),
            "joint_acceleration": (gait.joint_acceleration.limit, "rad/s²"),
            "tilt": (safety.tilt_rad, "rad"),
            "tilt past its limit": (safety.tilt_after_s, "s"),
            "tilt_rate": (safety.tilt_rate, "rad/s"),
            "tilt_rate past its limit": (safety.tilt_rate_after_s, "s"),
            "all feet unloaded": (safety.feet.trip_after_s, "s"),
            "motor temperature": (safety.motors.stop_c, "°C"),
        }
        return [(name, self._largest.get(name, 0.0), limit, unit) for name, (limit, unit) in limits.items()]

    def _keep(self, name: str, value: float) -> None:
        self._largest[name] = max(self._largest.get(name, 0.0), value)
