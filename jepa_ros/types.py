"""Small immutable values that pass between rooms. Arrays are in `RobotModel.joint_names` order, SI units, REP-103
axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
UInt8 = NDArray[np.uint8]


@dataclass(frozen=True)
class JointState:
    """Measured joints.

    Attributes:
        position: `[n]` rad.
        velocity: `[n]` rad/s.
        effort: `[n]` Nm.
    """

    position: Float64
    velocity: Float64
    effort: Float64


@dataclass(frozen=True)
class Imu:
    """Measured body motion, in the body frame (x forward, y left, z up).

    Attributes:
        angular_velocity: `[3]` rad/s.
        orientation: `[4]` quaternion x, y, z, w that rotates body vectors into the world (ROS order).
        linear_acceleration: `[3]` m/s², gravity included, as an accelerometer reads it.
    """

    angular_velocity: Float64
    orientation: Float64
    linear_acceleration: Float64

    def gravity_direction(self) -> Float64:
        """Unit vector `[3]` of gravity in the body frame; (0, 0, -1) when level."""
        x, y, z, w = self.orientation
        return np.array([2 * (w * y - x * z), -2 * (y * z + w * x), 2 * (x * x + y * y) - 1], dtype=np.float64)


@dataclass(frozen=True)
class JointCommand:
    """Targets of the joint law `effort + kp (position − q) + kd (velocity − dq)`.

    Attributes:
        position: `[n]` rad.
        velocity: `[n]` rad/s.
        effort: `[n]` Nm, feed-forward.
        kp: `[n]` Nm/rad.
        kd: `[n]` Nm·s/rad.
    """

    position: Float64
    velocity: Float64
    effort: Float64
    kp: Float64
    kd: Float64


@dataclass(frozen=True)
class PlanChunk:
    """The actions of the next model steps.

    Attributes:
        names: components of an action.
        start: when the first action takes effect, s of the plans' clock.
        step: s, for how long each action holds.
        values: `[steps, A]` in SI units.
        observed: stamp in s of the newest image behind it.
        valid_until: s; nothing of it is carried out later.
        goal: identity of the goal it serves.
    """

    names: tuple[str, ...]
    start: float
    step: float
    values: Float64
    observed: float
    valid_until: float
    goal: bytes = b""

    def at(self, now: float) -> Float64:
        """The action `[A]` at `now` s, not before `start`; the last one holds on."""
        row: Float64 = self.values[min(int((now - self.start) / self.step), len(self.values) - 1)]
        return row
