"""Steps of gradient descent on action sequences, through the objective and back through the model.

Adam: Kingma & Ba, Adam: A Method for Stochastic Optimization (2015), algorithm 1. Each action is stepped in units of
half its range, so that one learning rate fits all: with Adam a step is about `learning_rate` of it at first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_ros.errors import PlanningError
from jepa_ros.guardrails import gradient
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.problem import PlanProblem
from jepa_ros.protocols import DifferentiableModel, WorldModel
from jepa_ros.types import Float32

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Descent:
    """Steps action sequences down their energy; guardrails do not enter, penalties do.

    Args:
        model: Rolled the sequences out.
        config: Settings.
        name: Of the planner, for messages.

    Raises:
        PlanningError: A model that cannot be followed backward.
    """

    def __init__(self, model: WorldModel, config: PlannerConfig, name: str) -> None:
        if not isinstance(model, DifferentiableModel) or not model.has_derivative:
            raise PlanningError(
                f"planner '{name}' follows gradients, and this model has none: export the bundle with its derivative "
                "(predictor_vjp.onnx), or set the planner's name to one that samples"
            )
        self._model, self._config = model, config
        self._first: Float32 = np.zeros(0, np.float32)
        self._second: Float32 = np.zeros(0, np.float32)
        self._steps = 0

    def begin(self, actions: Float32) -> None:
        """Forget what was learnt of other sequences `[B, H, A]`."""
        self._first, self._second, self._steps = np.zeros_like(actions), np.zeros_like(actions), 0

    def step(self, problem: PlanProblem, actions: Float32, latents: Float32) -> None:
        """Step every sequence once, in place, and bring it into the bounds; one whose gradient is not finite stays.

        Args:
            problem: Whose energy is lowered.
            actions: `[B, H, A]`, as many as at `begin`.
            latents: `[B, H, D]` what they were predicted to lead to.

        Raises:
            PlanningError: The objective, or a part of it, has no gradient.
        """
        self._steps += 1
        half_range = problem.bounds.half_range
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite does not move
            slope = self.slope(problem, actions, latents) * half_range
            # Of a finite sum each part is.
            good = np.isfinite(np.abs(slope).sum(axis=(1, 2)))[:, None, None]
            step = self._adam(slope, good) if self._config.optimizer == "adam" else slope
            moved = actions - half_range * (step * np.float32(self._config.learning_rate))
        np.copyto(actions, problem.bounds.apply(moved), where=good)

    def slope(self, problem: PlanProblem, actions: Float32, latents: Float32) -> Float32:
        """d energy / d actions `[B, H, A]`: what the actions cost themselves, and what they lead to."""
        by_latent, by_action = gradient(problem.objective, latents, actions)
        if not by_latent.any():
            return by_action
        history = problem.history
        return by_action + self._model.pullback(history.latents, history.actions, actions, latents, by_latent)

    def _adam(self, slope: Float32, good: NDArray[np.bool_]) -> Float32:
        one, two = (np.float32(beta) for beta in BETAS)
        np.copyto(self._first, self._first * one + slope * (1 - one), where=good)
        np.copyto(self._second, self._second * two + np.square(slope) * (1 - two), where=good)
        first = self._first / np.float32(1 - BETAS[0] ** self._steps)
        second = self._second / np.float32(1 - BETAS[1] ** self._steps)
        return np.asarray(first / (np.sqrt(second) + np.float32(EPSILON)), np.float32)
