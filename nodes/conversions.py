"""Messages ↔ the core's values. Joints are matched by name; times are kept as seconds in double precision."""

from __future__ import annotations

import array
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Time
from jepa_ros_msgs.msg import JointCommand as JointCommandMessage
from sensor_msgs.msg import CompressedImage, Image
from sensor_msgs.msg import Imu as ImuMessage
from sensor_msgs.msg import JointState as JointStateMessage

from jepa_ros.errors import RobotError
from jepa_ros.robots import RobotModel
from jepa_ros.types import Float64, Imu, JointCommand, JointState, UInt8
from jepa_ros.vision import ImageMessage, decode, decode_compressed


def seconds(stamp: Time) -> float:
    """A message's time in s."""
    return stamp.sec + stamp.nanosec * 1e-9


def stamp(at: float) -> Time:
    """Seconds as a message's time; what is before zero or not finite becomes zero."""
    if not 0.0 <= at < 2**31:
        return Time()
    whole = int(at)
    return Time(sec=whole, nanosec=min(round((at - whole) * 1e9), 999_999_999))


def image_view(message: Image | CompressedImage) -> UInt8:
    """An image message as RGB `[h, w, 3]`.

    Raises:
        ImageError: an encoding or size that cannot be used.
    """
    if isinstance(message, CompressedImage):
        return decode_compressed(message.data, message.format)
    data = memoryview(message.data)
    return decode(ImageMessage(message.encoding, message.width, message.height, message.step, data))


def image_to_message(rgb: UInt8, at: Time | None = None, frame_id: str = "") -> Image:
    """RGB `[h, w, 3]` as an rgb8 message. An `array.array` is the one type whose setter does not look at every byte."""
    height, width = rgb.shape[:2]
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    message.header.frame_id = frame_id
    if at is not None:
        message.header.stamp = at
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(rgb).data)
    message.data = data
    return message


def doubles(values: Float64) -> array.array[float]:
    """Numbers for a float64[] field."""
    found = array.array("d")
    found.frombytes(np.ascontiguousarray(values, dtype=np.float64).tobytes())
    return found


class JointOrder:
    """Finds a robot's joints in messages by name, and remembers where they stood.

    Args:
        robot: whose joints.
    """

    def __init__(self, robot: RobotModel) -> None:
        self._robot = robot
        self._names: Sequence[str] = ()
        self._where = np.zeros(0, dtype=np.intp)

    def _index(self, names: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        if names != self._names:
            self._where, self._names = self._robot.index(names), list(names)
        return self._where

    def _pick(self, what: str, values: Sequence[float], count: int) -> Float64:
        if len(values) != count:
            raise RobotError(f"{what} has {len(values)} entries for {count} names")
        return np.asarray(values, dtype=np.float64)[self._where]

    def joint_state(self, message: JointStateMessage) -> JointState:
        """In the robot's order; speeds and efforts that a driver leaves out are zero.

        Raises:
            RobotError: a joint is missing, or an array has another length than the names.
        """
        self._index(message.name)
        count = len(message.name)
        zero = [0.0] * count
        return JointState(
            self._pick("joint_states.position", message.position, count),
            self._pick("joint_states.velocity", message.velocity or zero, count),
            self._pick("joint_states.effort", message.effort or zero, count),
        )

    def joint_command(self, message: JointCommandMessage) -> JointCommand:
        """In the robot's order.

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


def imu_from(message: ImuMessage) -> Imu:
    """Angular velocity, orientation and specific force, as they stand in the message."""
    w, q, a = message.angular_velocity, message.orientation, message.linear_acceleration
    return Imu(np.array([w.x, w.y, w.z]), np.array([q.x, q.y, q.z, q.w]), np.array([a.x, a.y, a.z]))


def fill_joint_command(message: JointCommandMessage, command: JointCommand) -> None:
    """Put a command into a message whose names are in the robot's order already."""
    message.position, message.velocity, message.effort = (
        doubles(command.position),
        doubles(command.velocity),
        doubles(command.effort),
    )
    message.kp, message.kd = doubles(command.kp), doubles(command.kd)
