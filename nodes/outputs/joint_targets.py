"""Joint targets with gains by name: what the simulator takes, the recorder writes, and command_watchdog listens to."""

from __future__ import annotations

from builtin_interfaces.msg import Time
from jepa_ros_msgs.msg import JointCommand as JointCommandMessage
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node

from jepa_ros.robots import RobotModel
from jepa_ros.types import Float64, JointCommand
from jepa_ros_nodes import qos
from jepa_ros_nodes.conversions import fill_joint_command
from jepa_ros_nodes.outputs.publishing import publisher

RELEASED = "released"
"""frame_id of joint_command's word that it commands no more; whoever obeys it as a command only damps."""


class JointTargetsOutput:
    """`joint_commands`, in the robot's joint order.

    Args:
        node: who sends.
        robot: whose joints.
        frame_id: of the messages; command_watchdog puts its name there, so that it knows its own.
        events: called when DDS finds that the stream does not keep what its quality of service offers.
    """

    def __init__(
        self, node: Node, robot: RobotModel, frame_id: str = "", events: PublisherEventCallbacks | None = None
    ) -> None:
        self._message = JointCommandMessage(name=list(robot.joint_names))
        self._message.header.frame_id = frame_id
        profile = qos.COMMAND if events is None else qos.COMMAND_STREAM
        self._publish = publisher(node, JointCommandMessage, "joint_commands", profile, event_callbacks=events)

    def send(self, at: Time, command: JointCommand | None, applied: Float64 | None) -> None:
        """Send the targets, if there are any."""
        if command is not None:
            self.damp(at, command)

    def damp(self, at: Time, command: JointCommand) -> None:
        """Send the targets; damping is in their gains."""
        self._message.header.stamp = at
        fill_joint_command(self._message, command)
        self._publish(self._message)

    def release(self, at: Time, damping: JointCommand) -> None:
        """Say that nobody commands the joints any more."""
        frame, self._message.header.frame_id = self._message.header.frame_id, RELEASED
        self.damp(at, damping)
        self._message.header.frame_id = frame

    def refusal(self) -> str | None:
        """Joints are matched by name by whoever listens: nothing can be wrong here."""
        return None

    def close(self) -> None:
        """Nothing is held but the publisher."""
