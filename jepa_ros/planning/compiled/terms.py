"""Cost terms and constraints as parts of a plan graph.

A term has a *structure*, which a plan graph is compiled for, and *parameters*, which are inputs of it: a goal, a limit
or a weight changes without compiling again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from jepa_ros.bundle.manifest import CostTerm
from jepa_ros.bundle.planning_spec import Distance
from jepa_ros.bundle.token_mask import chosen_tokens, tensor_axes
from jepa_ros.planning.compiled.model import GraphModel
from jepa_ros.planning.compiled.tensors import GraphBuilder, Value
from jepa_ros.types import Float32

HEAD = "head:"

Parameters: TypeAlias = Mapping[str, Value]


@dataclass
class Imagined:
    """What terms judge: states `[B, H, D]` that actions `[B, H, A]` are predicted to lead to."""

    graph: GraphBuilder
    model: GraphModel
    states: Value
    actions: Value


@dataclass
class Gradient:
    """Sums of what terms say by how much their energy rises: with the states `[B, H, D]`, and with the actions
    `[B, H, A]`. None where nothing was said."""

    by_states: Value | None = None
    by_actions: Value | None = None

    def add_states(self, value: Value) -> None:
        self.by_states = value if self.by_states is None else self.by_states + value

    def add_actions(self, value: Value) -> None:
        self.by_actions = value if self.by_actions is None else self.by_actions + value


class Term(ABC):
    """One term of the energy, or one constraint. Its attributes that are not parameters make the structure."""

    @property
    @abstractmethod
    def structure(self) -> str:
        """What a graph with this term is compiled for, beside the term's own code."""

    @property
    def parts(self) -> tuple[Term, ...]:
        """Terms that this one is made of."""
        return ()

    @abstractmethod
    def parameters(self) -> dict[str, Float32]:
        """Values of the inputs that the term has."""

    @abstractmethod
    def energy(self, imagined: Imagined, parameters: Parameters) -> Value:
        """`[B]`."""

    @abstractmethod
    def descend(self, imagined: Imagined, parameters: Parameters, into: Gradient) -> None:
        """Add the energy's gradient."""


