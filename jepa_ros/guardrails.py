"""Guardrails: constraints inside the objective. (The hard limits after it are the safety filter's.)

A guardrail maps imagined latents `[B, H, D]` and their actions `[B, H, A]` to a violation `[B]`: 0 where it is kept,
and how far it is broken where not. Given to a planner as it is, it is hard: samples are ranked by (violation, energy).
Wrapped in `Penalty`, it is soft: a term of the energy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from jepa_ros.errors import PlanningError
from jepa_ros.protocols import Objective
from jepa_ros.types import Float32


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
    """Keeps the change of the action from one model step to the next under a limit `[A]` or one number for all."""

    def __init__(self, limit: float | Sequence[float]) -> None:
        self._limit = np.asarray(limit, dtype=np.float32)
        for value in self._limit.reshape(-1):
            _above_zero("limit", float(value))

    def __call__(self, latents: Float32, actions: Float32) -> Float32:
        """How far the largest change passes its limit, `[B]`; 0 for a horizon of one step."""
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

    def __call__(self, latents: Float32, actions: Float32) -> Float32:
        """Weighted violation `[B]`."""
        return self._weight * self._guardrail(latents, actions)


class Sum:
    """An objective that adds others up, such as a goal and penalties."""

    def __init__(self, parts: Sequence[Objective]) -> None:
        if not parts:
            raise PlanningError("a sum of objectives needs at least one")
        self._parts = tuple(parts)

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
