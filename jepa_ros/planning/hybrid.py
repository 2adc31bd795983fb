"""Sampling, then gradient descent from the best samples.

Bharadhwaj et al., Model-Predictive Control via Cross-Entropy and Gradient-Based Optimization (2020), with the descent
after the sampling and on the elites alone: derivatives are dear, and the elites have already found the valleys.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_ros.planning.cem import CEM
from jepa_ros.planning.gradient import DescendingPlanner
from jepa_ros.planning.problem import PlanProblem
from jepa_ros.types import Float32


class Hybrid(DescendingPlanner, CEM):
    """`iterations` of CEM, then `descents` iterations of `GradientPlanner` on the elites of the last.

    The first of these scores what is scored already, for its gradient, so a plan is better only from the second on.
    """

    _name = "hybrid"
    _elites: Float32

    @property
    def most_iterations(self) -> int:
        """Of sampling and of descent."""
        return self.config.iterations + self.config.descents

    def _descends(self, iteration: int) -> bool:
        return iteration >= self.config.iterations

    def _judged(self, scores: list[tuple[float, float]]) -> list[tuple[float, float]]:
        # The first of the descent cannot lower the energy: it only scores what the sampling has found.
        return scores[: self.config.iterations] + scores[self.config.iterations + 1 :]

    def _iterate(self, problem: PlanProblem, iteration: int) -> tuple[float, float]:
        if not self._descends(iteration):
            elites, _ = self._sample(problem, iteration)
            if iteration == self.config.iterations - 1:
                self._choose(problem, elites)
        else:
            latents = self._score_elites(problem)
            if iteration < self.most_iterations - 1:
                self._descent.step(problem, self._elites, latents)
        return self._found.score

    def _choose(self, problem: PlanProblem, elites: NDArray[np.intp]) -> None:
        """Begin the descent: the best so far, and the elites but for the first, which it is."""
        work = self._space(problem)
        self._elites = np.concatenate([work.best[None], work.candidates[elites[1:]]])
        self._descent.begin(self._elites)

    def _score_elites(self, problem: PlanProblem) -> Float32:
        """Keep the best; return the predicted latents `[K, H, D]`."""
        energy, violation = np.zeros((2, len(self._elites)), np.float32)
        return self._score_rows(problem, self._elites, energy, violation)[1]
