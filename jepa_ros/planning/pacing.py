"""How long the next planner iteration will take, learned from those before it."""

from __future__ import annotations

from collections.abc import Callable

_NEWEST_SHARE = 0.3
_FORGET, _FORGET_SLOWLY = 0.7, 0.98


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
