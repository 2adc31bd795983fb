"""Which action of which plan holds now: a new plan takes over when it takes effect, not when it comes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jepa_ros_msgs.msg import ActionChunk

from jepa_ros.errors import RobotError
from jepa_ros.types import Float64
from jepa_ros_nodes.conversions import seconds


@dataclass(frozen=True)
class _Chunk:
    """A plan: `values` `[steps, A]` in SI units, the first from `start` s on, each for `step` s."""

    start: float
    step: float
    values: Float64

    def at(self, now: float) -> Float64:
        index = int((now - self.start) / self.step)
        return self.values[min(max(index, 0), len(self.values) - 1)]


class PlanFollower:
    """Keeps the plan in force and the one to come.

    Args:
        names: components of an action, in the order the motion takes them; found in messages by name.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._now: _Chunk | None = None
        self._next: _Chunk | None = None
        self._goal = b""
        self._lock = threading.Lock()

    def take(self, message: ActionChunk) -> None:
        """Take in a plan.

        Raises:
            RobotError: names that differ, a size that does not fit, a step that is not above zero.
        """
        count, steps = len(message.names), int(message.steps)
        if sorted(message.names) != sorted(self._names):
            raise RobotError(
                f"it has the actions {', '.join(message.names)}, this robot takes {', '.join(self._names)}"
            )
        if len(message.values) != count * steps or not message.step > 0:
            raise RobotError(
                f"{len(message.values)} values do not make {steps} steps of {count} actions, {message.step} s each"
            )
        order = [list(message.names).index(name) for name in self._names]
        values = np.asarray(message.values, dtype=np.float64).reshape(steps, count)[:, order]
        chunk, goal = _Chunk(seconds(message.header.stamp), message.step, values), bytes(message.goal_id)
        with self._lock:
            if goal != self._goal:
                # The first plan of a goal takes effect a step from now; until then nothing of the goal before is
                # carried out.
                self._goal, self._now = goal, None
            elif self._next is not None and self._next.start <= chunk.start:
                self._now = self._next
            self._next = chunk

    def action(self, now: float) -> Float64:
        """The action `[A]` that holds at `now`, s of the plan's clock; zero before the first plan takes effect."""
        with self._lock:
            if self._next is not None and now >= self._next.start:
                self._now, self._next = self._next, None
            return np.zeros(len(self._names)) if self._now is None else self._now.at(now)
