"""What the sampling planners share: draw candidates around a mean, score them, refit the mean to the best."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from jepa_ros.planning.candidates import CandidatePlanner, Workspace
from jepa_ros.planning.problem import PlanProblem
from jepa_ros.types import Float32


class SamplingPlanner(CandidatePlanner):
    """Iterated sampling around a mean that `_refit` moves.

    What a `CandidatePlanner` always scores is scored in every iteration; from the second on, so are the mean and the
    best so far. A mean that was not scored is never returned.
    """

    @abstractmethod
    def _refit(self, work: Workspace, ranked: NDArray[np.intp], std_floor: Float32) -> None:
        """Move `work.mean` and `work.std`; `ranked` `[≤ elites]` are the best finite candidates, best first."""

    def _begin(self, problem: PlanProblem) -> None:
        self._prepare(problem)

    def _iterate(self, problem: PlanProblem, iteration: int) -> tuple[float, float]:
        self._sample(problem, iteration)
        return self._found.score

    def _sample(self, problem: PlanProblem, iteration: int) -> tuple[NDArray[np.intp], Float32]:
        """One iteration: the elites' rows, best first, and the candidates' predicted latents `[B, H, D]`."""
        work = self._space(problem)
        work.draw(self._rng)
        row = self._insert_guesses(work, problem)
        if iteration > 0:
            work.candidates[row] = work.mean
            work.candidates[row + 1] = work.best
        self._insert_more(work, row + 2)
        problem.bounds.apply(work.candidates)
        order, latents = self._score(work, problem)
        elites = order[: self.config.elites]
        elites = elites[np.isfinite(work.energy[elites])]
        if elites.size:
            self._refit(work, elites, problem.bounds.half_range * np.float32(self.config.min_std))
        return elites, latents

    def _insert_more(self, work: Workspace, row: int) -> None:
        """Overwrite candidates from `row` on with plans of the planner's own."""
