"""ros2_control's joint_trajectory_controller: short stretches of positions and speeds, each beginning where and when
the one before ends."""

from __future__ import annotations

import time

import numpy as np
from builtin_interfaces.msg import Duration, Time
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from jepa_ros.messages import seconds
from jepa_ros.robots import RobotModel
from jepa_ros.robots.outputs import TrajectorySpec
from jepa_ros.types import Float64, JointCommand
from jepa_ros_nodes import qos
from jepa_ros_nodes.conversions import doubles, stamp
from jepa_ros_nodes.outputs.measured_joints import Hold, MeasuredJoints
from jepa_ros_nodes.outputs.publishing import publisher

Ends = tuple[Float64, Float64]
"""Position and speed."""


class Stretches:
    """Cuts a stream of targets into stretches of one period, continuous in time, position and speed.

    A stretch leads from where the last one ended to the newest target, and ends there with the mean speed of the
    targets over the period, or at rest at the end of a joint's range, which a curve must not leave. So the robot is one
    period behind the targets.

    Args:
        robot: ranges and speeds.
        period_s: of a stretch.
    """

    def __init__(self, robot: RobotModel, period_s: float) -> None:
        self._robot, self._period = robot, period_s
        self._begin = 0.0
        self._from: Ends | None = None

    def forget(self) -> None:
        """The next stretch begins anew, at rest."""
        self._from = None

    def next(self, now: float, target: Float64) -> tuple[float, Ends, Ends] | None:
        """The stretch that begins by now, if one does.

        Args:
            now: s of the clock of stamps.
            target: `[n]` rad.

        Returns:
            When it begins, s, then position `[n]` rad and speed `[n]` rad/s at its begin and at its end.
        """
        if self._from is None or not -self._period <= now - self._begin < 2 * self._period:
            self._begin, self._from = now, (target.copy(), np.zeros_like(target))
        if now < self._begin:
            return None
        position, speed = self._from
        robot = self._robot
        limit = robot.velocity_limits
        reached = np.clip((target - position) / self._period, -limit, limit)
        reached[(target <= robot.lower) | (target >= robot.upper)] = 0.0
        begin, start, end = self._begin, (position, speed), (target.copy(), reached)
        self._begin, self._from = self._begin + self._period, end
        return begin, start, end


class TrajectoryOutput:
    """Two points a message on `<controller>/joint_trajectory`, joints by name.

    Positions have no damping: `damp` holds the joints where they were measured when it began. No gait runs over it:
    gains are the controller's, and it is one period late.

    Args:
        node: who sends.
        robot: whose joints.
        spec: the robot file's.
    """

    def __init__(self, node: Node, robot: RobotModel, spec: TrajectorySpec) -> None:
        self._stretches = Stretches(robot, 1.0 / spec.rate_hz)
        self._measured = MeasuredJoints(node, robot)
        self._message = JointTrajectory(joint_names=list(robot.joint_names))
        nanoseconds = round(1e9 / spec.rate_hz)
        self._end = Duration(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)
        self._publish = publisher(node, JointTrajectory, spec.command_topic, qos.COMMAND)
        self._hold = Hold(self._measured)

    def send(self, at: Time, command: JointCommand | None, applied: Float64 | None) -> None:
        """Send the stretch to the targets, when it is time for one."""
        self._hold.end()
        if command is None:
            self._stretches.forget()
        else:
            self._send(at, command.position)

    def damp(self, at: Time, command: JointCommand) -> None:
        """Hold the joints where they are."""
        if self._hold.begins(time.monotonic()):
            self._stretches.forget()
        if self._hold.position is not None:
            self._send(at, self._hold.position)

    def _send(self, at: Time, position: Float64) -> None:
        if self.refusal() is not None:
            return
        found = self._stretches.next(seconds(at), position)
        if found is None:
            return
        begin, *ends = found
        self._message.header.stamp = stamp(begin)
        self._message.points = [
            JointTrajectoryPoint(positions=doubles(q), velocities=doubles(dq), time_from_start=when)
            for (q, dq), when in zip(ends, (Duration(), self._end), strict=True)
        ]
        self._publish(self._message)

    def refusal(self) -> str | None:
        """Joints that are missing: the controller would refuse the message."""
        return self._measured.problem()

    def close(self) -> None:
        """Listen no more."""
        self._measured.close()
