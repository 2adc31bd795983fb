"""A control loop's clock in a lock-step replay: a stand-in for `Ticker` that a player's steps move on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from rclpy.node import Node

from jepa_ros.control import TickGrid
from jepa_ros_nodes.lockstep import LockStep
from jepa_ros_nodes.polling import PolledSubscriptions

Hear = Callable[[Collection[str] | None], None]


class SteppedTicker:
    """Has what `Ticker` has; ticks are due by the bag's clock, and none is ever missed.

    Args:
        node, inputs, published: see `LockStep`.
        rate_hz: how often.
        step: called with a function that hears inputs, the step's clock in s, and the ticks due before it.
    """

    missed = 0

    def __init__(
        self,
        node: Node,
        inputs: PolledSubscriptions,
        published: Mapping[str, int],
        rate_hz: float,
        step: Callable[[Hear, float, Iterable[float]], None],
    ) -> None:
        self._make = lambda: LockStep(node, inputs, published, self._work)
        self._grid, self._step, self._lock_step = TickGrid(rate_hz), step, None
        self.measured_hz = rate_hz

    @property
    def ticks(self) -> int:
        """So far."""
        return self._grid.ticks

    def start(self) -> None:
        """Begin to take steps."""
        self._lock_step = self._make()

    def stop(self) -> None:
        """End."""
        if self._lock_step is not None:
            self._lock_step.stop()

    def _work(self, lock_step: LockStep, clock: float) -> None:
        self._step(lock_step.hear, clock, self._grid.until(clock))
