"""Guardrails: constraints inside the objective. (The hard limits after it are the safety filter's.)

A guardrail maps imagined latents `[B, H, D]` and their actions `[B, H, A]` to a violation `[B]`: 0 where it is kept,
and how far it is broken where not. Given to a planner as it is, it is hard: samples are ranked by (violation, energy).
Wrapped in `Penalty`, it is soft: a term of the energy.

A plan's first action follows one that no planner can change any more. A guardrail that counts this step offers `after`
(see `FollowsOn`); `LatentMPC` asks for it before each search.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from jepa_ros.errors import PlanningError
from jepa_ros.protocols import FollowsOn, Objective
from jepa_ros.types import Float32


def after(objective: Objective, previous: Float32) -> Objective:
    """The objective for a plan that takes effect where action `previous` `[A]` ends; itself, if that is all the same
    to it."""
    return objective.after(previous) if isinstance(objective, FollowsOn) else objective


class ActionMagnitude:
    """Keeps the norm of each step's action under a limit.

    Args:
        limit: Largest Euclidean norm, in the actions' unit.
        columns: Which action values enter, such as (0, 1) for a planar velocity; all, if None.
    """

    def __init__(self, limit: float, columns: Sequence[int] | None = None) -> None:
        self._limit = np.float32(_above_zero("limit", limit))
        self._columns = None if columns is None else list(columns)

    def __call__(self, latents: Float32, actions: Float32) -> Float32:
        """How far the largest norm over the horizon passes the limit, `[B]`."""
        chosen = actions if self._columns is None else actions[..., self._columns]
        largest = np.linalg.norm(chosen, axis=2).max(axis=1)
        return np.asarray(np.maximum(largest - self._limit, 0), dtype=np.float32)


class ActionChange:
    """Keeps the change of the action from one model step to the next under a limit.

    Args:
        limit: Largest change, `[A]` or one number for all, in the actions' unit.
        previous: `[A]` the action that the plan's first one follows; None counts the changes inside the plan only.
    """

    def __init__(self, limit: float | Sequence[float] | Float32, previous: Float32 | None = None) -> None:
        self._limit = np.asarray(limit, dtype=np.float32)
        for value in self._limit.reshape(-1):
            _above_zero("limit", float(value))
        self._previous = None if previous is None else np.array(previous, dtype=np.float32)

    def after(self, previous: Float32) -> ActionChange:
        """The same limit, on the step from `previous` `[A]` to the plan's first action too."""
        return ActionChange(self._limit, previous)

    def __call__(self, latents: Float32, actions: Float32) -> Float32:
        """How far the largest change passes its limit, `[B]`; 0 where there is none to count."""
        if self._previous is not None:
            first = np.broadcast_to(self._previous, (len(actions), 1, actions.shape[2]))
            actions = np.concatenate([first, actions], axis=1)
        excess = np.abs(np.diff(actions, axis=1)) - self._limit
        return np.asarray(np.max(excess, axis=(1, 2), initial=0), dtype=np.float32)


class KeepAway:
    """Keeps imagined latents at a distance from known bad ones, such as views of a staircase.

    Args:
        latents: `[N, D]` latents to avoid.
        radius: Least mean squared difference allowed; `prediction_energy`'s unit.
    """

    def __init__(self, latents: Float32, radius: float) -> None:
        self._avoid = np.asarray(latents, dtype=np.float32)
        if self._avoid.ndim != 2 or not self._avoid.size or not np.isfinite(self._avoid).all():
            raise PlanningError(f"keep-away latents must be finite and shaped [N, D], got shape {self._avoid.shape}")
        self._radius = np.float32(_above_zero("radius", radius))

    def __call__(self, latents: Float32, actions: Float32) -> Float32:
        """How far the nearest approach over the horizon falls short of the radius, `[B]`."""
        nearest: Float32 = np.full(len(latents), np.inf, dtype=np.float32)
        for avoid in self._avoid:
            np.minimum(nearest, np.square(latents - avoid).mean(axis=2).min(axis=1), out=nearest)
        return np.asarray(np.maximum(self._radius - nearest, 0), dtype=np.float32)


class Penalty:
    """A guardrail made soft: adds weight × violation to the energy."""

    def __init__(self, guardrail: Objective, weight: float) -> None:
        self._guardrail = guardrail
        self._weight = np.float32(_above_zero("weight", weight))

    def after(self, previous: Float32) -> Penalty:
        """The penalty of its guardrail after action `previous` `[A]`."""
        return Penalty(after(self._guardrail, previous), float(self._weight))

    def __call__(self, latents: Float32, actions: Float32) -> Float32:
        """Weighted violation `[B]`."""
        return self._weight * self._guardrail(latents, actions)


class Sum:
    """An objective that adds others up, such as a goal and penalties."""

    def __init__(self, parts: Sequence[Objective]) -> None:
        if not parts:
            raise PlanningError("a sum of objectives needs at least one")
        self._parts = tuple(parts)

    def after(self, previous: Float32) -> Sum:
        """The sum of its parts after action `previous` `[A]`."""
        return Sum([after(part, previous) for part in self._parts])

    def __call__(self, latents: Float32, actions: Float32) -> Float32:
        """Summed energy `[B]`."""
        energy = self._parts[0](latents, actions)
        for part in self._parts[1:]:
            energy = energy + part(latents, actions)
        return energy


def _above_zero(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise PlanningError(f"a guardrail's {name} must be above 0, got {value}")
    return value
