"""A bag of a dog that stands before a wall, for the tiny bundle: everything that a replay can say about it is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer

from jepa_ros.robots import load_robot
from jepa_ros_replay.typestores import known_types

GO2 = load_robot("go2")
STORE = known_types()
BEGIN_S = 1000.0
ACTION = (0.1, 0.0, 0.0)


def make(kind: str, /, **fields: Any) -> Any:
    """A message; what is not given is empty."""
    return STORE.types[kind](**fields)


def stamp(t: float) -> Any:
    ns = round(t * 1e9)
    return make("builtin_interfaces/msg/Time", sec=ns // 10**9, nanosec=ns % 10**9)


def header(t: float, frame: str = "") -> Any:
    return make("std_msgs/msg/Header", stamp=stamp(t), frame_id=frame)


def vector(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Any:
    return make("geometry_msgs/msg/Vector3", x=x, y=y, z=z)


def image(t: float, pixels: np.ndarray, encoding: str = "rgb8") -> Any:
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    return make(
        "sensor_msgs/msg/Image", header=header(t), height=height, width=width, encoding=encoding, is_bigendian=0,
        step=width * channels * pixels.itemsize, data=np.frombuffer(pixels.tobytes(), np.uint8),
    )  # fmt: skip


def joint_state(t: float, position: np.ndarray, names: tuple[str, ...] = GO2.joint_names) -> Any:
    zero = np.zeros(len(names))
    return make(
        "sensor_msgs/msg/JointState", header=header(t), name=list(names), position=position[: len(names)],
        velocity=zero, effort=zero,
    )  # fmt: skip


def imu(t: float) -> Any:
    level = make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0)
    none = np.zeros(9)
    return make(
        "sensor_msgs/msg/Imu", header=header(t), orientation=level, orientation_covariance=none,
        angular_velocity=vector(), angular_velocity_covariance=none,
        linear_acceleration=vector(z=9.81), linear_acceleration_covariance=none,
    )  # fmt: skip


def applied(t: float, action: tuple[float, ...] = ACTION) -> Any:
    return make("jepa_ros_msgs/msg/AppliedAction", header=header(t), names=["vx", "vy", "wz"], values=np.array(action))


def command(t: float, position: np.ndarray) -> Any:
    zero = np.zeros(12)
    return make(
        "jepa_ros_msgs/msg/JointCommand", header=header(t), name=list(GO2.joint_names), position=position,
        velocity=zero, effort=zero, kp=zero + 60.0, kd=zero + 5.0,
    )  # fmt: skip


Row = tuple[float, str, Any]
WALL = np.full((16, 16, 3), 90, np.uint8)


def rows(seconds: float = 8.0, wall: np.ndarray = WALL) -> list[Row]:
    """(time, topic, message): camera at 10 Hz, joints and inertial unit at 50 Hz, what was applied at 50 Hz."""
    found: list[Row] = []
    stand = GO2.stance("stand")
    for k in range(round(seconds * 50)):
        t = BEGIN_S + k * 0.02
        found.append((t, "/joint_states", joint_state(t, stand)))
        found.append((t, "/imu", imu(t)))
        found.append((t, "/applied_action", applied(t)))
        found.append((t, "/joint_commands", command(t, stand)))
        if k % 5 == 0:
            found.append((t, "/camera/image_raw", image(t, wall)))
    return found


def write(path: Path, content: list[Row], change: Callable[[Row], Row | None] | None = None) -> Path:
    """Write rows as an MCAP bag, after changing or dropping some."""
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections: dict[str, Any] = {}
        for row in content:
            kept = row if change is None else change(row)
            if kept is None:
                continue
            t, topic, message = kept
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            writer.write(connections[topic], round(t * 1e9), STORE.serialize_cdr(message, kind))
    return path
