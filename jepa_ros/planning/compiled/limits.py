"""Guardrails as parts of a plan graph: see `jepa_ros.guardrails`, whose arithmetic this is."""

from __future__ import annotations

import numpy as np

from jepa_ros.errors import PlanningError
from jepa_ros.guardrails import ActionChange, ActionMagnitude, HeadLimit, KeepAway, Penalty
from jepa_ros.planning.compiled.tensors import Value
from jepa_ros.planning.compiled.terms import Gradient, Imagined, Parameters, Term
from jepa_ros.types import Float32

_TINY = 1e-12
_LARGEST = 1e30


class MagnitudeTerm(Term):
    """`ActionMagnitude`; parameter `limit` `[1]`."""

    def __init__(self, guardrail: ActionMagnitude, size: int) -> None:
        self._guardrail, self._columns = guardrail, None
        if guardrail.columns is not None:
            if beyond := [column for column in guardrail.columns if not -size <= column < size]:
                raise PlanningError(f"ActionMagnitude: there is no column {beyond[0]}, an action has {size} values")
            self._columns = [column % size for column in guardrail.columns]

    @property
    def structure(self) -> str:
        return f"magnitude {self._columns}"

    def parameters(self) -> dict[str, Float32]:
        return {"limit": np.reshape(self._guardrail.limit, 1)}

    def energy(self, imagined: Imagined, parameters: Parameters) -> Value:
        return (self._norms(self._chosen(imagined)).max(1) - parameters["limit"]).maximum(0.0)

    def descend(self, imagined: Imagined, parameters: Parameters, into: Gradient) -> None:
        chosen = self._chosen(imagined)
        norms = self._norms(chosen)
        batch, horizon = norms.shape
        beyond = norms.max(1, keep=True) > parameters["limit"]
        share = _first_largest(imagined, norms) * beyond.to_float()
        slope = chosen / norms.maximum(_TINY).reshape(batch, horizon, 1) * share.reshape(batch, horizon, 1)
        if self._columns is not None:
            whole: list[Value] = [imagined.graph.zeros(batch, horizon, 1)] * imagined.actions.shape[2]
            for i, column in enumerate(self._columns):  # one that is named twice counts twice
                whole[column] = whole[column] + slope.part(2, i, i + 1)
            slope = imagined.graph.concatenate(whole, 2)
        into.add_actions(slope)

    def _chosen(self, imagined: Imagined) -> Value:
        return imagined.actions if self._columns is None else imagined.actions.take(self._columns, axis=2)

    @staticmethod
    def _norms(actions: Value) -> Value:
        return (actions * actions).sum(2).sqrt()


class ChangeTerm(Term):
    """`ActionChange`; parameters `limit` `[A]` and, where one is known, `previous` `[1, 1, A]`."""

    def __init__(self, guardrail: ActionChange, size: int) -> None:
        self._guardrail, self._size = guardrail, size
        for name, given in (("limit", guardrail.limit), ("previous", guardrail.previous)):
            if given is not None and given.size not in (({1, size}) if name == "limit" else {size}):
                raise PlanningError(f"ActionChange: {name} has {given.size} values, an action has {size}")

    @property
    def structure(self) -> str:
        return f"change {self._guardrail.previous is not None}"

    def parameters(self) -> dict[str, Float32]:
        found = {"limit": np.broadcast_to(self._guardrail.limit, self._size).astype(np.float32)}
        if self._guardrail.previous is not None:
            found["previous"] = self._guardrail.previous.reshape(1, 1, -1)
        return found

    def energy(self, imagined: Imagined, parameters: Parameters) -> Value:
        changes = self._changes(imagined, parameters)
        batch, steps, size = changes.shape
        if not steps:
            return imagined.graph.zeros(batch)
        excess = (changes.abs() - parameters["limit"]).reshape(batch, steps * size)
        return excess.max(1).maximum(0.0)

    def descend(self, imagined: Imagined, parameters: Parameters, into: Gradient) -> None:
        changes = self._changes(imagined, parameters)
        batch, steps, size = changes.shape
        if not steps:
            return
        excess = (changes.abs() - parameters["limit"]).reshape(batch, steps * size)
        share = _first_largest(imagined, excess) * (excess > 0.0).to_float()
        slope = changes.sign() * share.reshape(batch, steps, size)
        # A change is an action less the one before it.
        zeros = imagined.graph.zeros(batch, 1, size)
        later = imagined.graph.concatenate([slope.part(1, 1, steps), zeros], 1) if steps > 1 else zeros
        if self._guardrail.previous is not None:
            into.add_actions(slope - later)
        else:
            into.add_actions(
                imagined.graph.concatenate([zeros, slope], 1) - imagined.graph.concatenate([slope, zeros], 1)
            )

    def _changes(self, imagined: Imagined, parameters: Parameters) -> Value:
        actions = imagined.actions
        batch, horizon, size = actions.shape
        if "previous" in parameters:
            first = parameters["previous"].expand(batch, 1, size)
            actions = imagined.graph.concatenate([first, actions], 1)
            horizon += 1
        return actions.part(1, 1, horizon) - actions.part(1, 0, horizon - 1)


