"""ros2_control's forward_command_controller: joint positions without names, gains or stamps."""

from __future__ import annotations

import time

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
from jepa_ros_nodes.outputs.measured_joints import Hold, MeasuredJoints
from jepa_ros_nodes.outputs.publishing import publisher


class ForwardCommandOutput:
    """Positions on `<controller>/commands`, in the order of the robot file's `output.joints`.

    Nothing is sent before `joint_states` has named every joint, and, unless `check_order` is off, not before the
    controller has said that it has the same order.
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
        self._controller = ControllerJoints(node, spec.controller, order) if spec.check_order else None
        self._message = Float64MultiArray()
        self._publish = publisher(node, Float64MultiArray, spec.command_topic, qos.COMMAND)
        self._hold = Hold(self._measured)

    def send(self, at: Time, command: JointCommand | None, applied: Float64 | None) -> None:
        """Send the targets' positions, if there are any and the joints are the right ones."""
        self._hold.end()
        if command is not None:
            self._send(command.position)

    def damp(self, at: Time, command: JointCommand) -> None:
        """Hold the joints where they are."""
        self._hold.begins(time.monotonic())
        if self._hold.position is not None:
            self._send(self._hold.position)

    def _send(self, position: Float64) -> None:
        if self.refusal() is None:
            self._message.data = doubles(position[self._column])
            self._publish(self._message)

    def refusal(self) -> str | None:
        """Joints that are missing or in another order, or a controller that has not said its order yet."""
        asked = self._controller
        return self._measured.problem() or (None if asked is None else asked.problem())

    def close(self) -> None:
        """Listen no more."""
        self._measured.close()
        if self._controller is not None:
            self._controller.close()
