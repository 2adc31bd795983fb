"""How long the next planner iteration will take, learned from those before it."""

from __future__ import annotations

from collections.abc import Callable

_NEWEST_SHARE = 0.3
_FORGET, _FORGET_SLOWLY = 0.7, 0.98
_SLOWEST, _FASTEST = 0.02, 50.0  # what a simulator or a replay is asked for, and some room


class ClockRate:
    """How many seconds of a clock go by in one of this machine: another simulator's or replay's time may be slow or
    fast. Learned from one frame to the next, and 1 until then."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None
        self.rate = 1.0

    def observe(self, clock_s: float, wall_s: float) -> None:
        """Learn from both clocks, read at the same moment. A clock that stands, or went back, says nothing."""
        last, self._last = self._last, (clock_s, wall_s)
        if last is not None and clock_s > last[0] and wall_s > last[1]:
            self.rate = min(max((clock_s - last[0]) / (wall_s - last[1]), _SLOWEST), _FASTEST)


class IterationPace:
    """Decides whether one more iteration fits into the time left.

    The prediction is the larger of the last duration and their moving average: slow to trust a fast iteration, quick to
    believe a slow one. A refusal lets the prediction decay, or one stall would forbid planning for ever.
    """

    def __init__(self) -> None:
        self.predicted = 0.0
        """Seconds the next iteration is expected to take; 0 until the first was seen."""
        self._average: float | None = None

    def allows(self, seconds_left: Callable[[], float] | None) -> bool:
        """Whether an iteration started now is predicted to end in time; always, if there is no deadline."""
        if seconds_left is None:
            return True
        left = seconds_left()
        return left > 0 and self.predicted <= left

    def observe(self, seconds: float) -> None:
        """Learn from an iteration that took `seconds`."""
        self._average = seconds if self._average is None else self._average + _NEWEST_SHARE * (seconds - self._average)
        self.predicted = max(seconds, self._average)

    def relax(self, slowly: bool = False) -> None:
        """Forget a part of the prediction, after a plan that had no time for such an iteration.

        Args:
            slowly: The plan had iterations of another kind. It is no worse than it was, and one that comes too late by
                trying again is.
        """
        self.predicted *= _FORGET_SLOWLY if slowly else _FORGET
        self._average = self.predicted
