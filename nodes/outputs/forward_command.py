"""ros2_control's forward_command_controller: joint positions without names, gains or stamps."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from jepa_ros.robots import RobotModel
from jepa_ros.robots.outputs import ForwardCommandSpec
from jepa_ros.types import Float64, JointCommand
from jepa_ros_nodes import qos
from jepa_ros_nodes.conversions import doubles
from jepa_ros_nodes.outputs.controller_joints import ControllerJoints
from jepa_ros_nodes.outputs.measured_joints import MeasuredJoints
from jepa_ros_nodes.outputs.publishing import publisher


class ForwardCommandOutput:
    """Positions on `<controller>/commands`, in the order of the robot file's `output.joints`.

    Nothing is sent before `joint_states` has named every joint, and not against a controller that says another order.
    Positions have no damping: `damp` holds the joints where they were measured when it began.

    Args:
        node: who sends.
        robot: whose joints.
        spec: the robot file's.
    """

    def __init__(self, node: Node, robot: RobotModel, spec: ForwardCommandSpec) -> None:
        order = spec.joints or robot.joint_names
        self._column = np.array([robot.joint_names.index(name) for name in order])
        self._measured = MeasuredJoints(node, robot)
        self._controller = ControllerJoints(node, spec.controller, order)
        self._message = Float64MultiArray()
        self._publish = publisher(node, Float64MultiArray, spec.command_topic, qos.COMMAND)
        self._held: Float64 | None = None

    def send(self, at: Time, command: JointCommand | None, applied: Float64 | None) -> None:
        """Send the targets' positions, if there are any and the joints are the right ones."""
        self._held = None
        if command is not None:
            self._send(command.position)

    def damp(self, at: Time, command: JointCommand) -> None:
        """Hold the joints where they are."""
        if self._held is None:
            self._held = self._measured.position()
        if self._held is not None:
            self._send(self._held)

    def _send(self, position: Float64) -> None:
        if self.refusal() is None:
            self._message.data = doubles(position[self._column])
            self._publish(self._message)

    def refusal(self) -> str | None:
        """Joints that are missing, or in another order."""
        return self._measured.problem() or self._controller.problem()

    def close(self) -> None:
        """Listen no more."""
        self._measured.close()
        self._controller.close()
