"""Damping when nobody commands any more: a robot keeps its last command for ever."""

from __future__ import annotations

from math import isfinite

import numpy as np

from jepa_ros.robots import RobotModel
from jepa_ros.types import Float64, JointCommand


def damping_command(robot: RobotModel, position: Float64 | None = None) -> JointCommand:
    """Kp 0, kd of the robot's `damp` gains: it sinks slowly.

    Args:
        robot: joints and gains.
        position: `[n]` rad, finite; means nothing at kp 0, but is what a drawing of commands shows. Sitting if None.
    """
    zero = np.zeros(len(robot.joint_names))
    shown = robot.stance("sit") if position is None else np.clip(position, robot.lower, robot.upper)
    return JointCommand(shown, zero, zero.copy(), zero.copy(), np.full_like(zero, robot.gain("damp").kd))


class CommandWatchdog:
    """Silent while commands flow; damping from `silence_s` after the last one until they flow again.

    Before the first command it is silent too, and once commands were released: the robot is then nobody's. A watchdog
    that stood still itself knows nothing of that time, and what came meanwhile may be lost: it counts silence from when
    it looks again, once after each command, so that looks that are always late do not keep it silent.

    Args:
        robot: whom to damp.
        silence_s: how long commands may be absent.
    """

    def __init__(self, robot: RobotModel, silence_s: float = 0.05) -> None:
        self._damping = damping_command(robot)
        self._silence_s = silence_s
        self._last: float | None = None
        self._looked: float | None = None
        self._spared = False
        self.damping = False
        self.trips = 0

    @property
    def armed(self) -> bool:
        """Whether somebody has commanded the robot and not released it."""
        return self._last is not None

    def on_command(self, t: float) -> None:
        """A command of joint_command (not of this watchdog) came, at `t` monotonic seconds on receipt."""
        if isfinite(t) and (self._last is None or t > self._last):
            self._last = t
            self._spared = False

    def release(self) -> None:
        """joint_command says that it commands no more: silent until the next command."""
        self._last = self._looked = None
        self.damping = self._spared = False

    def update(self, now: float) -> JointCommand | None:
        """What to publish now: None, or damping. A command from the future does not keep it silent."""
        if self._last is None:
            return None
        blind = self._looked is not None and now - self._looked > self._silence_s
        if blind and not self.damping and not self._spared:
            self._last, self._spared = max(self._last, now), True
        self._looked = now
        silent = not abs(now - self._last) <= self._silence_s
        self.trips += silent and not self.damping
        self.damping = silent
        return self._damping if silent else None
