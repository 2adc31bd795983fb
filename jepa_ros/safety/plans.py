"""Which plan may be followed: a fresh one, of a goal that has not ended."""

from __future__ import annotations

from collections import deque
from math import inf

from jepa_ros.safety.events import Fault, age

_REMEMBERED = 1024


class PlanGate:
    """Remembers until when the newest plan holds, and which goals are over.

    A goal is over once its walk was stopped, for whatever reason, or another goal took its place. Its later plans are
    not followed: a planner that comes back does not set the robot moving again by itself.

    Args:
        validity_max_s: no plan is believed for longer than this after it came.
    """

    def __init__(self, validity_max_s: float) -> None:
        self._validity_max_s = validity_max_s
        self._goal: bytes | None = None
        self._over: deque[bytes] = deque(maxlen=_REMEMBERED)
        self._came = self._valid_until = self._made = -inf

    def late(self, t: float, valid_until: float, made: float) -> Fault | None:
        """Why a plan of the past is refused: it is over already, or older than the one that is followed.

        It says nothing about the plan that is followed, which goes on until its own end.
        """
        if valid_until < t:
            return Fault("plan_expired", f"a plan came whose validity had ended {t - valid_until:.3f} s before")
        if self._goal is not None and made < self._made <= t:
            return Fault("plan_out_of_order", f"a plan came {self._made - made:.3f} s older than the one followed")
        return None

    def over(self, goal: bytes) -> bool:
        """Whether a goal is over."""
        return goal in self._over

    def on_plan(self, t: float, valid_until: float, goal: bytes, made: float) -> None:
        """A plan came at `t` that holds until `valid_until`, of an image of time `made`; finite monotonic seconds."""
        if self._goal is not None and goal != self._goal:
            self._remember(self._goal)
        self._goal, self._came, self._made = goal, t, made
        self._valid_until = min(valid_until, t + self._validity_max_s)

    def end_current(self) -> bytes | None:
        """The goal that is being followed is over; returns which it was."""
        goal = self._goal
        if goal is not None:
            self.end(goal)
        return goal

    def end(self, goal: bytes) -> bool:
        """A goal is over; returns whether it was the one being followed."""
        self._remember(goal)
        if goal != self._goal:
            return False
        self.forget()
        return True

    def _remember(self, goal: bytes) -> None:
        if goal not in self._over:
            self._over.append(goal)

    def forget(self) -> None:
        """Follow no plan that came so far."""
        self._goal, self._valid_until, self._made = None, -inf, -inf

    def forget_ended(self) -> None:
        """An operator permits walking anew, also for goals that were stopped."""
        self._over.clear()

    def age(self, now: float) -> float:
        """Seconds since the newest plan came; infinite if none did."""
        return age(now, self._came)

    def stale(self, now: float) -> Fault | None:
        """Why there is no plan to follow, or None. A plan from the future (past clock jitter) is none either."""
        if self._goal is None:
            return Fault("plan_absent", "no plan of a goal that is not over")
        if now > self._valid_until:
            return Fault("plan_stale", f"plan stale: its validity ended {now - self._valid_until:.3f} s ago")
        if self._came > now + self._validity_max_s:
            return Fault("plan_stale", f"plan stale: it is stamped {self._came - now:.3f} s in the future")
        return None
