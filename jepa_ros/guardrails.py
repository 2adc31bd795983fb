"""Guardrails: constraints inside the objective. (The hard limits after it are the safety filter's.)

A guardrail maps imagined latents `[B, H, D]` and their actions `[B, H, A]` to a violation `[B]`: 0 where it is kept,
and how far it is broken where not. Given to a planner as it is, it is hard: samples are ranked by (violation, energy).
Wrapped in `Penalty`, it is soft: a term of the energy. Its gradient is that of the step, or the pair of steps, that
breaks it most, and zero where it is kept.

A plan's first action follows one that no planner can change any more. A guardrail that counts this step offers `after`
(see `FollowsOn`); `LatentMPC` asks for it before each search.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from jepa_ros.errors import PlanningError
from jepa_ros.protocols import Differentiable, FollowsOn, HeadedModel, HeadGradientModel, Objective
from jepa_ros.types import Float32


def after(objective: Objective, previous: Float32) -> Objective:
    """The objective for a plan that takes effect where action `previous` `[A]` ends; itself, if that is all the same
    to it."""
    return objective.after(previous) if isinstance(objective, FollowsOn) else objective


def gradient(objective: Objective, latents: Float32, actions: Float32) -> tuple[Float32, Float32]:
    """The objective's gradient; see `Differentiable`.

    Raises:
        PlanningError: It has none.
    """
    if not isinstance(objective, Differentiable):
        raise PlanningError(
            f"{type(objective).__name__} has no gradient: give it one (jepa_ros.protocols.Differentiable) or plan by "
            "sampling"
        )
    return objective.gradient(latents, actions)


class ActionMagnitude:
    """Keeps the norm of each step's action under a limit.

    Args:
        limit: Largest Euclidean norm, in the actions' unit.
        columns: Which action values enter, such as (0, 1) for a planar velocity; all, if None.
    """

    def __init__(self, limit: float, columns: Sequence[int] | None = None) -> None:
        self.limit = np.float32(_above_zero("limit", limit))
        self.columns = None if columns is None else list(columns)

    def __call__(self, latents: Float32, actions: Float32) -> Float32:
        """How far the largest norm over the horizon passes the limit, `[B]`."""
        chosen = actions if self.columns is None else actions[..., self.columns]
        largest = np.linalg.norm(chosen, axis=2).max(axis=1)
        return np.asarray(np.maximum(largest - self.limit, 0), dtype=np.float32)

    def gradient(self, latents: Float32, actions: Float32) -> tuple[Float32, Float32]:
        """d violation / d latents, which is zero, and d actions; see `Differentiable`."""
        chosen = actions if self.columns is None else actions[..., self.columns]
        norms = np.linalg.norm(chosen, axis=2)
        rows, steps = np.arange(len(actions)), norms.argmax(axis=1)
        largest = norms[rows, steps]
        with np.errstate(invalid="ignore"):
            direction = chosen[rows, steps] / np.where(largest > 0, largest, 1)[:, None]
        direction *= (largest > self.limit)[:, None]
        by_action = np.zeros(actions.shape, np.float32)
        columns = range(actions.shape[2]) if self.columns is None else self.columns
        # Column by column: one that is named twice counts twice.
        for i, column in enumerate(columns):
            by_action[rows, steps, column] += direction[:, i]
        return np.zeros(latents.shape, np.float32), by_action


class ActionChange:
    """Keeps the change of the action from one model step to the next under a limit.

    Args:
        limit: Largest change, `[A]` or one number for all, in the actions' unit.
        previous: `[A]` the action that the plan's first one follows; None counts the changes inside the plan only.
    """

    def __init__(self, limit: float | Sequence[float] | Float32, previous: Float32 | None = None) -> None:
        self.limit = np.asarray(limit, dtype=np.float32)
        for value in self.limit.reshape(-1):
            _above_zero("limit", float(value))
        self.previous = None if previous is None else np.array(previous, dtype=np.float32)

    def after(self, previous: Float32) -> ActionChange:
        """The same limit, on the step from `previous` `[A]` to the plan's first action too."""
        return ActionChange(self.limit, previous)

    def __call__(self, latents: Float32, actions: Float32) -> Float32:
        """How far the largest change passes its limit, `[B]`; 0 where there is none to count."""
        excess = np.abs(self._changes(actions)) - self.limit
        return np.asarray(np.max(excess, axis=(1, 2), initial=0), dtype=np.float32)

    def gradient(self, latents: Float32, actions: Float32) -> tuple[Float32, Float32]:
        """d violation / d latents, which is zero, and d actions; see `Differentiable`."""
        changes = self._changes(actions)
        by_action = np.zeros(actions.shape, np.float32)
        if changes.shape[1]:
            excess = (np.abs(changes) - self.limit).reshape(len(actions), -1)
            rows, largest = np.arange(len(actions)), excess.argmax(axis=1)
            after, column = np.divmod(largest, actions.shape[2])
            after += actions.shape[1] - changes.shape[1]  # the step that a change leads to
            sign = np.sign(changes.reshape(len(actions), -1)[rows, largest]) * (excess[rows, largest] > 0)
            by_action[rows, after, column] += sign
            inside = after > 0  # the action before the plan is what it is
            by_action[rows[inside], after[inside] - 1, column[inside]] -= sign[inside]
        return np.zeros(latents.shape, np.float32), by_action

    def _changes(self, actions: Float32) -> Float32:
        """`[B, H, A]` → `[B, H − 1, A]`, or `[B, H, A]` where there is an action before the first."""
        if self.previous is not None:
            first = np.broadcast_to(self.previous, (len(actions), 1, actions.shape[2]))
            actions = np.concatenate([first, actions], axis=1)
        return np.diff(actions, axis=1)


