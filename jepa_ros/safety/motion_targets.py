"""The motion's targets: how they come, how old they are, and what no motion gives."""

from __future__ import annotations

import numpy as np

from jepa_ros.robots.limits import GaitLimits
from jepa_ros.safety.events import Fault
from jepa_ros.safety.lasting import Lasting
from jepa_ros.safety.switches import Switches
from jepa_ros.types import Float64


class MotionTargets:
    """The motion's newest targets, held between its ticks.

    Args:
        count: joints.
        silent_after_s: how long the motion may give none.

    Attributes:
        newest: `[n]` rad. A buffer.
    """

    def __init__(self, count: int, silent_after_s: float) -> None:
        self._silent_after_s = silent_after_s
        self.newest = np.zeros(count)
        self._came = 0.0
        self._finite = np.empty(count, bool)

    def begin(self, now: float, position: Float64) -> None:
        """The motion starts now, from targets `[n]` rad."""
        np.copyto(self.newest, position)
        self._came = now

    def take(self, now: float, raw: Float64 | None) -> Fault | None:
        """New targets `[n]` rad, or None to hold the last; returns what is wrong with them."""
        if raw is None:
            silent = now - self._came
            if silent > self._silent_after_s:
                return Fault("policy_silent", f"no joint targets for {silent:.3f} s")
            return None
        if raw.shape != self.newest.shape:
            return Fault(
                "policy_shape", f"the motion gave {raw.shape} targets, the robot has {len(self.newest)} joints"
            )
        if not np.isfinite(raw, out=self._finite).all():
            return Fault("policy_not_finite", "the motion gave a joint target that is not a number")
        np.copyto(self.newest, raw)
        self._came = now
        return None


class GaitWatch:
    """Speed and acceleration of a gait's targets, from one of the policy's ticks to the next.

    They are judged and never changed. Taken at the policy's own period where the loop's jitter makes ticks look closer.

    Args:
        count: joints.
        period_s: of the policy.
        limits: of the gait.
        switches: which of them are on.
    """

    def __init__(self, count: int, period_s: float, limits: GaitLimits, switches: Switches) -> None:
        self._period_s = period_s
        self._checks = [
            (name, unit, limit, Lasting())
            for name, unit, limit in (
                ("target_speed", "rad/s", limits.target_speed),
                ("target_acceleration", "rad/s²", limits.target_acceleration),
            )
            if switches.on(name, "locomotion")
        ]
        self._last, self._speed, self._work = np.zeros(count), np.zeros(count), np.zeros(count)
        self._at, self._seen = 0.0, 0
        self.peaks = {"target_speed": 0.0, "target_acceleration": 0.0}
        """The largest of each at the last tick."""

    def begin(self) -> None:
        """The gait starts: its first targets come from nowhere."""
        self._seen = 0

    def judge(self, now: float, targets: Float64) -> Fault | None:
        """Judge new targets `[n]` rad, in range."""
        dt = max(now - self._at, self._period_s)
        work, peaks = self._work, self.peaks
        np.subtract(targets, self._last, out=work)
        work /= dt
        self._speed -= work
        np.abs(self._speed, out=self._speed)
        peaks["target_acceleration"] = float(self._speed.max()) / dt if self._seen > 1 else 0.0
        np.copyto(self._speed, work)
        np.abs(work, out=work)
        peaks["target_speed"] = float(work.max()) if self._seen else 0.0
        np.copyto(self._last, targets)
        self._at, self._seen = now, self._seen + 1
        for name, unit, limit, lasting in self._checks:
            if lasting.seconds(now, peaks[name] > limit.limit) >= limit.trip_after_s:
                return Fault(name, f"targets move at {peaks[name]:.0f} {unit}, the limit is {limit.limit:.0f}")
        return None