class GoalTerm(Term):
    """`GoalObjective`: weighted distances from a goal's state, parameters `goal` `[1, D]` and `weights`, one a term.

    Args:
        terms: the manifest's.
        goal: `[D]`.
    """

    def __init__(self, terms: tuple[CostTerm, ...], goal: Float32) -> None:
        self._terms, self._goal = terms, goal
        # Terms that differ in steps and weight alone share one distance.
        self._kinds = list(dict.fromkeys(term.distance for term in terms))

    @property
    def structure(self) -> str:
        # With each term's place: by it the graph finds the term's weight.
        said = [(*kind, [(i, t.steps, t.discount) for i, t in self._of(kind)]) for kind in self._kinds]
        return f"goal {said}"

    def parameters(self) -> dict[str, Float32]:
        weights = np.array([term.weight for term in self._terms], np.float32)
        return {"goal": self._goal.reshape(1, -1), "weights": weights}

    def energy(self, imagined: Imagined, parameters: Parameters) -> Value:
        horizon = imagined.states.shape[1]
        energy: Value | None = None
        for kind in self._kinds:
            begin = self._begin(kind, horizon)
            distance = self._distance(kind, imagined, parameters["goal"], begin)
            share = (distance * self._steps(kind, imagined.graph, parameters["weights"], begin, horizon)).sum(1)
            energy = share if energy is None else energy + share
        assert energy is not None  # noqa: S101 (an objective has at least one term)
        return energy

    def descend(self, imagined: Imagined, parameters: Parameters, into: Gradient) -> None:
        graph, (batch, horizon, size) = imagined.graph, imagined.states.shape
        for kind in self._kinds:
            begin = self._begin(kind, horizon)
            steps = self._steps(kind, graph, parameters["weights"], begin, horizon)
            slope = self._slope(kind, imagined, parameters["goal"], begin, steps)
            by_part = self._spread(kind, imagined, slope)
            place = imagined.model.layout.place(self._judged(kind, imagined))
            before = [graph.zeros(batch, horizon - begin, place.start)] if place.start else []
            after = [graph.zeros(batch, horizon - begin, size - place.stop)] if size > place.stop else []
            whole = graph.concatenate([*before, by_part, *after], 2)
            early = [graph.zeros(batch, begin, size)] if begin else []
            into.add_states(graph.concatenate([*early, whole], 1))

    def _of(self, kind: Distance) -> list[tuple[int, CostTerm]]:
        return [(i, t) for i, t in enumerate(self._terms) if t.distance == kind]

    def _begin(self, kind: Distance, horizon: int) -> int:
        """The first step whose distance is asked for."""
        return horizon - 1 if all(term.steps == "last" for _, term in self._of(kind)) else 0

    def _steps(self, kind: Distance, graph: GraphBuilder, weights: Value, begin: int, horizon: int) -> Value:
        """How much each step's distance counts, `[1, H − begin]`."""
        total: Value | None = None
        for i, term in self._of(kind):
            share = weights.row(0, i).reshape(1) * graph.constant(step_shares(term, horizon)[begin:])
            total = share if total is None else total + share
        assert total is not None  # noqa: S101 (a kind is that of a term)
        return total.reshape(1, horizon - begin)

    def _judged(self, kind: Distance, imagined: Imagined) -> str:
        """The state tensor that a distance is of."""
        return imagined.model.layout.latent.name if kind.source.startswith(HEAD) else kind.source

    def _parts(self, kind: Distance, imagined: Imagined, goal: Value, begin: int) -> tuple[Value, Value]:
        """The tensor's columns that count: `[B, H − begin, size]`, and the goal's `[1, 1, size]`."""
        place = imagined.model.layout.place(kind.source)
        states = imagined.states.part(1, begin, imagined.states.shape[1]).part(2, place.start, place.stop)
        wanted = goal.part(1, place.start, place.stop).reshape(1, 1, place.stop - place.start)
        return self._counted(kind, imagined, states), self._counted(kind, imagined, wanted)

    def _counted(self, kind: Distance, imagined: Imagined, columns: Value) -> Value:
        """Of a tensor's columns `[…, size]` those of the tokens that count."""
        if kind.tokens is None:
            return columns
        tensor = imagined.model.layout.tensor(kind.source)
        shape, axis = tensor_axes(tensor)
        # Whole tokens are copied: element by element takes many times as long.
        rows = columns.reshape(*columns.shape[:2], *shape).take(chosen_tokens(kind.tokens, tensor), axis=2 + axis)
        return rows.reshape(*columns.shape[:2], rows.shape[2] * rows.shape[3])

    def _spread(self, kind: Distance, imagined: Imagined, columns: Value) -> Value:
        """The converse: zeros where tokens do not count."""
        if kind.tokens is None:
            return columns
        tensor = imagined.model.layout.tensor(kind.source)
        shape, axis = tensor_axes(tensor)
        chosen = chosen_tokens(kind.tokens, tensor)
        place_of = {token: place for place, token in enumerate(chosen)}
        sizes = [*columns.shape[:2], *shape]
        sizes[2 + axis] = len(chosen)
        rows = columns.reshape(*sizes)
        sizes[2 + axis] = 1
        padded = imagined.graph.concatenate([rows, imagined.graph.zeros(*sizes)], 2 + axis)
        whole = padded.take([place_of.get(token, len(chosen)) for token in range(shape[axis])], axis=2 + axis)
        return whole.reshape(*columns.shape[:2], shape[0] * shape[1])

    def _flat(self, imagined: Imagined, begin: int) -> Value:
        batch, horizon, size = imagined.states.shape
        return imagined.states.part(1, begin, horizon).reshape(batch * (horizon - begin), size)

    def _distance(self, kind: Distance, imagined: Imagined, goal: Value, begin: int) -> Value:
        """`[B, H − begin]`; see `GoalObjective`."""
        source, metric, reduction, _ = kind
        batch, horizon, _ = imagined.states.shape
        if source.startswith(HEAD):
            flat = self._flat(imagined, begin)
            value = imagined.model.head(imagined.graph, source[len(HEAD) :], flat, goal)
            return value.reshape(batch, horizon - begin)
        states, wanted = self._parts(kind, imagined, goal, begin)
        if metric == "value":
            return states.reshape(batch, horizon - begin)
        if metric == "cosine":
            return 1.0 - (states * wanted).sum(2) / _lengths(states, wanted)
        difference = states - wanted
        if metric == "l2":
            each = difference * difference
        elif metric == "l1":
            each = difference.abs()
        else:
            size = difference.abs()
            capped = size.minimum(1.0)
            each = capped * (size - capped * 0.5)
        return each.sum(2) if reduction == "sum" else each.sum(2) / float(states.shape[2])

    def _slope(self, kind: Distance, imagined: Imagined, goal: Value, begin: int, steps: Value) -> Value:
        """Gradient of the weighted distances by the columns that count, `[B, H − begin, size]`."""
        source, metric, reduction, _ = kind
        graph, (batch, horizon, _) = imagined.graph, imagined.states.shape
        count = horizon - begin
        if source.startswith(HEAD):
            cotangent = steps.expand(batch, count).reshape(batch * count)
            flat = self._flat(imagined, begin)
            slope = imagined.model.head_pullback(graph, source[len(HEAD) :], flat, goal, cotangent)
            return slope.reshape(batch, count, slope.shape[1])
        states, wanted = self._parts(kind, imagined, goal, begin)
        each_step = steps.reshape(1, count, 1)
        if metric == "value":
            return each_step.expand(batch, count, 1)
        if metric == "cosine":
            lengths = _lengths(states, wanted).reshape(batch, count, 1)
            along = (states * wanted).sum(2, keep=True) / (states * states).sum(2, keep=True).maximum(1e-24)
            return (states * along - wanted) / lengths * each_step
        difference = states - wanted
        if metric == "l2":
            slope = difference * 2.0
        elif metric == "l1":
            slope = difference.sign()
        else:
            slope = difference.maximum(-1.0).minimum(1.0)
        share = each_step if reduction == "sum" else each_step / float(states.shape[2])
        return slope * share


def step_shares(term: CostTerm, horizon: int) -> Float32:
    """How much the distance at each step counts in a term of weight 1, `[H]`; see `CostTerm`."""
    powers = np.power(np.float32(term.discount), np.arange(horizon + 1, dtype=np.float32))
    if term.steps == "last":
        shares = np.zeros(horizon, np.float32)
        shares[-1] = powers[horizon]
        return shares
    return np.asarray(powers[:horizon] / (horizon if term.steps == "all" else 1), np.float32)


def _lengths(states: Value, wanted: Value) -> Value:
    """|state| |goal|, away from zero, `[B, H]`."""
    product = (states * states).sum(2).sqrt() * (wanted * wanted).sum(2).sqrt()
    return product.maximum(1e-12)
