"""Candidate plans in buffers: what is always among them, how they are scored, which was the best."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from jepa_ros.errors import PlanningError
from jepa_ros.planning.config import GUESSES, PlannerConfig
from jepa_ros.planning.policy import PolicyModel, policy_plans
from jepa_ros.planning.problem import PlanProblem
from jepa_ros.planning.search import IteratedPlanner
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
        colour: `[knots, knots]` that the noise is multiplied by along the plan; None leaves it white.
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
        self.colour: Float32 | None = None
        self._knot_noise: Float32 = np.zeros((config.samples, knots, action_size), dtype=np.float32)
        self._knot_of_step = np.arange(horizon) // config.knot

    def draw(self, rng: np.random.Generator) -> None:
        """Fill `candidates` with mean + std × noise, the noise held from knot to knot."""
        rng.standard_normal(dtype=np.float32, out=self._knot_noise)
        noise = self._knot_noise if self.colour is None else np.matmul(self.colour, self._knot_noise)
        # mode="clip": the default mode copies `out` first. The indices are in range by construction.
        np.take(noise, self._knot_of_step, axis=1, out=self.candidates, mode="clip")
        self.candidates *= self.std
        self.candidates += self.mean


class Best:
    """The best plan scored so far, by (violation, energy); both are infinite until one is finite."""

    def __init__(self) -> None:
        self.violation = self.energy = float("inf")
        self.actions: Float32 | None = None
        self.latents: Float32 | None = None

    @property
    def score(self) -> tuple[float, float]:
        """(violation, energy)."""
        return self.violation, self.energy

    def offer(self, violation: float, energy: float, actions: Float32, latents: Float32) -> bool:
        """Remember a plan, actions `[H, A]` and latents `[H, D]`, if it beats the best so far; whether it does."""
        if not (violation, energy) < self.score:
            return False
        self.violation, self.energy = violation, energy
        self.actions, self.latents = actions.copy(), latents.copy()
        return True


class CandidatePlanner(IteratedPlanner):
    """A planner whose iterations score a batch of candidates.

    Every candidate is brought into the bounds before it is scored. The resting plan (the action nearest to zero, held),
    the warm start, the previous plans and the policy's are among them. Only one that was scored is returned.

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
        super().__init__(config, clock)
        self._model = model
        self._rng = np.random.default_rng(seed)
        self._workspace: Workspace | None = None
        self._found = Best()
        self._policy = model if isinstance(model, PolicyModel) and model.has_policy else None
        if config.policy_samples and self._policy is None:
            raise PlanningError("planner setting 'policy_samples' needs a bundle with a policy head; set it to 0")

    @classmethod
    def guesses(cls, config: PlannerConfig) -> int:
        """Samples of an iteration that are given and not drawn, beside `PlanProblem.previous_plans`."""
        return GUESSES + config.policy_samples

    def _best(self) -> tuple[Float32, Float32] | None:
        if self._found.actions is None or self._found.latents is None:
            return None
        return self._found.actions, self._found.latents

    def _space(self, problem: PlanProblem) -> Workspace:
        """The buffers for a problem of this shape, made at its first."""
        shape = (problem.horizon, problem.bounds.low.size)
        if self._workspace is None or self._workspace.shape != shape:
            self._workspace = Workspace(self.config, *shape)
        return self._workspace

    def _prepare(self, problem: PlanProblem) -> Workspace:
        """The workspace with its mean at the warm start (or at rest) and its deviation at the first one."""
        work = self._space(problem)
        guesses = self.guesses(self.config) + len(problem.previous_plans)
        if self.config.samples <= guesses:
            raise PlanningError(f"planner setting 'samples' must be above {guesses}, the guesses always scored")
        self._found = Best()
        work.mean[:] = problem.bounds.rest if problem.warm_start is None else problem.warm_start
        problem.bounds.apply(work.mean)
        work.best[:] = work.mean
        work.std[:] = problem.bounds.half_range * np.float32(self.config.std)
        if self._policy is not None and self.config.policy_samples:
            work.proposed = policy_plans(self._policy, problem, self.config.policy_samples, self._rng)
        return work

    @staticmethod
    def _insert_guesses(work: Workspace, problem: PlanProblem) -> int:
        """Overwrite the first candidates with the plans that are always scored; how many these are."""
        work.candidates[0] = problem.bounds.rest
        work.candidates[1] = problem.bounds.rest if problem.warm_start is None else problem.warm_start
        row = 2
        for guess in (*problem.previous_plans, *work.proposed):
            work.candidates[row] = guess
            row += 1
        return row

    def _score(self, work: Workspace, problem: PlanProblem) -> tuple[NDArray[np.intp], Float32]:
        """Score the candidates and keep the best; their rows `[B]`, best first, and predicted latents `[B, H, D]`."""
        return self._score_rows(problem, work.candidates, work.energy, work.violation)

    def _score_rows(
        self, problem: PlanProblem, rows: Float32, energy: Float32, violation: Float32
    ) -> tuple[NDArray[np.intp], Float32]:
        """As `_score`, of these rows `[B, H, A]`, into `energy` and `violation` `[B]`."""
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is ranked last, not reported
            latents = score(self._model, problem, rows, energy, violation)
        order = np.lexsort((energy, violation))
        row = int(order[0])
        if self._found.offer(float(violation[row]), float(energy[row]), rows[row], latents[row]):
            self._space(problem).best[:] = rows[row]
        return order, latents


def score(model: WorldModel, problem: PlanProblem, candidates: Float32, energy: Float32, violation: Float32) -> Float32:
    """Fill `energy` and `violation` `[B]` of candidates `[B, H, A]`; return the predicted latents `[B, H, D]`.

    Both are infinite where an energy, a violation or a predicted latent is not a number.

    Raises:
        PlanningError: A model, objective or guardrail that returns the wrong shape.
    """
    history, count = problem.history, len(candidates)
    latents = model.rollout(history.latents, history.actions, candidates)
    if latents.shape != (count, problem.horizon, history.latents.shape[1]):
        raise PlanningError(f"the model's rollout has shape {latents.shape} for {candidates.shape} actions")
    found = problem.objective(latents, candidates)
    if found.shape != energy.shape:
        raise PlanningError(f"the objective returned shape {found.shape} for {count} candidates")
    energy[:] = found
    violation[:] = 0
    for guardrail in problem.guardrails:
        broken_by = guardrail(latents, candidates)
        if broken_by.shape != (count,):
            raise PlanningError(f"a guardrail returned shape {broken_by.shape} for {count} candidates")
        # max(NaN, 0) is NaN, ranked last below.
        violation += np.maximum(broken_by, 0)
    # One sum a candidate is finite only if each of its latents is.
    broken = ~np.isfinite(latents.reshape(count, -1).sum(axis=1))
    broken |= ~np.isfinite(energy)
    broken |= ~np.isfinite(violation)
    energy[broken] = np.inf
    violation[broken] = np.inf
    return latents
