"""`recorder`: topics to an MCAP bag, without ROS's own rosbag2. Messages are stored as they come over the wire,
undecoded."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from jepa_ros.errors import JepaRosError
from jepa_ros_nodes import qos
from jepa_ros_nodes.params import declare
from jepa_ros_nodes.polling import PolledSubscriptions
from jepa_ros_nodes.running_node import run

TOPICS = [
    "camera/image_raw:sensor_msgs/msg/Image",
    "camera/camera_info:sensor_msgs/msg/CameraInfo",
    "joint_states:sensor_msgs/msg/JointState",
    "imu:sensor_msgs/msg/Imu",
    "joint_commands:jepa_ros_msgs/msg/JointCommand",
    "applied_action:jepa_ros_msgs/msg/AppliedAction",
    "plan:jepa_ros_msgs/msg/ActionChunk",
    "stage_latency:jepa_ros_msgs/msg/StageLatency",
    "safety_status:jepa_ros_msgs/msg/SafetyStatus",
    "ground_truth/odom:nav_msgs/msg/Odometry",
    "/diagnostics:diagnostic_msgs/msg/DiagnosticArray",
]


_POLL_S = 0.02


def interface_files() -> list[Path]:
    """The `.msg` files of jepa_ros_msgs, in ROS's prefixes or in this environment.

    Raises:
        JepaRosError: they are not installed.
    """
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    for prefix in prefixes:
        found = sorted((Path(prefix) / "share" / "jepa_ros_msgs" / "msg").glob("*.msg")) if prefix else []
        if found:
            return found
    raise JepaRosError("recorder: the interfaces of jepa_ros_msgs are not installed; run `make setup`")


def message_class(kind: str) -> Any:
    """The class of `package/msg/Type`.

    Raises:
        JepaRosError: no such interface is installed.
    """
    package, _, name = kind.partition("/msg/")
    try:
        return getattr(import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise JepaRosError(f"recorder: there is no message {kind} here; is its package installed?") from error


class RecorderNode(Node):
    """Writes what it hears until it is stopped; the bag is complete once the process has ended."""

    def __init__(self) -> None:
        super().__init__("recorder")
        output = Path(declare(self, "output", "recording", "folder of the bag; must not exist yet"))
        topics = declare(self, "topics", TOPICS, "what to record, as topic:package/msg/Type")
        if output.exists():
            raise JepaRosError(f"recorder: {output} exists already; give another parameter output")
        self._store = get_typestore(Stores.ROS2_JAZZY)
        for path in interface_files():
            self._store.register(get_types_from_msg(path.read_text(), f"jepa_ros_msgs/msg/{path.stem}"))
        self._inputs = PolledSubscriptions(self)
        self._sim_time = bool(self.get_parameter("use_sim_time").value)
        self._writer: Writer | None = Writer(output, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        for entry in topics:
            topic, _, kind = entry.rpartition(":")
            name = self.resolve_topic_name(topic)
            connection = self._writer.add_connection(name, kind, typestore=self._store)
            self._inputs.add_raw(
                message_class(kind), topic, lambda data, at, to=connection: self._write(to, data, at), qos.RECORD
            )
        # Steady time: a recording must go on when /clock stands still.
        self.create_timer(_POLL_S, self._inputs.poll, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.get_logger().info(f"recording {len(topics)} topics to {output}")

    def _write(self, connection: Any, data: bytes, received: int) -> None:
        if self._writer is not None:
            at = self.get_clock().now().nanoseconds if self._sim_time else received
            self._writer.write(connection, at, data)

    def close(self) -> None:
        """Finish the bag."""
        if self._writer is not None:
            self._inputs.poll()
            self._writer.close()
            self._writer = None


def main() -> None:
    """Entry point."""
    run(RecorderNode)


if __name__ == "__main__":
    main()
