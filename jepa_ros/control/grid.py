"""Ticks at a fixed rate by a clock that somebody else moves: a bag's."""

from __future__ import annotations

from collections.abc import Iterator


class TickGrid:
    """Times a period apart, from the first moment of the clock on.

    Args:
        rate_hz: how often.

    Attributes:
        ticks: so far.
    """

    def __init__(self, rate_hz: float) -> None:
        self._period = 1.0 / rate_hz
        self._begin: float | None = None
        self.ticks = 0

    def until(self, clock: float) -> Iterator[float]:
        """Every tick that is due before `clock` s and was not given yet."""
        if self._begin is None:
            self._begin = clock
        while (due := self._begin + self.ticks * self._period) < clock:
            self.ticks += 1
            yield due
