"""Which action of which plan holds now: a plan is followed from when it takes effect until its validity ends."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from math import isfinite

from jepa_ros.errors import RobotError
from jepa_ros.types import Float64, PlanChunk

SHORTEST_STEP_S, LONGEST_STEP_S = 0.01, 2.0
_KEPT = 16


class PlanFollower:
    """Keeps the plan in force and those to come.

    Args:
        names: components of an action, in the order the motion takes them; found in plans by name.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._chunks: deque[PlanChunk] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()

    def ordered(self, chunk: PlanChunk) -> PlanChunk:
        """The same plan with its components in the motion's order.

        Values that are not numbers pass: that is judged by whoever follows it, and by the safety filter once more.

        Raises:
            RobotError: names that differ, a size that does not fit, or a time that cannot be.
        """
        if sorted(chunk.names) != sorted(self._names):
            raise RobotError(f"it has the actions {', '.join(chunk.names)}, this robot takes {', '.join(self._names)}")
        if chunk.values.ndim != 2 or chunk.values.shape[1] != len(self._names) or not len(chunk.values):
            raise RobotError(f"its values are {list(chunk.values.shape)}, not [steps, {len(self._names)}]")
        if not SHORTEST_STEP_S <= chunk.step <= LONGEST_STEP_S:
            raise RobotError(f"its step is {chunk.step} s, not {SHORTEST_STEP_S}…{LONGEST_STEP_S} s")
        if not all(isfinite(time) for time in (chunk.start, chunk.observed, chunk.valid_until)):
            raise RobotError("one of its times is not a number")
        order = [chunk.names.index(name) for name in self._names]
        return PlanChunk(
            self._names,
            chunk.start,
            chunk.step,
            chunk.values[:, order],
            chunk.observed,
            chunk.valid_until,
            chunk.goal,
        )

    def take(self, chunk: PlanChunk) -> None:
        """Take in a plan that `ordered` gave; the first one of another goal ends all of the goal before.

        A plan takes the place of those that were to begin with it or later.
        """
        with self._lock:
            if self._chunks and self._chunks[-1].goal != chunk.goal:
                self._chunks.clear()
            while self._chunks and self._chunks[-1].start >= chunk.start:
                self._chunks.pop()
            self._chunks.append(chunk)

    def forget(self) -> None:
        """Follow no plan that came so far."""
        with self._lock:
            self._chunks.clear()

    def action(self, now: float) -> Float64 | None:
        """The action `[A]` that holds at `now`, s of the plans' clock; None while no plan is in force."""
        with self._lock:
            for chunk in reversed(self._chunks):
                if chunk.start <= now:
                    return chunk.at(now) if now <= chunk.valid_until else None
        return None
