"""Ground under the feet, warmth of the motors, others on the wire, and the clock: what the robot moves in."""

from __future__ import annotations

from math import inf, isfinite

import numpy as np

from jepa_ros.robots import RobotModel
from jepa_ros.robots.limits import FootContactLimits, TemperatureLimits
from jepa_ros.safety.events import Fault, age
from jepa_ros.safety.lasting import Lasting
from jepa_ros.safety.monitors import told
from jepa_ros.types import Float64


class FootContacts:
    """Whether the feet carry anything. Says nothing before contacts were ever reported.

    Args:
        count: feet.
        limits: force, durations.
    """

    def __init__(self, count: int, limits: FootContactLimits) -> None:
        self._count, self._limits = count, limits
        self._at = -inf
        self._unloaded = False
        self._lost = Lasting()

    def take(self, t: float, forces: Float64) -> Fault | None:
        """Forces `[F]` N of time `t`, finite; returns what is wrong with them."""
        if forces.shape != (self._count,):
            told = f"foot contacts have {forces.shape} forces, not {self._count}: map feet by name"
            return Fault("foot_contacts_shape", told)
        values = forces.tolist()
        if not all(map(isfinite, values)):
            return Fault("foot_contacts_not_finite", "the foot contacts hold a value that is not a number")
        self._unloaded = max(values, default=inf) < self._limits.unloaded_n
        self._at = t
        return None

    def lost(self, now: float, judged: bool) -> Fault | None:
        """Whether no foot has carried anything for too long; `judged` while the robot should be on its feet."""
        lasts = self._lost.seconds(now, judged and self._unloaded)
        if lasts < self._limits.trip_after_s:
            return None
        return Fault("no_foot_contact", f"no foot has carried {self._limits.unloaded_n:g} N for {lasts:.2f} s")

    def stale(self, now: float) -> Fault | None:
        """Whether contacts no longer come, though they did."""
        old, limit = age(now, self._at), self._limits.timeout_s
        return Fault("foot_contacts_stale", told("foot contacts", old, limit)) if limit < old < inf else None


class Motors:
    """How warm the motors are. Says nothing before temperatures were ever reported.

    Args:
        robot: whose motors.
        limits: temperatures.

    Attributes:
        hottest: °C, −∞ before the first.
    """

    def __init__(self, robot: RobotModel, limits: TemperatureLimits) -> None:
        self._names, self._limits = robot.joint_names, limits
        self._at = -inf
        self.hottest, self._who = -inf, ""
        self._finite = np.empty(len(self._names), bool)

    def take(self, t: float, celsius: Float64) -> Fault | None:
        """Temperatures `[n]` °C of time `t`, finite; returns what is wrong with them."""
        if celsius.shape != (len(self._names),):
            told = f"motor temperatures have {celsius.shape} values, not {len(self._names)}: map joints by name"
            return Fault("temperatures_shape", told)
        if not np.isfinite(celsius, out=self._finite).all():
            return Fault("temperatures_not_finite", "the motor temperatures hold a value that is not a number")
        worst = int(celsius.argmax())
        self.hottest, self._who, self._at = float(celsius[worst]), self._names[worst], t
        return None

    def too_hot(self) -> Fault | None:
        """Whether one must be let go of at once."""
        return self._past(self._limits.damp_c)

    def hot(self) -> Fault | None:
        """Whether one is too warm to walk."""
        return self._past(self._limits.stop_c)

    def stale(self, now: float) -> Fault | None:
        """Whether temperatures no longer come, though they did."""
        old, limit = age(now, self._at), self._limits.timeout_s
        return Fault("temperatures_stale", told("motor temperatures", old, limit)) if limit < old < inf else None

    def _past(self, limit: float) -> Fault | None:
        if self.hottest < limit:
            return None
        return Fault("motor_hot", f"the motor of {self._who} is at {self.hottest:.0f} °C, the limit is {limit:.0f} °C")


class ClockWatch:
    """Whether the clock of stamps moves on as the monotonic one does.

    Args:
        threshold_s: by how much it may not from one look to the next.
    """

    def __init__(self, threshold_s: float) -> None:
        self._threshold_s = threshold_s
        self._ahead: float | None = None

    def jump(self, now: float, clock: float) -> Fault | None:
        """Look at both, finite seconds; returns the jump since the last look, if there was one."""
        before, self._ahead = self._ahead, clock - now
        if before is None or abs(self._ahead - before) <= self._threshold_s:
            return None
        return Fault("clock_jump", f"the clock jumped by {self._ahead - before:+.3f} s")


class Operator:
    """The switches in the operator's hand, and who else commands the robot.

    Args:
        deadman: whether a deadman switch is required.
        timeout_s: one last heard of longer ago counts as released.
    """

    def __init__(self, deadman: bool, timeout_s: float) -> None:
        self._required, self._timeout_s = deadman, timeout_s
        self._held, self._heard = False, -inf
        self.stop = False
        self.others = 0

    def hold(self, t: float, held: bool) -> None:
        """The deadman switch at `t`, finite seconds."""
        self._held, self._heard = held, t

    def stopped(self) -> Fault | None:
        """Whether the stop signal is on."""
        return Fault("stop_signal", "the stop signal is on") if self.stop else None

    def objection(self, now: float) -> Fault | None:
        """What forbids walking, or None."""
        if self.stop or not self._required:
            return self.stopped()
        if not self._held:
            return Fault("deadman_released", "the deadman switch is not held")
        if (old := age(now, self._heard)) > self._timeout_s:
            return Fault("deadman_released", told("deadman switch", old, self._timeout_s))
        return None

    def rival(self) -> Fault | None:
        """Whether somebody else sends commands to the same robot."""
        if self.others <= 0:
            return None
        return Fault("two_commanders", f"{self.others} more on the command topic; end all but one")
