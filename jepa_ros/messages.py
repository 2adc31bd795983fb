"""ROS messages → the core's values, whoever decoded them: rclpy on a robot, or a bag's reader without ROS.

Nothing of ROS is imported: a message is whatever has the fields of its definition. Joints are matched by name; times
are kept as seconds in double precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jepa_ros.errors import RobotError
from jepa_ros.robots import RobotModel
from jepa_ros.types import Float64, Imu, JointCommand, JointState, PlanChunk, UInt8
from jepa_ros.vision import ImageMessage, decode, decode_compressed


def seconds(stamp: Any) -> float:
    """A `builtin_interfaces/Time` in s."""
    return float(stamp.sec + stamp.nanosec * 1e-9)


def clock_seconds(nanoseconds: int) -> float:
    """A count of ns in s, to the same bit as `seconds` of the stamp that says the same."""
    return float(nanoseconds // 1_000_000_000 + (nanoseconds % 1_000_000_000) * 1e-9)


class StampWatch:
    """Ages of one topic's messages: a driver that repeats its last one, or a late link, must not look fresh."""

    def __init__(self) -> None:
        self._last = (0, 0)

    def age(self, stamp: Any, clock: float) -> float | None:
        """Seconds from a header's stamp to `clock`; None for a stamp that came before, which is nothing new.

        A stamp of zero says nothing: some drivers leave it empty, and the message counts as made when it came.
        """
        found = (stamp.sec, stamp.nanosec)
        if found == (0, 0):
            return 0.0
        if found == self._last:
            return None
        self._last = found
        return clock - seconds(stamp)


def image_view(message: Any) -> UInt8:
    """A `sensor_msgs/Image` or `CompressedImage` as RGB `[h, w, 3]`.

    Raises:
        ImageError: an encoding or size that cannot be used.
    """
    data = memoryview(message.data)
    if hasattr(message, "format"):
        return decode_compressed(data, message.format)
    return decode(ImageMessage(message.encoding, message.width, message.height, message.step, data))


def horizontal_fov(message: Any) -> float:
    """Of a `sensor_msgs/CameraInfo`, in rad; 0 where it has no focal length."""
    focal = float(message.k[0])
    return 2 * float(np.arctan(message.width / (2 * focal))) if focal > 0 else 0.0


def imu_from(message: Any) -> Imu:
    """Angular velocity, orientation and specific force of a `sensor_msgs/Imu`, as they stand in the message.

    Raises:
        RobotError: the unit gives no orientation, which REP 145 has it say by a covariance of −1. What then stands in
            the quaternion means nothing, and may look level.
    """
    if message.orientation_covariance[0] == -1:
        raise RobotError(
            "imu has no orientation (orientation_covariance[0] is -1): tilt cannot be judged; run a filter that "
            "estimates it (imu_filter_madgwick, say) and remap imu to its output"
        )
    w, q, a = message.angular_velocity, message.orientation, message.linear_acceleration
    return Imu(np.array([w.x, w.y, w.z]), np.array([q.x, q.y, q.z, q.w]), np.array([a.x, a.y, a.z]))


def chunk_from(message: Any) -> PlanChunk:
    """A plan as it stands in its `jepa_ros_msgs/ActionChunk`.

    Raises:
        RobotError: its values do not make its steps.
    """
    count, steps = len(message.names), int(message.steps)
    if not count or len(message.values) != count * steps:
        raise RobotError(f"{len(message.values)} values do not make {steps} steps of {count} actions")
    return PlanChunk(
        names=tuple(message.names),
        start=seconds(message.header.stamp),
        step=float(message.step),
        values=np.asarray(message.values, dtype=np.float64).reshape(steps, count),
        observed=seconds(message.observed),
        valid_until=seconds(message.valid_until),
        goal=bytes(message.goal_id),
    )


class NamedOrder:
    """Finds values in messages by name, and remembers where they stood.

    Args:
        what: is named, for errors.
        names: in the order wanted.
    """

    def __init__(self, what: str, names: Sequence[str]) -> None:
        self._what, self._wanted = what, tuple(names)
        self._names: Sequence[str] = ()
        self._where: list[int] = []

    def pick(self, names: Sequence[str], values: Sequence[float]) -> Float64:
        """`values`, one a name, in the order wanted.

        Raises:
            RobotError: a name is missing or stands twice, or there are not as many values as names.
        """
        if len(values) != len(names):
            raise RobotError(f"{self._what}: {len(values)} values for {len(names)} names")
        if names != self._names:
            given = list(names)
            missing = [name for name in self._wanted if given.count(name) != 1]
            if missing:
                raise RobotError(f"{self._what}: {', '.join(missing)} must be named once among the {len(given)} names")
            self._where, self._names = [given.index(name) for name in self._wanted], given
        row: Float64 = np.asarray(values, dtype=np.float64)[self._where]
        return row


class JointOrder:
    """Finds a robot's joints in messages by name, and remembers where they stood.

    Args:
        robot: whose joints.
    """

    def __init__(self, robot: RobotModel) -> None:
        self._robot = robot
        self._names: Sequence[str] = ()
        self._where = np.zeros(0, dtype=np.intp)

    def _index(self, names: Sequence[str]) -> None:
        if names != self._names:
            self._where, self._names = self._robot.index(names), list(names)

    def _pick(self, what: str, values: Sequence[float], count: int) -> Float64:
        if len(values) != count:
            raise RobotError(f"{what} has {len(values)} entries for {count} names")
        row: Float64 = np.asarray(values, dtype=np.float64)[self._where]
        return row

    def joint_state(self, message: Any) -> JointState:
        """A `sensor_msgs/JointState` in the robot's order; efforts may be left out and are zero then, speeds may not.

        Raises:
            RobotError: a joint is missing, or an array has another length than the names.
        """
        self._index(message.name)
        count = len(message.name)
        effort = message.effort if len(message.effort) else [0.0] * count
        return JointState(
            self._pick("joint_states.position", message.position, count),
            self._pick("joint_states.velocity", message.velocity, count),
            self._pick("joint_states.effort", effort, count),
        )

    def joint_command(self, message: Any) -> JointCommand:
        """A `jepa_ros_msgs/JointCommand` in the robot's order.

        Raises:
            RobotError: a joint is missing, an array has another length than the names, or a value is not a number.
        """
        self._index(message.name)
        count = len(message.name)
        fields = ("position", "velocity", "effort", "kp", "kd")
        values = [self._pick(f"joint_commands.{field}", getattr(message, field), count) for field in fields]
        if not all(np.isfinite(value).all() for value in values):
            raise RobotError("joint_commands holds a value that is not a number")
        return JointCommand(*values)
