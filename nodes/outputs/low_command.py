"""Unitree's LowCmd: joint targets with gains straight to the motors of a Go2."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from std_msgs.msg import Bool
from unitree_go.msg import LowCmd

from jepa_ros.errors import RobotError
from jepa_ros.robots import RobotModel
from jepa_ros.robots.outputs import LowCommandSpec
from jepa_ros.types import Float64, JointCommand
from jepa_ros.unitree.low_command import LowCommand
from jepa_ros_nodes import qos
from jepa_ros_nodes.outputs.publishing import publisher


class LowCommandOutput:
    """Silent until `go2_bridge` says (`low_level_ready`) that the robot's own gait has released the motors.

    Both would command them otherwise, and a Go2 obeys whoever spoke last. Damping is sent unless a gait is known to
    have the motors: a watchdog may start after the bridge has died.

    Args:
        node: who sends.
        robot: with an output of this kind.

    Raises:
        RobotError: `output.motors` does not name the robot's joints.
    """

    def __init__(self, node: Node, robot: RobotModel) -> None:
        if not isinstance(robot.output, LowCommandSpec):
            raise RobotError(f"robot {robot.name}: its output is {robot.output.kind}, not low_command")
        self._node, self._ready = node, None
        self._command = LowCommand(robot.joint_names, robot.output.motors)
        soft, zero = robot.gain("damp"), np.zeros(len(robot.joints))
        self._damping = self._command.encode(
            JointCommand(robot.stance("sit"), zero, zero, zero, np.full(len(robot.joints), soft.kd))
        )
        self._publish = publisher(node, LowCmd, robot.output.command_topic, qos.COMMAND)
        self._subscription = node.create_subscription(
            Bool, "low_level_ready", self._on_ready, qos.LATCHED, callback_group=ReentrantCallbackGroup()
        )

    def _on_ready(self, message: Bool) -> None:
        self._ready = message.data

    def send(self, at: Time, command: JointCommand | None, applied: Float64 | None) -> None:
        """Send the targets, if there are any and the motors are ours."""
        if command is not None and self._ready:
            self._publish(self._encoded(command))

    def damp(self, at: Time, command: JointCommand) -> None:
        """Send the targets, whose gains are damping's."""
        if self._ready is not False:
            self._publish(self._encoded(command))

    def _encoded(self, command: JointCommand) -> bytes:
        try:
            return self._command.encode(command)
        except RobotError as error:  # the safety filter lets no such thing through; if it did, silence would hold it
            self._node.get_logger().error(f"lowcmd: damping instead of {error}", throttle_duration_sec=2.0)
            return self._damping

    def refusal(self) -> str | None:
        """Until the motors are released."""
        if self._ready:
            return None
        if self._ready is None:
            return "nobody says that the motors are free: is go2_bridge running, and does the robot answer it?"
        return "the robot's own gait has the motors: lay the dog down and call go2_bridge/release"

    def close(self) -> None:
        """Hear no more."""
        self._node.destroy_subscription(self._subscription)
