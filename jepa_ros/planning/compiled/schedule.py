"""Which iterations of a plan one call of a plan graph runs, and how long each kind of call takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.pacing import IterationPace

# A plan that may end early gives the time back only between calls.
_MOST_HURRIED = 5
# Opening a graph takes longer than its iterations grow: the shipped bundle's 0.1 s for 1, 1.7 s for 10, 7.8 s for 30.
_MOST = 10


@dataclass(frozen=True)
class Call:
    """One call: iterations `first` to `first + count − 1` of a plan, all of one kind.

    `kind`: `sampling`; `descent`; `scoring`, the last iteration of a descent, which takes no step.
    """

    kind: Literal["sampling", "descent", "scoring"]
    first: int
    count: int


class Schedule:
    """Cuts a plan's iterations into calls.

    `PlannerConfig.iterations_per_call` says how many are in one. Where it is 0: one on the CPU, where a call costs
    nothing beside what it computes; on an accelerator, as many as fit, in calls of about equal length.

    Args:
        name: of the planner, see `GraphPlanner`.
        config: its settings.
        accelerated: whether plans run on an accelerator.
    """

    def __init__(self, name: str, config: PlannerConfig, accelerated: bool) -> None:
        self._config, self._accelerated = config, accelerated
        self.sampled = 0 if name == "gradient" else config.iterations
        """Iterations of sampling, which come first."""
        self.iterations = config.iterations + (config.descents if name == "hybrid" else 0)
        """Of a plan that nothing ends early."""
        self._paces: dict[tuple[str, int], IterationPace] = {}

    def call(self, iteration: int, deadline: bool) -> Call:
        """The call that begins with this iteration.

        Args:
            iteration: the first that no call has run yet.
            deadline: whether the plan has one.
        """
        if iteration < self.sampled:
            return self._within("sampling", 0, iteration, self.sampled, deadline)
        if iteration < self.iterations - 1:
            return self._within("descent", self.sampled, iteration, self.iterations - 1, deadline)
        return Call("scoring", iteration, 1)

    def calls(self, deadline: bool) -> Iterator[Call]:
        """All calls of a plan that nothing ends early."""
        iteration = 0
        while iteration < self.iterations:
            call = self.call(iteration, deadline)
            yield call
            iteration += call.count

    def pace(self, call: Call) -> IterationPace:
        """What predicts how long such a call takes; the first of its length is judged by those of other lengths."""
        key = call.kind, call.count
        if key not in self._paces:
            pace = IterationPace()
            known = {n: p.predicted for (kind, n), p in self._paces.items() if kind == call.kind and p.predicted}
            if known:
                nearest = min(known, key=lambda n: abs(n - call.count))
                pace.predicted = known[nearest] * max(1.0, call.count / nearest)
            self._paces[key] = pace
        return self._paces[key]

    def _within(
        self, kind: Literal["sampling", "descent"], begin: int, iteration: int, end: int, deadline: bool
    ) -> Call:
        most = self._config.iterations_per_call
        if most == 0 and self._accelerated:
            most = _MOST_HURRIED if deadline or self._config.convergence else _MOST
            calls = -(-(end - begin) // most)
            most = -(-(end - begin) // calls)
        return Call(kind, iteration, min(max(most, 1), end - iteration))
