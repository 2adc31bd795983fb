"""Judges what a safety filter sends, with nothing of the filter's own code."""

from __future__ import annotations

import numpy as np

from jepa_ros.robots import RobotModel
from jepa_ros.types import JointCommand, JointState

_CLOSE = 1e-7  # differences of float64 rad over the shortest ticks are not exact


class Referee:
    """Follows one filter's commands and keeps account of what was wrong with them.

    Args:
        robot: its limits.
        walks: whether its motion is a gait, which has no limit on its rate.

    Attributes:
        outside, not_finite: sentences, one an output that was wrong.
    """

    def __init__(self, robot: RobotModel, walks: bool) -> None:
        self._robot = robot
        motions = robot.safety.motions
        self._paced = {"stance": motions.stance, "moving": None if walks else motions.direct}
        self._kp = max(gains.kp for gains in robot.gains.values())
        self._kd = max(gains.kd for gains in robot.gains.values())
        self._damp_kd = robot.gain("damp").kd
        self._tolerance = robot.safety.position_tolerance_rad
        self.joints: JointState | None = None
        self.outside: list[str] = []
        self.not_finite: list[str] = []
        self._last: tuple[float, np.ndarray, np.ndarray | None, str] | None = None

    def usable(self, joints: JointState) -> bool:
        """Whether a measurement is one that a robot could give."""
        robot, shape = self._robot, self._robot.lower.shape
        if joints.position.shape != shape or joints.velocity.shape != shape:
            return False
        if not (np.isfinite(joints.position).all() and np.isfinite(joints.velocity).all()):
            return False
        inside = (joints.position >= robot.lower - self._tolerance) & (joints.position <= robot.upper + self._tolerance)
        return bool(inside.all() and (np.abs(joints.velocity) <= 5 * robot.velocity_limits).all())

    def rest(self) -> None:
        """The robot is let go of: what comes next may begin anywhere."""
        self._last = None

    def judge(self, now: float, state: str, moving: bool, command: JointCommand | None, joints: JointState | None):
        """Judge a command of time `now`; `moving`: the motion made it, not a stance."""
        if state == "passive" or command is None:
            self._expect(command is None and state == "passive", f"{state} sends {command}")
            self._last = None
            return
        parts = (command.position, command.velocity, command.effort, command.kp, command.kd)
        if not all(part.shape == self._robot.lower.shape and np.isfinite(part).all() for part in parts):
            self.not_finite.append(f"{state}: {command}")
            return
        self._expect(((self._robot.lower <= command.position) & (command.position <= self._robot.upper)).all(), "range")
        self._expect(not command.velocity.any() and not command.effort.any(), "feed-forward")
        if not command.kp.any():
            self._expect((command.kd == self._damp_kd).all(), "damping")
            self._last = None
            return
        self._expect(state != "damp", "kp while damped")
        self._expect(((command.kp >= 0) & (command.kp <= self._kp)).all(), "kp")
        self._expect(((command.kd >= 0) & (command.kd <= self._kd)).all(), "kd")
        if joints is not None:
            torque = command.kp * (command.position - joints.position) - command.kd * joints.velocity
            self._expect((np.abs(torque) <= self._robot.effort_limits * (1 + 1e-9)).all(), "effort")
        self._judge_rate(now, "moving" if moving else "stance", command.position.copy())

    def _judge_rate(self, now: float, kind: str, position: np.ndarray) -> None:
        """Speed, acceleration and step of what is paced; a gait's are at rest between its ticks."""
        limits, last = self._paced[kind], self._last
        if limits is None or last is None:
            step_limit = self._robot.safety.motions.locomotion.target_step.limit
            if last is not None:
                self._expect(np.abs(position - last[1]).max() <= step_limit + _CLOSE, f"{kind}: step")
            # The first command after rest may be some way along already: how fast is seen with the next.
            self._last = (now, position, None if last is None else np.zeros_like(position), kind)
            return
        then, before, speed_before, kind_before = last
        step, dt = np.abs(position - before), now - then
        if dt <= 0:
            self._expect(not step.any(), f"{kind}: {step.max()} rad in no time")
            return
        speed = (position - before) / dt
        most = limits.target_acceleration.limit * dt
        slack = _CLOSE + 4e-16 * (1 + np.abs(before).max()) / dt
        self._expect(step.max() <= limits.target_step.limit + _CLOSE, f"{kind}: step {step.max()}")
        # A stance that takes over from something faster brakes as fast as it may.
        known = speed if speed_before is None else speed_before
        fastest = np.maximum(limits.target_speed.limit, np.abs(known) - most)
        over = np.abs(speed) - fastest
        self._expect((over <= slack).all(), f"{kind} after {kind_before}: {over.max()} rad/s too fast, dt {dt}")
        change = np.abs(speed - known) - most
        self._expect(
            (change <= slack).all(), f"{kind} after {kind_before}: speed changed by {change.max()} more, dt {dt}"
        )
        self._last = (now, position, speed, kind)

    def _expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.outside.append(what)