class KeepAwayTerm(Term):
    """`KeepAway`; parameters `avoid` `[N, D]` and `radius` `[1]`."""

    def __init__(self, guardrail: KeepAway) -> None:
        self._guardrail = guardrail

    @property
    def structure(self) -> str:
        return f"keep away {len(self._guardrail.avoid)}"

    def parameters(self) -> dict[str, Float32]:
        return {"avoid": self._guardrail.avoid, "radius": np.reshape(self._guardrail.radius, 1)}

    def energy(self, imagined: Imagined, parameters: Parameters) -> Value:
        return (parameters["radius"] - self._distances(imagined, parameters).min(1)).maximum(0.0)

    def descend(self, imagined: Imagined, parameters: Parameters, into: Gradient) -> None:
        batch, horizon, size = imagined.states.shape
        distances, count = self._distances(imagined, parameters), len(self._guardrail.avoid)
        within = distances.min(1, keep=True) < parameters["radius"]
        share = (_first_largest(imagined, -distances) * within.to_float()).reshape(batch, horizon, count)
        # Σₙ share (state − avoidₙ), without the differences side by side.
        total = share.sum(2, keep=True)
        pulled = imagined.graph.op("MatMul", [share, parameters["avoid"]], (batch, horizon, size))
        into.add_states((imagined.states * total - pulled) * (-2.0 / size))

    def _distances(self, imagined: Imagined, parameters: Parameters) -> Value:
        """Mean squared differences, `[B, H · N]`."""
        batch, horizon, size = imagined.states.shape
        avoid, found = parameters["avoid"], []
        if avoid.shape[1] != size:
            raise PlanningError(f"KeepAway: latents have {avoid.shape[1]} values, the model's have {size}")
        for n in range(avoid.shape[0]):
            difference = imagined.states - avoid.row(0, n)
            found.append((difference * difference).mean(2))
        return imagined.graph.stack(found, 2).reshape(batch, horizon * avoid.shape[0])


class HeadLimitTerm(Term):
    """`HeadLimit`; parameters `low` and `high` `[1]`, and `goal` `[1, D]` where the head judges by one."""

    def __init__(self, guardrail: HeadLimit) -> None:
        self._guardrail = guardrail

    @property
    def structure(self) -> str:
        return f"head limit {self._guardrail.head}"

    def parameters(self) -> dict[str, Float32]:
        # An end that is open is one that nothing finite passes.
        ends = np.clip([self._guardrail.low, self._guardrail.high], -_LARGEST, _LARGEST).astype(np.float32)
        found = {"low": ends[:1], "high": ends[1:]}
        if self._guardrail.goal is not None:
            found["goal"] = self._guardrail.goal.reshape(1, -1)
        return found

    def energy(self, imagined: Imagined, parameters: Parameters) -> Value:
        said = self._said(imagined, parameters)
        # A maximum need not show a value that is not a number; a sum does.
        none = said.sum(1) * 0.0
        return self._excess(said, parameters).max(1).maximum(0.0) + none

    def descend(self, imagined: Imagined, parameters: Parameters, into: Gradient) -> None:
        said = self._said(imagined, parameters)
        batch, horizon = said.shape
        excess = self._excess(said, parameters)
        share = _first_largest(imagined, excess) * (excess > 0.0).to_float()
        cotangent = (said > parameters["high"]).where(share, -share).reshape(batch * horizon)
        model, goal = imagined.model, parameters.get("goal")
        slope = model.head_pullback(imagined.graph, self._guardrail.head, self._flat(imagined), goal, cotangent)
        place, size = model.layout.place(model.layout.latent.name), imagined.states.shape[2]
        ends = [[imagined.graph.zeros(batch * horizon, n)] if n else [] for n in (place.start, size - place.stop)]
        into.add_states(imagined.graph.concatenate([*ends[0], slope, *ends[1]], 1).reshape(batch, horizon, size))

    def _said(self, imagined: Imagined, parameters: Parameters) -> Value:
        batch, horizon, _ = imagined.states.shape
        goal = parameters.get("goal")
        said = imagined.model.head(imagined.graph, self._guardrail.head, self._flat(imagined), goal)
        return said.reshape(batch, horizon)

    @staticmethod
    def _excess(said: Value, parameters: Parameters) -> Value:
        return (parameters["low"] - said).maximum(said - parameters["high"])

    @staticmethod
    def _flat(imagined: Imagined) -> Value:
        batch, horizon, size = imagined.states.shape
        return imagined.states.reshape(batch * horizon, size)


class PenaltyTerm(Term):
    """`Penalty`: a constraint as a term of the energy; its parameters, and `weight` `[1]`."""

    def __init__(self, penalty: Penalty, constraint: Term) -> None:
        self._weight, self._constraint = penalty.weight, constraint

    @property
    def structure(self) -> str:
        return f"penalty ({self._constraint.structure})"

    @property
    def parts(self) -> tuple[Term, ...]:
        return (self._constraint, *self._constraint.parts)

    def parameters(self) -> dict[str, Float32]:
        return {**self._constraint.parameters(), "weight": np.reshape(self._weight, 1)}

    def energy(self, imagined: Imagined, parameters: Parameters) -> Value:
        return self._constraint.energy(imagined, parameters) * parameters["weight"]

    def descend(self, imagined: Imagined, parameters: Parameters, into: Gradient) -> None:
        inner = Gradient()
        self._constraint.descend(imagined, parameters, inner)
        if inner.by_states is not None:
            into.add_states(inner.by_states * parameters["weight"])
        if inner.by_actions is not None:
            into.add_actions(inner.by_actions * parameters["weight"])


def _first_largest(imagined: Imagined, values: Value) -> Value:
    """1 at the first largest of each row of `[B, N]`, else 0."""
    batch, count = values.shape
    graph = imagined.graph
    index = graph.op("ArgMax", [values], (batch, 1), axis=1, keepdims=1)
    columns = graph.integers(np.arange(count).reshape(1, count))
    return columns.equal(index).to_float()
