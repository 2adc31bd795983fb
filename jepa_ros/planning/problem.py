"""What a planner is given and what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jepa_ros.errors import PlanningError
from jepa_ros.protocols import Objective
from jepa_ros.types import Float32


@dataclass(frozen=True)
class History:
    """What was seen and done up to now, one model step apart.

    Attributes:
        latents: `[T, D]`, oldest first; the last one is now.
        actions: `[T - 1, A]`; row t was applied from latent t to latent t + 1.
    """

    latents: Float32
    actions: Float32

    def __post_init__(self) -> None:
        if self.latents.ndim != 2 or self.actions.ndim != 2 or len(self.latents) != len(self.actions) + 1:
            raise PlanningError(
                f"a history is latents [T, D] and actions [T - 1, A], got {self.latents.shape} and {self.actions.shape}"
            )

    def followed_by(self, actions: Float32, latents: Float32, longest: int) -> History:
        """This history, then actions `[N, A]` and the latents `[N, D]` they led to; the newest `longest` latents."""
        return History(
            np.concatenate([self.latents, latents])[-longest:],
            np.concatenate([self.actions, actions])[-(longest - 1) :] if longest > 1 else self.actions[:0],
        )


class ActionBounds:
    """The set of allowed actions: a box, and optionally a ball around zero.

    Args:
        low: `[A]` smallest value of each action.
        high: `[A]` largest value; equal to `low` where an action is fixed.
        norm_limit: Largest Euclidean norm of one action, or None.
        block: Actions in one model step; `A` is then `block` actions of `A / block` values, each with its own norm.

    Raises:
        PlanningError: Empty, unordered or non-finite bounds, or a norm limit that no action in the box satisfies.
    """

    def __init__(self, low: ArrayLike, high: ArrayLike, norm_limit: float | None = None, block: int = 1) -> None:
        low64, high64 = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
        if low64.ndim != 1 or low64.size == 0 or low64.shape != high64.shape:
            raise PlanningError(f"action bounds need low [A] and high [A], got {low64.shape} and {high64.shape}")
        if not (np.isfinite(low64).all() and np.isfinite(high64).all() and (low64 <= high64).all()):
            raise PlanningError(
                f"action bounds must be finite, low <= high, got {low64.tolist()} and {high64.tolist()}"
            )
        if block < 1 or low64.size % block:
            raise PlanningError(f"{low64.size} action values cannot be split into blocks of {block} actions")
        # float32(-0.4) lies below -0.4: round inwards, so that no action is outside the bounds as they were written.
        rounded_low, rounded_high = _round_up(low64), -_round_up(-high64)
        fits = rounded_low <= rounded_high
        self.low: Float32 = np.where(fits, rounded_low, low64.astype(np.float32))
        self.high: Float32 = np.where(fits, rounded_high, low64.astype(np.float32))
        self.rest: Float32 = np.clip(np.zeros_like(self.low), self.low, self.high)
        self._block = block
        self._norm_limit = norm_limit
        if norm_limit is not None and not self._norms(self.rest).max() < norm_limit:
            raise PlanningError(f"no action within the bounds has a norm under norm_limit {norm_limit}")

    @property
    def half_range(self) -> Float32:
        """`[A]`, half the width of the box; zero where an action is fixed."""
        return (self.high - self.low) / np.float32(2)

    def apply(self, actions: Float32) -> Float32:
        """Bring actions `[..., A]` into the set, in place; non-finite values become the resting action's."""
        if not np.isfinite(actions).all():
            np.copyto(actions, self.rest, where=~np.isfinite(actions))
        np.clip(actions, self.low, self.high, out=actions)
        if self._norm_limit is not None:
            self._shrink_to_ball(actions, self._norm_limit)
            # Rounding may put a sum past a side of the box that it was on.
            np.clip(actions, self.low, self.high, out=actions)
        return actions

    def _norms(self, actions: Float32) -> Float32:
        """Norm of each single action: `[..., A]` → `[..., block]`."""
        single = actions.reshape(*actions.shape[:-1], self._block, -1)
        return np.asarray(np.linalg.norm(single, axis=-1), dtype=np.float32)

    def _shrink_to_ball(self, actions: Float32, limit: float) -> None:
        """Move along the line to `rest` until the norm fits: the box is convex, so the result is still inside it."""
        single = actions.reshape(*actions.shape[:-1], self._block, -1)
        rest = self.rest.reshape(self._block, -1)
        away = single - rest
        # |rest + s away| = limit, solved for s; rounded inwards by a few float32 steps.
        squared = np.einsum("...a,...a->...", away, away)
        cross = np.einsum("...a,...a->...", away, np.broadcast_to(rest, away.shape))
        room = (limit * (1 - 1e-6)) ** 2 - np.einsum("...a,...a->...", rest, rest)
        scale = (-cross + np.sqrt(cross**2 + squared * room)) / np.maximum(squared, np.float32(1e-12))
        single[...] = rest + np.where(squared > 1e-12, np.minimum(scale, 1), 1)[..., None].astype(np.float32) * away


