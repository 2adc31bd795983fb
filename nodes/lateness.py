"""Whether what a control tick decided is of the past by the time that it could be sent."""

from __future__ import annotations

from collections.abc import Callable
from math import inf


class Lateness:
    """Watches one tick after another.

    A decision may be held up between its making and its sending. And after the whole process stood still, the first
    tick judges by what was measured before: the middleware's threads, which hand over what has come since, stood still
    as well and may wake later.

    Args:
        limit_s: of a decision's age, and of a measurement's after a standstill as long.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit, self._began, self._behind = limit_s, inf, False

    def begin(self, now: float, measured_ago: Callable[[float], float]) -> None:
        """A tick begins at monotonic `now` s; `measured_ago(now)` is how old the newest measurement is, s."""
        stood_still, self._began = now - self._began > self._limit, now
        self._behind = stood_still and measured_ago(now) > self._limit

    def is_late(self, at: float) -> bool:
        """Whether it is too late at monotonic `at` s to send what this tick decided."""
        return self._behind or at - self._began > self._limit
