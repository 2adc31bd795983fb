"""The plan's action held to the robot's bounds and to a rate of change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jepa_ros.errors import RobotError
from jepa_ros.motion.factory import motion_kind
from jepa_ros.motion.locomotion import ACTION_NAMES
from jepa_ros.robots import RobotModel
from jepa_ros.safety.events import Fault
from jepa_ros.types import Float64

_LONGEST_STEP_S = 0.1


class ActionLimiter:
    """Bounds from the robot; for body velocities also a slew limit.

    Stopping is not slewed: velocity zero never made the dog fall, a late one might.

    Args:
        robot: bounds.
        action_names: what the entries of an action are.
        slew: m/s² and rad/s² by action name; only body velocities need it.

    Raises:
        RobotError: no motion of the robot accepts such an action, or a slew limit is missing.
    """

    def __init__(self, robot: RobotModel, action_names: Sequence[str], slew: Mapping[str, float]) -> None:
        self._slew: Float64 | None = None
        limits = robot.velocity_bounds
        if motion_kind(robot, action_names) == "locomotion":
            if limits is None:
                raise RobotError(f"robot {robot.name}: no locomotion policy and no output that carries velocities")
            bounds = dict(zip(ACTION_NAMES, zip(*limits, strict=True), strict=True))
            missing = [name for name in action_names if name not in slew]
            if missing:
                raise RobotError(f"robot {robot.name}: safety.slew lacks {', '.join(missing)}")
            self._slew = np.array([slew[name] for name in action_names])
        else:
            bounds = {joint.name: (joint.lower, joint.upper) for joint in robot.joints}
        self._low = np.array([bounds[name][0] for name in action_names])
        self._high = np.array([bounds[name][1] for name in action_names])
        count = len(action_names)
        self._applied, self._wanted, self._work = np.zeros(count), np.zeros(count), np.zeros(count)
        self._finite = np.empty(count, bool)
        self._at: float | None = None

    def reset(self) -> None:
        """The robot stands: the next action starts from zero."""
        self._applied.fill(0.0)
        self._at = None

    def judge(self, action: Float64) -> Fault | None:
        """What is wrong with an action: another number of values, or one that is not a number."""
        if action.shape != self._applied.shape:
            return Fault("plan_shape", f"the plan's action has shape {action.shape}, not {self._applied.shape}")
        if not np.isfinite(action, out=self._finite).all():
            return Fault("plan_not_finite", "the plan holds a value that is not a number")
        return None

    def zero(self) -> Float64:
        """The action `[A]` that asks for nothing; what is applied once an action was refused. As `limit`."""
        self._applied.fill(0.0)
        return self._applied

    def limit(self, now: float, action: Float64, scale: float) -> Float64:
        """Action `[A]`, finite, times `scale` → what is applied `[A]`: a buffer that the next call writes over."""
        dt = 0.0 if self._at is None else min(max(now - self._at, 0.0), _LONGEST_STEP_S)
        self._at = now
        wanted, work = self._wanted, self._work
        np.multiply(action, scale, out=wanted)
        np.maximum(wanted, self._low, out=wanted)
        np.minimum(wanted, self._high, out=wanted)
        if scale > 0 and self._slew is not None:
            np.multiply(self._slew, dt, out=work)
            self._applied -= work
            np.maximum(wanted, self._applied, out=wanted)
            work *= 2.0
            self._applied += work
            np.minimum(wanted, self._applied, out=wanted)
        np.copyto(self._applied, wanted)
        return self._applied
