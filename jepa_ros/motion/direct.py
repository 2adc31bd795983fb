"""Joint targets straight from the model's actions, interpolated between model steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jepa_ros.errors import RobotError
from jepa_ros.robots import RobotModel
from jepa_ros.types import Float64, Imu, JointState

ACTION_UNIT = "rad"


class DirectMotion:
    """Each action is a set of joint angles to be at one model step later.

    Between two actions the targets follow a cubic that starts from the position and speed the last one had reached and
    comes to rest at the new one, so neither jumps. Joints that the action does not name stay where `reset` found them.

    Args:
        robot: whose joints they are.
        action_names: joints, by name, in the action's order.
        step_s: the model step, which is how long the way to one action takes.
        rate_hz: how often `targets` is called.

    Raises:
        RobotError: a name is not a joint of this robot or stands twice, or a time is not positive.
    """

    def __init__(self, robot: RobotModel, action_names: Sequence[str], step_s: float, rate_hz: float = 50.0) -> None:
        unknown = [name for name in action_names if name not in robot.joint_names]
        if unknown:
            raise RobotError(
                f"robot {robot.name}: has no joint {', '.join(unknown)}; its joints are {', '.join(robot.joint_names)}"
            )
        if len(set(action_names)) != len(action_names):
            raise RobotError(f"robot {robot.name}: an action names a joint twice")
        if not (step_s > 0 and rate_hz > 0):
            raise RobotError(f"direct motion: step {step_s} s and rate {rate_hz} Hz must be above zero")
        self.action_names = tuple(action_names)
        self.rate_hz = rate_hz
        self._column = [robot.joint_names.index(name) for name in action_names]
        self._step_s = step_s
        self._rest = robot.stance("stand")
        self._set_out(self._rest, np.zeros_like(self._rest), self._rest)

    def run_at(self, rate_hz: float) -> None:
        """`targets` is called so often from now on: the cubic is sampled at the rate of the commands."""
        self.rate_hz = rate_hz

    def reset(self, joint_state: JointState) -> None:
        """Start from the measured joints, at rest."""
        self._rest = joint_state.position.copy()
        self._set_out(self._rest, np.zeros_like(self._rest), self._rest)

    def targets(self, action: Float64, joint_state: JointState, imu: Imu) -> Float64:
        """The targets one tick (1 / rate_hz) further on the way to `action`.

        Args:
            action: `[A]` rad, in the order of `action_names`; a new one begins a new way.
            joint_state: not used; the way is planned on targets, so that a lagging joint does not slow it.
            imu: not used.

        Returns:
            `[n]` rad, robot order, not yet made safe.
        """
        goal = self._rest.copy()
        goal[self._column] = action
        if not np.array_equal(goal, self._goal, equal_nan=True):
            self._set_out(*self._now(), goal)
        self._elapsed += 1.0 / self.rate_hz
        return self._now()[0]

    def _set_out(self, start: Float64, speed: Float64, goal: Float64) -> None:
        self._start, self._speed, self._goal = start, speed, goal
        self._elapsed = 0.0

    def _now(self) -> tuple[Float64, Float64]:
        """Position `[n]` rad and speed `[n]` rad/s on the cubic Hermite curve that ends at rest."""
        length = self._step_s
        s = min(self._elapsed / length, 1.0)
        way = self._goal - self._start
        position = self._start + (3 - 2 * s) * s * s * way + s * (1 - s) ** 2 * length * self._speed
        speed = 6 * s * (1 - s) * way / length + (1 - s) * (1 - 3 * s) * self._speed
        return position, speed