def _round_up(values: NDArray[np.float64]) -> Float32:
    """Smallest float32 that is not below each value."""
    nearest = values.astype(np.float32)
    return np.where(nearest < values, np.nextafter(nearest, np.float32(np.inf)), nearest)


@dataclass(frozen=True)
class PlanProblem:
    """One question to a planner: which actions lead from this history to low energy.

    Attributes:
        history: What was seen and done.
        objective: Energy to lower.
        horizon: Model steps to plan, H.
        low, high: `[A]` bounds of each action.
        warm_start: `[H, A]` a first guess, usually the last plan shifted by the time since; always among the samples.
        previous_plans: Further `[H, A]` guesses, always among the samples.
        guardrails: Hard constraints, each giving a violation `[B]` (0 = kept). Ranking is by (violation, energy).
        norm_limit, block: See `ActionBounds`.
        bounds: The action set made from the above.
    """

    history: History
    objective: Objective
    horizon: int
    low: ArrayLike
    high: ArrayLike
    warm_start: Float32 | None = None
    previous_plans: Sequence[Float32] = ()
    guardrails: Sequence[Objective] = ()
    norm_limit: float | None = None
    block: int = 1
    bounds: ActionBounds = field(init=False)

    def __post_init__(self) -> None:
        bounds = ActionBounds(self.low, self.high, self.norm_limit, self.block)
        object.__setattr__(self, "bounds", bounds)
        if self.horizon < 1:
            raise PlanningError(f"the horizon must be at least 1 model step, got {self.horizon}")
        size = bounds.low.size
        if self.history.actions.shape[1] != size:
            raise PlanningError(f"the history's actions have {self.history.actions.shape[1]} values, the bounds {size}")
        guesses = [*self.previous_plans] if self.warm_start is None else [self.warm_start, *self.previous_plans]
        for guess in guesses:
            if np.shape(guess) != (self.horizon, size):
                raise PlanningError(f"a warm start must be [{self.horizon}, {size}], got {list(np.shape(guess))}")


@dataclass(frozen=True)
class Plan:
    """The best action sequence that was scored.

    Attributes:
        actions: `[H, A]`; row 0 is applied first.
        latents: `[H, D]` what they are predicted to lead to; NaN where nothing was scored.
        energy: Energy of exactly these actions; infinite where nothing finite was scored.
        energies: `[iterations]` the best energy after each iteration.
        iterations: Iterations run.
        stopped: Why the search ended.
        feasible: The energy is finite and every hard guardrail is kept. If False, stop instead of following the plan.
    """

    actions: Float32
    latents: Float32
    energy: float
    energies: Float32
    iterations: int
    stopped: Literal["iterations", "converged", "deadline"]
    feasible: bool
