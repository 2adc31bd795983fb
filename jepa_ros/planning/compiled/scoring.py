"""Parts that every plan graph has: bounds, energies and violations, ranking, and the best scored so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jepa_ros.planning.compiled.tensors import GraphBuilder, Value
from jepa_ros.planning.compiled.terms import Imagined, Parameters, Term

# In place of infinity, of which differences and products are not numbers.
WORST = float(np.finfo(np.float32).max)
_NORM_ROUNDING = 1 - 1e-6


@dataclass(frozen=True)
class Scored:
    """Candidates judged: `[B]` each. One with an energy, a violation or a latent that is not finite has `WORST`.

    Attributes:
        energy: lower is better. violation: None where the plan has no constraints.
        finite: bool.
    """

    energy: Value
    violation: Value | None
    finite: Value


@dataclass(frozen=True)
class Bounds:
    """`ActionBounds` inside a graph.

    Attributes:
        low, high, rest: `[A]`.
        norm_limit: of each single action, or None.
        block: single actions in one of a model step.
    """

    low: Value
    high: Value
    rest: Value
    norm_limit: float | None
    block: int

    def apply(self, graph: GraphBuilder, actions: Value) -> Value:
        """The nearest action in the box; where a norm is limited, moved along the line to `rest` until it fits."""
        clipped = actions.maximum(self.low).minimum(self.high)
        if self.norm_limit is None:
            return clipped
        batch, horizon, size = actions.shape
        single = clipped.reshape(batch, horizon, self.block, size // self.block)
        rest = self.rest.reshape(1, 1, self.block, size // self.block)
        away = single - rest
        # |rest + s away| = limit, solved for s; rounded inwards by a few float32 steps.
        squared, cross = (away * away).sum(3, keep=True), (away * rest).sum(3, keep=True)
        room = graph.constant((self.norm_limit * _NORM_ROUNDING) ** 2) - (rest * rest).sum(3, keep=True)
        scale = ((cross * cross + squared * room).sqrt() - cross) / squared.maximum(1e-12)
        scale = (squared > 1e-12).where(scale.minimum(1.0), 1.0)
        # Rounding may put a sum past a side of the box that it was on.
        return (rest + scale * away).reshape(batch, horizon, size).maximum(self.low).minimum(self.high)


def score(
    imagined: Imagined,
    energy: Sequence[tuple[Term, Parameters]],
    constraints: Sequence[Sequence[tuple[Term, Parameters]]],
) -> Scored:
    """Energy: the sum of terms; violation: of each constraint, the sum of its terms where that is above 0."""
    total = _sum([term.energy(imagined, given) for term, given in energy])
    # One sum a candidate is finite only if each of its latents is.
    finite = _finite(total) & _finite(imagined.states.sum(1, 2))
    if not constraints:
        return Scored(finite.where(total, WORST), None, finite)
    broken = _sum([_sum([t.energy(imagined, given) for t, given in terms]).maximum(0.0) for terms in constraints])
    finite = finite & _finite(broken)
    return Scored(finite.where(total, WORST), finite.where(broken, WORST), finite)


def ranked(graph: GraphBuilder, scored: Scored, count: int) -> Value:
    """Indices of the `count` best by (violation, energy), best first; of equal ones the earlier comes first."""
    if scored.violation is None:
        return scored.energy.smallest(count)[1]
    # Counting who comes before whom needs no stable sort, which not every provider has.
    batch = scored.energy.shape[0]
    order = graph.constant(np.arange(batch, dtype=np.float32))
    before = _before(*(_pairs(value, batch) for value in (scored.violation, scored.energy, order)))
    return before.to_float().sum(1).smallest(count)[1]


@dataclass(frozen=True)
class Best:
    """The best scored so far.

    Attributes:
        actions: `[H, A]`; states: `[H, D]`.
        energy, violation: `[1]`, `WORST` before there is one.
    """

    actions: Value
    states: Value
    energy: Value
    violation: Value

    def challenged(self, graph: GraphBuilder, scored: Scored, imagined: Imagined, first: Value) -> Best:
        """The best of this and the candidate at index `first` `[1]`."""
        energy = scored.energy.take(first)
        violation = scored.violation.take(first) if scored.violation is not None else graph.constant([0.0])
        better = energy < self.energy
        if scored.violation is not None:
            better = (violation < self.violation) | (violation.equal(self.violation) & better)
        here = better.reshape(1, 1)
        actions, states = (value.take(first).reshape(*value.shape[1:]) for value in (imagined.actions, imagined.states))
        return Best(
            here.where(actions, self.actions),
            here.where(states, self.states),
            better.where(energy, self.energy),
            better.where(violation, self.violation),
        )


def _before(violation: tuple[Value, Value], energy: tuple[Value, Value], order: tuple[Value, Value]) -> Value:
    """Whether the second of each pair comes before the first, `[B, B]`."""
    found = order[1] < order[0]
    for mine, other in (energy, violation):
        found = (other < mine) | (other.equal(mine) & found)
    return found


def _pairs(value: Value, batch: int) -> tuple[Value, Value]:
    return value.reshape(batch, 1), value.reshape(1, batch)


def _finite(value: Value) -> Value:
    """Comparing with a number that is none is false."""
    return value.abs() < WORST


def _sum(values: Sequence[Value]) -> Value:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total
