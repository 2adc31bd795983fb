"""LowCmd: joint targets as a Go2's motors take them, 500 times a second."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jepa_ros.errors import RobotError
from jepa_ros.types import JointCommand
from jepa_ros.unitree.crc import crc32_words
from jepa_ros.unitree.motors import SLOTS, slots
from jepa_ros.unitree.wire import Wire

IGNORE_POSITION, IGNORE_VELOCITY = 2.146e9, 16000.0
SERVO = 1
_MOTOR = np.dtype(
    [
        ("mode", "u1"),
        ("q", "<f4"),
        ("dq", "<f4"),
        ("tau", "<f4"),
        ("kp", "<f4"),
        ("kd", "<f4"),
        ("reserve", "<u4", 3),
    ],
    align=True,
)
LOW_COMMAND = np.dtype(
    [
        ("head", "u1", 2),
        ("level_flag", "u1"),
        ("frame_reserve", "u1"),
        ("sn", "<u4", 2),
        ("version", "<u4", 2),
        ("bandwidth", "<u2"),
        ("motor", _MOTOR, SLOTS),
        ("battery", "u1", 4),
        ("wireless_remote", "u1", 40),
        ("led", "u1", 12),
        ("fan", "u1", 2),
        ("gpio", "u1"),
        ("reserve", "<u4"),
        ("crc", "<u4"),
    ],
    align=True,
)
"""The vendor's struct, 812 bytes (unitree_ros2, `motor_crc.h`)."""
LOW_COMMAND_WIRE = Wire(LOW_COMMAND)
_FIELDS = (("q", "position"), ("dq", "velocity"), ("tau", "effort"), ("kp", "kp"), ("kd", "kd"))


class LowCommand:
    """One LowCmd that is filled again and again.

    Args:
        joints: the robot's joint names, in the order of the commands.
        motors: the same names in the order of the slots.

    Raises:
        RobotError: not the same joints.
    """

    def __init__(self, joints: Sequence[str], motors: Sequence[str]) -> None:
        self._slots = slots(joints, motors)
        self._record, self._bytes = LOW_COMMAND_WIRE.new()
        self._record["head"] = (0xFE, 0xEF)
        self._record["level_flag"] = 0xFF
        self._motors = self._record["motor"]
        # What no joint of this robot is in is told to do nothing.
        self._motors["mode"] = SERVO
        self._motors["q"], self._motors["dq"] = IGNORE_POSITION, IGNORE_VELOCITY

    def encode(self, command: JointCommand) -> bytes:
        """The message of a command, CRC included.

        Raises:
            RobotError: a value is not a number, or too large for the wire's single precision.
        """
        for field, name in _FIELDS:
            values = getattr(command, name)
            if not (np.abs(values) < IGNORE_VELOCITY).all():
                raise RobotError(f"joint command: {name} holds {values[~(np.abs(values) < IGNORE_VELOCITY)][0]}")
            self._motors[field][self._slots] = values
        self._record["crc"] = crc32_words(self._bytes[: LOW_COMMAND.itemsize - 4])
        return LOW_COMMAND_WIRE.encode(self._bytes)

    def packed(self) -> bytes:
        """The vendor's struct as last encoded, 812 bytes."""
        return self._bytes[:-1].tobytes()
