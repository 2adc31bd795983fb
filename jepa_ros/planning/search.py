"""The loop that every iterated planner shares: one call after another while there is time and it pays."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np

from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.pacing import IterationPace
from jepa_ros.planning.problem import Plan, PlanProblem
from jepa_ros.types import Float32


class IteratedPlanner(ABC):
    """Searches in iterations that each score some plans, and returns the best one scored.

    Args:
        config: Settings.
        clock: Monotonic seconds, to time iterations.
    """

    def __init__(self, config: PlannerConfig, clock: Callable[[], float] = time.perf_counter) -> None:
        self.config = config
        self._clock = clock
        self._pace = IterationPace()
        self._has_deadline = False

    @property
    def horizon(self) -> int:
        """Model steps that the settings ask a plan to have."""
        return self.config.horizon

    @property
    def most_iterations(self) -> int:
        """Iterations of a plan that nothing ends early."""
        return self.config.iterations

    @abstractmethod
    def _begin(self, problem: PlanProblem) -> None:
        """Forget the last search; nothing is scored here, since no deadline is asked before it."""

    @abstractmethod
    def _iterate(self, problem: PlanProblem, iteration: int) -> tuple[float, float]:
        """Score plans; (violation, energy) of the best scored since `_begin`, both infinite where none is finite."""

    @abstractmethod
    def _best(self) -> tuple[Float32, Float32] | None:
        """Actions `[H, A]` and predicted latents `[H, D]` of the best scored, new arrays; None if none is finite."""

    def _call(self, problem: PlanProblem, iteration: int) -> Sequence[tuple[float, float]]:
        """Run at least one iteration, beginning with this one, without asking for the time between them; what
        `_iterate` returns of each."""
        return [self._iterate(problem, iteration)]

    def _pace_of(self, iteration: int) -> IterationPace:
        """What predicts how long the call that begins with this iteration takes: one for each kind of call that takes a
        time of its own."""
        return self._pace

    def _took_its_time(self) -> bool:
        """Whether the last call took as long as the next of its kind will, and not longer, to make what it needs."""
        return True

    def _judged(self, scores: list[tuple[float, float]]) -> list[tuple[float, float]]:
        """Of the scores after each iteration, those that say whether the search goes on to pay."""
        return scores

    def plan(self, problem: PlanProblem, seconds_left: Callable[[], float] | None = None) -> Plan:
        """Best plan scored; see `Planner.plan`.

        Raises:
            PlanningError: More guesses than samples, or a model or objective that returns the wrong shape.
        """
        self._has_deadline = seconds_left is not None
        self._begin(problem)
        scores: list[tuple[float, float]] = []
        observed: list[IterationPace] = []
        stopped: Literal["iterations", "converged", "deadline"] = "iterations"
        while len(scores) < self.most_iterations:
            pace = self._pace_of(len(scores))
            if not pace.allows(seconds_left):
                stopped = "deadline"
                if pace not in observed:
                    pace.relax(slowly=bool(scores))
                break
            start = self._clock()
            known = len(scores)
            scores += self._call(problem, known)
            if self._took_its_time():
                pace.observe(self._clock() - start)
            observed.append(pace)
            if any(self._converged(self._judged(scores[: known + i + 1])) for i in range(len(scores) - known)):
                stopped = "converged"
                break
        return self._finish(problem, scores, stopped)

    def _converged(self, scores: list[tuple[float, float]]) -> bool:
        """Whether each of the last `patience` iterations lowered the best energy by too little to go on.

        Args:
            scores: (violation, energy) of the best plan after each iteration. While a guardrail is broken, the
                search is for less violation and the energy says nothing; nor does it in the iteration that ends this.
        """
        if self.config.convergence == 0 or len(scores) <= self.config.patience:
            return False
        newest = scores[-self.config.patience - 1 :]
        return all(
            violation_before <= 0 and violation <= 0 and before - energy < self.config.convergence * abs(before)
            for (violation_before, before), (violation, energy) in pairwise(newest)
        )

    def _finish(
        self,
        problem: PlanProblem,
        scores: list[tuple[float, float]],
        stopped: Literal["iterations", "converged", "deadline"],
    ) -> Plan:
        best = self._best()
        violation, energy = scores[-1] if scores else (np.inf, np.inf)
        if best is None:
            size = problem.history.latents.shape[1]
            rest = np.tile(problem.bounds.rest, (problem.horizon, 1))
            best = rest, np.full((problem.horizon, size), np.nan, dtype=np.float32)
            violation = energy = np.inf
        return Plan(
            actions=best[0],
            latents=best[1],
            energy=float(energy),
            energies=np.array([energy for _, energy in scores], dtype=np.float32),
            iterations=len(scores),
            stopped=stopped,
            feasible=bool(violation <= 0),
        )
