"""Which output a robot has."""

from __future__ import annotations

from rclpy.node import Node

from jepa_ros.robots import RobotModel
from jepa_ros.robots.outputs import (
    CmdVelSpec,
    ForwardCommandSpec,
    JointTargetsSpec,
    LowCommandSpec,
    SportSpec,
    TrajectorySpec,
)
from jepa_ros_nodes.outputs.cmd_vel import CmdVelOutput
from jepa_ros_nodes.outputs.forward_command import ForwardCommandOutput
from jepa_ros_nodes.outputs.joint_targets import JointTargetsOutput
from jepa_ros_nodes.outputs.output import Output
from jepa_ros_nodes.outputs.trajectory import TrajectoryOutput


def make_output(node: Node, robot: RobotModel, kind: str = "") -> Output:
    """The output that a robot takes its commands from.

    Args:
        node: who sends.
        robot: to whom.
        kind: another than the robot file's; see `RobotModel.with_output`.

    Raises:
        RobotError: no such kind, or one that the robot's file must say more of.
    """
    robot = robot.with_output(kind)
    match robot.output:
        case JointTargetsSpec():
            return JointTargetsOutput(node, robot)
        case ForwardCommandSpec():
            return ForwardCommandOutput(node, robot, robot.output)
        case TrajectorySpec():
            return TrajectoryOutput(node, robot, robot.output)
        case CmdVelSpec():
            return CmdVelOutput(node, robot.output)
        case SportSpec():
            # Unitree's interfaces are needed for these two alone.
            from jepa_ros_nodes.outputs.sport import SportOutput

            return SportOutput(node, robot)
        case LowCommandSpec():
            from jepa_ros_nodes.outputs.low_command import LowCommandOutput

            return LowCommandOutput(node, robot)
