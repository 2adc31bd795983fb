"""`recorder`: topics to a bag, without ROS's own rosbag2. Messages are stored as they come over the wire, undecoded.

What was heard is on the disk a second later at most, whatever becomes of this process: see `jepa_ros_replay.writer`. A
full disk ends the recording and nothing else.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from jepa_ros.errors import JepaRosError
from jepa_ros_nodes import qos
from jepa_ros_nodes.message_classes import message_class
from jepa_ros_nodes.params import declare
from jepa_ros_nodes.polling import PolledSubscriptions
from jepa_ros_nodes.running_node import run
from jepa_ros_replay.interfaces import interface_files
from jepa_ros_replay.records import BagError
from jepa_ros_replay.typestores import known_definition
from jepa_ros_replay.writer import CHUNK_S, BagWriter

__all__ = ["TOPICS", "RecorderNode", "interface_files", "main"]

# What training and replay need, and what tells why a drive went as it did.
TOPICS = [
    "camera/image_raw:sensor_msgs/msg/Image",
    "camera/camera_info:sensor_msgs/msg/CameraInfo",
    "joint_states:sensor_msgs/msg/JointState",
    "imu:sensor_msgs/msg/Imu",
    "joint_commands:jepa_ros_msgs/msg/JointCommand",
    "applied_action:jepa_ros_msgs/msg/AppliedAction",
    "plan:jepa_ros_msgs/msg/ActionChunk",
    "goal:jepa_ros_msgs/msg/Goal",
    "stage_latency:jepa_ros_msgs/msg/StageLatency",
    "safety_status:jepa_ros_msgs/msg/SafetyStatus",
    "ground_truth/odom:nav_msgs/msg/Odometry",
    "/diagnostics:diagnostic_msgs/msg/DiagnosticArray",
]
_POLL_S = 0.02


class RecorderNode(Node):
    """Writes what it hears until it is stopped or the disk is full; the index is there once the process has ended.

    Args:
        options: for `rclpy.node.Node`, such as `namespace` and `parameter_overrides`.

    Attributes:
        writer: of the bag.
        failure: why the recording ended by itself; empty while it goes on.

    Raises:
        JepaRosError: the folder exists or cannot be made, or a topic's kind is unknown.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("recorder", **options)
        output = Path(declare(self, "output", "recording", "folder of the bag; must not exist yet"))
        topics = declare(self, "topics", TOPICS, "what to record, as topic:package/msg/Type")
        self.failure = ""
        self._sim_time = bool(self.get_parameter("use_sim_time").value)
        self._inputs = PolledSubscriptions(self)
        wanted = {self.resolve_topic_name(topic): kind for topic, kind in map(_split, topics)}
        definitions = {kind: known_definition(kind) for kind in wanted.values()}
        classes = {kind: message_class(kind) for kind in wanted.values()}
        self.writer = BagWriter(output)
        for name, kind in wanted.items():
            self.writer.add_topic(name, kind, definitions[kind])
            self._inputs.add_raw(classes[kind], name, partial(self._write, name), qos.RECORD)
        # Steady time: a recording must go on when /clock stands still.
        self._timer = self.create_timer(_POLL_S, self._poll, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.get_logger().info(f"recording {len(wanted)} topics to {output}")

    def _poll(self) -> None:
        self._inputs.poll()
        if not self.failure:
            self._try(partial(self.writer.flush, CHUNK_S))
        if self.failure:
            self._timer.cancel()
            self._inputs.destroy()

    def _write(self, name: str, data: bytes, received: int) -> None:
        if not self.failure:
            # Cyclone DDS says of no message when it came.
            at = self.get_clock().now().nanoseconds if self._sim_time or received <= 0 else received
            self._try(partial(self.writer.write, name, at, data))

    def _try(self, action: Any) -> None:
        try:
            action()
        except BagError as error:
            self.failure = str(error)
            self.get_logger().error(f"recording has ended, the robot goes on without: {error}")

    def close(self) -> None:
        """Finish the bag."""
        if not self.failure:
            self._inputs.poll()
        if not self.failure:
            self._try(self.writer.close)


def _split(entry: str) -> tuple[str, str]:
    """Topic and kind of an entry of `topics`.

    Raises:
        JepaRosError: it is not of that form.
    """
    topic, _, kind = entry.rpartition(":")
    if not topic or "/msg/" not in kind:
        raise JepaRosError(f"parameter topics, {entry!r}: must be topic:package/msg/Type")
    return topic, kind


def main() -> None:
    """Entry point."""
    run(RecorderNode)


if __name__ == "__main__":
    main()
