"""What the sampling planners share: draw candidates, roll out, rank, keep the best one scored, respect the clock."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from jepa_ros.errors import PlanningError
from jepa_ros.planning.config import GUESSES, PlannerConfig
from jepa_ros.planning.pacing import IterationPace
from jepa_ros.planning.policy import PolicyModel, policy_plans
from jepa_ros.planning.problem import Plan, PlanProblem
from jepa_ros.protocols import WorldModel
from jepa_ros.types import Float32


class Workspace:
    """Buffers for one horizon and action size, allocated once.

    Attributes:
        candidates: `[B, H, A]` action sequences of this iteration.
        energy, violation: `[B]`; both infinite where the energy or a predicted latent is not a number.
        mean, std: `[H, A]` the search distribution.
        best: `[H, A]` the best actions scored so far.
        proposed: `[P, H, A]` the policy's plans.
    """

    def __init__(self, config: PlannerConfig, horizon: int, action_size: int) -> None:
        knots = -(-horizon // config.knot)
        self.shape = (horizon, action_size)
        self.candidates: Float32 = np.zeros((config.samples, horizon, action_size), dtype=np.float32)
        self.energy: Float32 = np.zeros(config.samples, dtype=np.float32)
        self.violation: Float32 = np.zeros(config.samples, dtype=np.float32)
        self.mean: Float32 = np.zeros(self.shape, dtype=np.float32)
        self.std: Float32 = np.zeros(self.shape, dtype=np.float32)
        self.best: Float32 = np.zeros(self.shape, dtype=np.float32)
        self.proposed: Float32 = np.zeros((0, *self.shape), dtype=np.float32)
        self._knot_noise: Float32 = np.zeros((config.samples, knots, action_size), dtype=np.float32)
        self._knot_of_step = np.arange(horizon) // config.knot

    def draw(self, rng: np.random.Generator) -> None:
        """Fill `candidates` with mean + std × noise, the noise held from knot to knot."""
        rng.standard_normal(dtype=np.float32, out=self._knot_noise)
        # mode="clip": the default mode copies `out` first. The indices are in range by construction.
        np.take(self._knot_noise, self._knot_of_step, axis=1, out=self.candidates, mode="clip")
        self.candidates *= self.std
        self.candidates += self.mean


@dataclass
class _Best:
    """The best scored candidate so far, by (violation, energy)."""

    energy: float = float("inf")
    violation: float = float("inf")
    latents: Float32 | None = None


class SamplingPlanner(ABC):
    """Iterated sampling around a mean that `_refit` moves.

    Every candidate is brought into the bounds before it is scored. The resting plan (the action nearest to zero, held),
    the warm start, the previous plans and the policy's are scored in every iteration; from the second on, so are the
    mean and the best so far. Only a candidate that was scored is returned, never a mean that was not.

    Args:
        model: Rolls candidates out.
        config: Settings.
        seed: Same seed and same problems, same plans.
        clock: Monotonic seconds, to time iterations.

    Raises:
        PlanningError: Samples of a policy that the model does not have.
    """

    def __init__(
        self, model: WorldModel, config: PlannerConfig, seed: int = 0, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.config = config
        self._model = model
        self._rng = np.random.default_rng(seed)
        self._clock = clock
        self._pace = IterationPace()
        self._workspace: Workspace | None = None
        self._policy = model if isinstance(model, PolicyModel) and model.has_policy else None
        if config.policy_samples and self._policy is None:
            raise PlanningError("planner setting 'policy_samples' needs a bundle with a policy head; set it to 0")

    @property
    def horizon(self) -> int:
        """Model steps that the settings ask a plan to have."""
        return self.config.horizon

    @abstractmethod
    def _refit(self, work: Workspace, ranked: NDArray[np.intp], std_floor: Float32) -> None:
        """Move `work.mean` and `work.std`; `ranked` `[≤ elites]` are the best finite candidates, best first."""

    def plan(self, problem: PlanProblem, seconds_left: Callable[[], float] | None = None) -> Plan:
        """Best plan scored; see `Planner.plan`.

        Raises:
            PlanningError: More guesses than samples, or a model or objective that returns the wrong shape.
        """
        work = self._prepare(problem)
        best = _Best()
        scores: list[tuple[float, float]] = []
        std_floor = problem.bounds.half_range * np.float32(self.config.min_std)
        stopped: Literal["iterations", "converged", "deadline"] = "iterations"
        for iteration in range(self.config.iterations):
            if not self._pace.allows(seconds_left):
                stopped = "deadline"
                break
            start = self._clock()
            work.draw(self._rng)
            self._insert_guesses(work, problem, iteration)
            problem.bounds.apply(work.candidates)
            with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is ranked last, not reported
                latents = self._score(work, problem)
            order = np.lexsort((work.energy, work.violation))
            self._keep_best(work, latents, int(order[0]), best)
            scores.append((best.violation, best.energy))
            elites = order[: self.config.elites]
            elites = elites[np.isfinite(work.energy[elites])]
            if elites.size:
                self._refit(work, elites, std_floor)
            self._pace.observe(self._clock() - start)
            if self._converged(scores):
                stopped = "converged"
                break
        if not scores:
            self._pace.relax()
        return self._finish(work, problem, best, [energy for _, energy in scores], stopped)

    def _prepare(self, problem: PlanProblem) -> Workspace:
        """The workspace with its mean at the warm start (or at rest) and its deviation at the first one."""
        shape = (problem.horizon, problem.bounds.low.size)
        work = self._workspace
        if work is None or work.shape != shape:
            work = self._workspace = Workspace(self.config, *shape)
        guesses = GUESSES + len(problem.previous_plans) + self.config.policy_samples
        if self.config.samples <= guesses:
            raise PlanningError(f"planner setting 'samples' must be above {guesses}, the guesses always scored")
        work.mean[:] = problem.bounds.rest if problem.warm_start is None else problem.warm_start
        problem.bounds.apply(work.mean)
        work.best[:] = work.mean
        work.std[:] = problem.bounds.half_range * np.float32(self.config.std)
        if self._policy is not None and self.config.policy_samples:
            work.proposed = policy_plans(self._policy, problem, self.config.policy_samples, self._rng)
        return work

    @staticmethod
    def _insert_guesses(work: Workspace, problem: PlanProblem, iteration: int) -> None:
        """Overwrite the first candidates with the plans that are always scored."""
        work.candidates[0] = problem.bounds.rest
        work.candidates[1] = problem.bounds.rest if problem.warm_start is None else problem.warm_start
        row = 2
        for guess in (*problem.previous_plans, *work.proposed):
            work.candidates[row] = guess
            row += 1
        if iteration > 0:
            work.candidates[row] = work.mean
            work.candidates[row + 1] = work.best

    def _score(self, work: Workspace, problem: PlanProblem) -> Float32:
        """Fill `energy` and `violation`; return the predicted latents `[B, H, D]`."""
        history, count = problem.history, len(work.candidates)
        latents = self._model.rollout(history.latents, history.actions, work.candidates)
        if latents.shape != (count, problem.horizon, history.latents.shape[1]):
            raise PlanningError(f"the model's rollout has shape {latents.shape} for {work.candidates.shape} actions")
        _fill(work.energy, problem.objective(latents, work.candidates), "objective")
        work.violation[:] = 0
        for guardrail in problem.guardrails:
            violation = guardrail(latents, work.candidates)
            if violation.shape != (count,):
                raise PlanningError(f"a guardrail returned shape {violation.shape} for {count} candidates")
            # max(NaN, 0) is NaN, ranked last below.
            work.violation += np.maximum(violation, 0)
        # One sum a candidate is finite only if each of its latents is.
        broken = ~np.isfinite(latents.reshape(count, -1).sum(axis=1))
        broken |= ~np.isfinite(work.energy)
        broken |= ~np.isfinite(work.violation)
        work.energy[broken] = np.inf
        work.violation[broken] = np.inf
        return latents

    @staticmethod
    def _keep_best(work: Workspace, latents: Float32, row: int, best: _Best) -> None:
        """Remember candidate `row` if it beats the best so far."""
        energy, violation = float(work.energy[row]), float(work.violation[row])
        if (violation, energy) < (best.violation, best.energy):
            best.energy, best.violation, best.latents = energy, violation, latents[row].copy()
            work.best[:] = work.candidates[row]

    def _converged(self, scores: list[tuple[float, float]]) -> bool:
        """Whether the last iteration lowered the best energy by too little to go on.

        Args:
            scores: (violation, energy) of the best candidate after each iteration. While a guardrail is broken, the
                search is for less violation and the energy says nothing; nor does it in the iteration that ends this.
        """
        if self.config.convergence == 0 or len(scores) < 2:
            return False
        (violation_before, before), (violation, energy) = scores[-2:]
        if violation_before > 0 or violation > 0:
            return False
        return before - energy < self.config.convergence * abs(before)

    @staticmethod
    def _finish(
        work: Workspace,
        problem: PlanProblem,
        best: _Best,
        energies: list[float],
        stopped: Literal["iterations", "converged", "deadline"],
    ) -> Plan:
        found = best.latents is not None
        size = problem.history.latents.shape[1]
        return Plan(
            actions=work.best.copy() if found else np.tile(problem.bounds.rest, (problem.horizon, 1)),
            latents=best.latents
            if best.latents is not None
            else np.full((problem.horizon, size), np.nan, dtype=np.float32),
            energy=best.energy,
            energies=np.array(energies, dtype=np.float32),
            iterations=len(energies),
            stopped=stopped,
            feasible=found and best.violation <= 0,
        )


def _fill(out: Float32, values: Float32, what: str) -> None:
    if values.shape != out.shape:
        raise PlanningError(f"the {what} returned shape {values.shape} for {len(out)} candidates")
    out[:] = values
