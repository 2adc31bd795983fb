"""What an output itself must know of the joints: whether the robot has those of its file, and where they are."""

from __future__ import annotations

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState

from jepa_ros.errors import RobotError
from jepa_ros.messages import JointOrder
from jepa_ros.robots import RobotModel
from jepa_ros.types import Float64
from jepa_ros_nodes import qos
from jepa_ros_nodes.polling import PolledSubscriptions


class MeasuredJoints:
    """The newest of `joint_states`, read when asked for.

    Args:
        node: who listens.
        robot: whose joints; found by name.
    """

    def __init__(self, node: Node, robot: RobotModel) -> None:
        self._robot, self._order = robot, JointOrder(robot)
        self._position: Float64 | None = None
        self._problem: str | None = "no joint_states came yet: is the robot's driver (joint_state_broadcaster) running?"
        self._inputs = PolledSubscriptions(node)
        self._inputs.add(JointState, "joint_states", self._on_joints, qos.SENSOR)

    def _on_joints(self, message: JointState) -> None:
        try:
            position = self._order.joint_state(message).position
        except RobotError as error:
            self._problem = f"joint_states: {error}"
            return
        self._problem = None
        if np.isfinite(position).all():
            self._position = np.clip(position, self._robot.lower, self._robot.upper)

    def position(self) -> Float64 | None:
        """`[n]` rad in the robot's order, within its ranges; None before the first."""
        self._inputs.poll()
        return self._position

    def problem(self) -> str | None:
        """Why the robot's joints are not those of its file, in a sentence; None once they are."""
        if self._problem is not None:
            self._inputs.poll()
        return self._problem

    def close(self) -> None:
        """Listen no more."""
        self._inputs.destroy()
