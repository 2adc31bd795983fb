"""What an output itself must know of the joints: whether the robot has those of its file, and where they are."""

from __future__ import annotations

import threading
from math import inf

import numpy as np
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from sensor_msgs.msg import JointState

from jepa_ros.errors import RobotError
from jepa_ros.messages import JointOrder
from jepa_ros.robots import RobotModel
from jepa_ros.safety.monitors import JointMonitor
from jepa_ros.safety.switches import Switches
from jepa_ros.types import Float64
from jepa_ros_nodes import qos
from jepa_ros_nodes.polling import PolledSubscriptions

_LOOK_S = 0.02
_NEW_HOLD_AFTER_S = 0.2  # damping comes at 100 Hz or more: such a gap is none of jitter


class MeasuredJoints:
    """The newest good one of `joint_states`, looked for all the time: when damping begins the newest may be nonsense,
    and what was good must not be of long ago.

    Good is what the safety filter would keep: every joint named, finite, in or near its range.

    Args:
        node: who listens, in its executor too.
        robot: whose joints; found by name.
    """

    def __init__(self, node: Node, robot: RobotModel) -> None:
        self._node, self._robot, self._order = node, robot, JointOrder(robot)
        self._monitor = JointMonitor(robot, robot.safety, Switches())
        self._position: Float64 | None = None
        self._problem: str | None = "no joint_states came yet: is the robot's driver (joint_state_broadcaster) running?"
        self._lock = threading.Lock()
        self._inputs = PolledSubscriptions(node)
        self._inputs.add(JointState, "joint_states", self._on_joints, qos.SENSOR)
        self._timer = node.create_timer(_LOOK_S, self._poll, callback_group=ReentrantCallbackGroup())

    def _poll(self) -> None:
        with self._lock:
            self._inputs.poll()

    def _on_joints(self, message: JointState) -> None:
        try:
            joints = self._order.joint_state(message)
        except RobotError as error:
            if self._problem is not None:
                self._problem = f"joint_states: {error}"
            return
        self._problem = None
        if self._monitor.judge(joints) is None:
            self._position = np.clip(joints.position, self._robot.lower, self._robot.upper)

    def position(self) -> Float64 | None:
        """`[n]` rad in the robot's order, within its ranges; None before the first."""
        self._poll()
        return self._position

    def problem(self) -> str | None:
        """Why the robot's joints are not those of its file, in a sentence; None from when they once were."""
        if self._problem is not None:
            self._poll()
        return self._problem

    def close(self) -> None:
        """Listen no more."""
        self._node.destroy_timer(self._timer)
        with self._lock:
            self._inputs.destroy()


class Hold:
    """Where the joints were when this damping began; the posture of an earlier one is never used again.

    A damping has ended when something else was sent, or after 0.2 s without: command_watchdog says nothing when
    commands flow again.

    Not what the damping command shows: command_watchdog knows no measurement, and the safety filter shows the sitting
    posture before its first.

    Args:
        joints: measured.
    """

    def __init__(self, joints: MeasuredJoints) -> None:
        self._joints = joints
        self._at: Float64 | None = None
        self._asked = -inf

    def end(self) -> None:
        """Something else is sent: the next damping begins anew."""
        self._asked = -inf

    def begins(self, now: float) -> bool:
        """Note a damping at `now` monotonic s; whether it is the first of its kind, which measures anew."""
        new = now - self._asked > _NEW_HOLD_AFTER_S
        self._asked = now
        if new:
            self._at = None
        if self._at is None:
            self._at = self._joints.position()
        return new

    @property
    def position(self) -> Float64 | None:
        """`[n]` rad; None as long as nothing was ever measured."""
        return self._at
