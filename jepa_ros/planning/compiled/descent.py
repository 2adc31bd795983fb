"""An iteration of gradient descent on action sequences as a graph; see `jepa_ros.planning.descent` for it in NumPy.

Adam: Kingma & Ba, "Adam: A Method for Stochastic Optimization" (2015), algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jepa_ros.planning.compiled.scoring import Best, Bounds, Scored, ranked
from jepa_ros.planning.compiled.tensors import GraphBuilder, Value
from jepa_ros.planning.compiled.terms import Imagined
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.descent import BETAS, EPSILON

Judge = Callable[[Value], tuple[Imagined, Scored, Value | None]]


@dataclass(frozen=True)
class Descent:
    """What is carried from iteration to iteration.

    Attributes:
        actions: `[B, H, A]`, not yet scored.
        first, second: `[B, H, A]` moments of Adam.
        best: the best scored so far.
    """

    actions: Value
    first: Value
    second: Value
    best: Best


class DescentIteration:
    """Emits iterations: score every row, keep the best, step each down its energy.

    Args:
        config: settings.
        graph: where they are written.
        bounds: of actions.
        judge: scores `[B, H, A]` and gives dE/dactions `[B, H, A]`, or None: then nothing is stepped.
    """

    def __init__(
        self,
        config: PlannerConfig,
        graph: GraphBuilder,
        bounds: Bounds,
        judge: Judge,
    ) -> None:
        self._config, self._graph, self._bounds, self._judge = config, graph, bounds, judge

    def __call__(self, now: Descent, corrections: Value) -> Descent:
        """One iteration.

        Args:
            now: state.
            corrections: `[2]` 1 − β₁ᵗ and 1 − β₂ᵗ of Adam's step t.
        """
        graph = self._graph
        imagined, scored, gradient = self._judge(now.actions)
        best = now.best.challenged(graph, scored, imagined, ranked(graph, scored, 1))
        if gradient is None:
            return Descent(now.actions, now.first, now.second, best)
        half = (self._bounds.high - self._bounds.low) * 0.5
        slope = gradient * half
        first, second = now.first, now.second
        if self._config.optimizer == "adam":
            one, two = (float(np.float32(beta)) for beta in BETAS)
            first = first * one + slope * (1 - one)
            second = second * two + slope * slope * (1 - two)
            unbiased = second / corrections.part(0, 1, 2)
            step = first / corrections.part(0, 0, 1) / (unbiased.sqrt() + EPSILON)
        else:
            step = slope
        # Comparing with a number that is none is false: a row without a finite gradient stays.
        batch = slope.shape[0]
        good = (slope.abs().sum(1, 2) < float(np.finfo(np.float32).max)).reshape(batch, 1, 1)
        moved = now.actions - half * (step * self._config.learning_rate)
        actions = good.where(self._bounds.apply(graph, moved), now.actions)
        return Descent(actions, good.where(first, now.first), good.where(second, now.second), best)
