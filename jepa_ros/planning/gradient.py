"""Planning by gradient descent on the actions, from several starts at once.

The gradient half of Bharadhwaj et al., Model-Predictive Control via Cross-Entropy and Gradient-Based Optimization
(2020), with what this package's planners promise: only a plan that was scored is returned, and the bounds hold.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar

from jepa_ros.planning.candidates import CandidatePlanner
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.descent import Descent
from jepa_ros.planning.pacing import IterationPace
from jepa_ros.planning.problem import PlanProblem
from jepa_ros.protocols import WorldModel


class DescendingPlanner(CandidatePlanner):
    """A planner whose last iterations descend: all but the very last of them step, and that one only scores.

    Args:
        model: Rolls sequences out, and is followed backward.
        config: Settings.
        seed: Same seed and same problems, same plans.
        clock: Monotonic seconds, to time iterations.

    Raises:
        PlanningError: A model that cannot be followed backward, or samples of a policy that it does not have.
    """

    _name: ClassVar[str]

    def __init__(
        self, model: WorldModel, config: PlannerConfig, seed: int = 0, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        super().__init__(model, config, seed, clock)
        self._descent = Descent(model, config, self._name)
        self._descent_pace, self._scoring_pace = IterationPace(), IterationPace()

    def _descends(self, iteration: int) -> bool:
        """Whether an iteration is one of the descent."""
        return True

    def _pace_of(self, iteration: int) -> IterationPace:
        if not self._descends(iteration):
            return self._pace
        return self._scoring_pace if iteration == self.most_iterations - 1 else self._descent_pace


class GradientPlanner(DescendingPlanner):
    """Steps `samples` action sequences down their energy, each for itself.

    They begin as the guesses and as draws around the warm start (or rest). An iteration scores them all, remembers the
    best, and steps each; the last one only scores. Hard guardrails rank the sequences and do not bend them: what shall
    be descended on is a `Penalty`.
    """

    _name = "gradient"

    def _begin(self, problem: PlanProblem) -> None:
        work = self._prepare(problem)
        work.draw(self._rng)
        self._insert_guesses(work, problem)
        problem.bounds.apply(work.candidates)
        self._descent.begin(work.candidates)

    def _iterate(self, problem: PlanProblem, iteration: int) -> tuple[float, float]:
        work = self._space(problem)
        _, latents = self._score(work, problem)
        if iteration < self.most_iterations - 1:
            self._descent.step(problem, work.candidates, latents)
        return self._found.score
