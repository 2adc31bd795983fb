"""Joint targets held to what the joints can do: range and torque estimate."""

from __future__ import annotations

import numpy as np

from jepa_ros.robots import RobotModel
from jepa_ros.types import Float64, JointState


class TargetHold:
    """Moves targets into the joint range, and holds `|kp (q* − q) − kd dq|` to the torque limit.

    A gait's targets are moved to where the estimate fits, and keep their gains; so are all of an output that sends no
    gains. Targets that may not jump (direct motion, stances) stay where they are; that joint's gains are scaled instead
    until the estimate fits: the torque is then what a saturated motor would give. So are a gait's where no target in
    range fits (a joint thrown at its stop).

    Args:
        robot: the limits.
        joint_range, effort: which of the two hold.

    Attributes:
        position, kp, kd: `[n]` rad, Nm/rad, Nm·s/rad after the limits. Buffers.
        past_range, past_effort: which limits had to act.
    """

    def __init__(self, robot: RobotModel, joint_range: bool = True, effort: bool = True) -> None:
        count = len(robot.joint_names)
        self._lower = robot.lower if joint_range else np.full(count, -np.inf)
        self._upper = robot.upper if joint_range else np.full(count, np.inf)
        self._effort = robot.effort_limits if effort else None
        self.position, self.kp, self.kd = np.zeros(count), np.zeros(count), np.zeros(count)
        self.past_range = self.past_effort = False
        self._torque, self._middle, self._work = np.empty(count), np.empty(count), np.empty(count)
        self._mask = np.empty(count, bool)

    def hold(self, targets: Float64, joints: JointState, kp: float, kd: float, move: bool) -> None:
        """Hold targets `[n]` rad, finite.

        Args:
            targets: what is asked for.
            joints: measured, finite.
            kp: above zero.
            kd: zero or more.
            move: whether targets may be moved for the torque's sake.
        """
        self.past_range = self.into_range(targets, self.position)
        self.kp.fill(kp)
        self.kd.fill(kd)
        self.past_effort = False
        limit = self._effort
        if limit is None or not self._too_much(joints, kp, kd, limit):
            return
        self.past_effort = True
        if move:
            self._move(joints, kp, kd, limit)
            if not self._too_much(joints, kp, kd, limit):
                return
        np.maximum(self._torque, limit, out=self._torque)
        np.divide(limit, self._torque, out=self._torque)
        self.kp *= self._torque
        self.kd *= self._torque

    def into_range(self, targets: Float64, out: Float64) -> bool:
        """Targets in the joint range, `[n]` rad, into `out`; whether they were not."""
        np.maximum(targets, self._lower, out=out)
        np.minimum(out, self._upper, out=out)
        return bool(np.not_equal(out, targets, out=self._mask).any())

    def _too_much(self, joints: JointState, kp: float, kd: float, limit: Float64) -> bool:
        """Whether the torque estimate of `position` is past a joint's limit anywhere."""
        torque, work = self._torque, self._work
        np.subtract(self.position, joints.position, out=torque)
        torque *= kp
        np.multiply(joints.velocity, kd, out=work)
        torque -= work
        np.abs(torque, out=torque)
        return bool(np.greater(torque, limit, out=self._mask).any())

    def _move(self, joints: JointState, kp: float, kd: float, limit: Float64) -> None:
        """Move `position` to where the torque fits, as far as the range allows."""
        middle, work = self._middle, self._work
        np.multiply(joints.velocity, kd / kp, out=middle)
        middle += joints.position
        np.multiply(limit, 1.0 / kp, out=work)
        middle -= work
        np.maximum(self.position, middle, out=self.position)
        middle += work
        middle += work
        np.minimum(self.position, middle, out=self.position)
        np.maximum(self.position, self._lower, out=self.position)
        np.minimum(self.position, self._upper, out=self.position)