class KeepAway:
    """Keeps imagined latents at a distance from known bad ones, such as views of a staircase.

    Args:
        latents: `[N, D]` latents to avoid.
        radius: Least mean squared difference allowed; `prediction_energy`'s unit.
    """

    def __init__(self, latents: Float32, radius: float) -> None:
        self.avoid = np.asarray(latents, dtype=np.float32)
        if self.avoid.ndim != 2 or not self.avoid.size or not np.isfinite(self.avoid).all():
            raise PlanningError(f"keep-away latents must be finite and shaped [N, D], got shape {self.avoid.shape}")
        self.radius = np.float32(_above_zero("radius", radius))

    def __call__(self, latents: Float32, actions: Float32) -> Float32:
        """How far the nearest approach over the horizon falls short of the radius, `[B]`."""
        nearest: Float32 = np.full(len(latents), np.inf, dtype=np.float32)
        for avoid in self.avoid:
            np.minimum(nearest, np.square(latents - avoid).mean(axis=2).min(axis=1), out=nearest)
        return np.asarray(np.maximum(self.radius - nearest, 0), dtype=np.float32)

    def gradient(self, latents: Float32, actions: Float32) -> tuple[Float32, Float32]:
        """d violation / d latents, and d actions, which is zero; see `Differentiable`."""
        distances = np.stack([np.square(latents - avoid).mean(axis=2) for avoid in self.avoid], axis=1)
        flat = distances.reshape(len(latents), -1)
        rows, nearest = np.arange(len(latents)), flat.argmin(axis=1)
        which, steps = np.divmod(nearest, latents.shape[1])
        away = (latents[rows, steps] - self.avoid[which]) * np.float32(-2 / latents.shape[2])
        by_latent = np.zeros(latents.shape, np.float32)
        by_latent[rows, steps] = away * (flat[rows, nearest] < self.radius)[:, None]
        return by_latent, np.zeros(actions.shape, np.float32)


