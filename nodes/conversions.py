"""The core's values → ROS messages; the other way is `jepa_ros.messages`."""

from __future__ import annotations

import array

import numpy as np
from builtin_interfaces.msg import Time
from jepa_ros_msgs.msg import ActionChunk
from jepa_ros_msgs.msg import JointCommand as JointCommandMessage
from sensor_msgs.msg import Image

from jepa_ros.types import Float64, JointCommand, PlanChunk, UInt8


def stamp(at: float) -> Time:
    """Seconds as a message's time; what is before zero or not finite becomes zero."""
    if not 0.0 <= at < 2**31:
        return Time()
    whole = int(at)
    return Time(sec=whole, nanosec=min(round((at - whole) * 1e9), 999_999_999))


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


def fill_chunk(message: ActionChunk, chunk: PlanChunk) -> None:
    """Put a plan into a message."""
    message.names, message.goal_id = list(chunk.names), list(chunk.goal)
    message.header.stamp, message.observed = stamp(chunk.start), stamp(chunk.observed)
    message.valid_until = stamp(chunk.valid_until)
    message.step, message.steps = chunk.step, len(chunk.values)
    message.values = doubles(chunk.values.reshape(-1))


def fill_joint_command(message: JointCommandMessage, command: JointCommand) -> None:
    """Put a command into a message whose names are in the robot's order already."""
    message.position, message.velocity, message.effort = (
        doubles(command.position),
        doubles(command.velocity),
        doubles(command.effort),
    )
    message.kp, message.kd = doubles(command.kp), doubles(command.kd)