class HeadLimit:
    """Keeps what a value head says of each predicted latent within limits: a probe of something that must not happen,
    or the uncertainty of an ensemble.

    Args:
        model: Has the head.
        head: Its name in the bundle.
        low, high: Limits in the head's unit; None where there is none. At least one.
        goal: `[D]` for a head that judges by one.

    Raises:
        PlanningError: A model without heads, no limits, or limits that are not finite or not in order.
    """

    def __init__(
        self,
        model: object,
        head: str,
        low: float | None = None,
        high: float | None = None,
        goal: Float32 | None = None,
    ) -> None:
        if not isinstance(model, HeadedModel):
            raise PlanningError(f"a limit on head '{head}': this model has no heads")
        if low is None and high is None:
            raise PlanningError(f"a limit on head '{head}' needs low, high or both")
        if not all(math.isfinite(limit) for limit in (low, high) if limit is not None):
            raise PlanningError(f"a limit on head '{head}' must be finite, got low {low} and high {high}")
        if low is not None and high is not None and low > high:
            raise PlanningError(f"a limit on head '{head}' needs low <= high, got {low} and {high}")
        self.model, self.head = model, head
        self.low, self.high = np.float32(-np.inf if low is None else low), np.float32(np.inf if high is None else high)
        self.goal = None if goal is None else np.asarray(goal, np.float32)

    def __call__(self, latents: Float32, actions: Float32) -> Float32:
        """How far the head's output passes its limits where it does so most, `[B]`; not a number where it is none.

        Raises:
            ModelError: The model has no such head, or it judges by a goal and there is none.
        """
        said = self._said(latents)
        return np.asarray(np.maximum(np.maximum(self.low - said, said - self.high), 0).max(axis=1), np.float32)

    def gradient(self, latents: Float32, actions: Float32) -> tuple[Float32, Float32]:
        """d violation / d latents, and d actions, which is zero; see `Differentiable`.

        Raises:
            PlanningError: The model's heads cannot be followed backward.
            ModelError: This one cannot.
        """
        if not isinstance(self.model, HeadGradientModel):
            raise PlanningError(f"a limit on head '{self.head}': this model's heads have no gradients")
        said = self._said(latents)
        excess = np.maximum(self.low - said, said - self.high)
        rows, steps = np.arange(len(latents)), excess.argmax(axis=1)
        sign = np.where(said[rows, steps] > self.high, 1, -1) * (excess[rows, steps] > 0)
        by_latent = np.zeros(latents.shape, np.float32)
        by_latent[rows, steps] = self.model.head_gradient(
            self.head, np.ascontiguousarray(latents[rows, steps]), self.goal, sign.astype(np.float32)
        )
        return by_latent, np.zeros(actions.shape, np.float32)

    def _said(self, latents: Float32) -> Float32:
        """`[B, H, D]` → `[B, H]`."""
        count, steps, size = latents.shape
        flat = np.ascontiguousarray(latents.reshape(count * steps, size))
        return self.model.head(self.head, flat, self.goal).reshape(count, steps)


class Penalty:
    """A guardrail made soft: adds weight × violation to the energy."""

    def __init__(self, guardrail: Objective, weight: float) -> None:
        self.guardrail = guardrail
        self.weight = np.float32(_above_zero("weight", weight))

    def after(self, previous: Float32) -> Penalty:
        """The penalty of its guardrail after action `previous` `[A]`."""
        return Penalty(after(self.guardrail, previous), float(self.weight))

    def __call__(self, latents: Float32, actions: Float32) -> Float32:
        """Weighted violation `[B]`."""
        return self.weight * self.guardrail(latents, actions)

    def gradient(self, latents: Float32, actions: Float32) -> tuple[Float32, Float32]:
        """Weighted gradient of the violation; see `Differentiable`."""
        by_latent, by_action = gradient(self.guardrail, latents, actions)
        return self.weight * by_latent, self.weight * by_action


class Sum:
    """An objective that adds others up, such as a goal and penalties."""

    def __init__(self, parts: Sequence[Objective]) -> None:
        if not parts:
            raise PlanningError("a sum of objectives needs at least one")
        self.parts = tuple(parts)

    def after(self, previous: Float32) -> Sum:
        """The sum of its parts after action `previous` `[A]`."""
        return Sum([after(part, previous) for part in self.parts])

    def __call__(self, latents: Float32, actions: Float32) -> Float32:
        """Summed energy `[B]`."""
        energy = self.parts[0](latents, actions)
        for part in self.parts[1:]:
            energy = energy + part(latents, actions)
        return energy

    def gradient(self, latents: Float32, actions: Float32) -> tuple[Float32, Float32]:
        """Summed gradient; see `Differentiable`."""
        by_latent, by_action = gradient(self.parts[0], latents, actions)
        for part in self.parts[1:]:
            more = gradient(part, latents, actions)
            by_latent, by_action = by_latent + more[0], by_action + more[1]
        return by_latent, by_action


def _above_zero(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise PlanningError(f"a guardrail's {name} must be above 0, got {value}")
    return value
