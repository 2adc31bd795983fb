"""Plans that a bundle's policy proposes: samples to begin a search with.

TD-MPC2 (Hansen et al., 2024, section 3.2): some of each iteration's samples are the policy's, rolled out in the model.
A policy may act by a goal (goal-conditioned): it is given the one that the problem's objective measures distances from.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from jepa_ros.errors import PlanningError
from jepa_ros.guardrails import Sum
from jepa_ros.planning.cost import GoalObjective
from jepa_ros.planning.problem import PlanProblem
from jepa_ros.protocols import Objective, WorldModel
from jepa_ros.types import Float32


@runtime_checkable
class PolicyModel(WorldModel, Protocol):
    """A world model with a policy on its latents."""

    @property
    def has_policy(self) -> bool:
        """Whether this one has."""
        ...

    @property
    def policy_needs_goal(self) -> bool:
        """Whether the policy acts by a goal."""
        ...

    def policy(self, latents: Float32, noise: Float32, goal: Float32 | None = None) -> Float32:
        """Latents `[B, D]`, standard normal noise `[B, A]`, of which zeros give the mean, and the goal `[D]` where it
        is needed → actions `[B, A]`."""
        ...


def goal_of(objective: Objective) -> Float32 | None:
    """The goal's latent `[D]` that an objective measures distances from, in a sum the first; None where there is
    none."""
    if isinstance(objective, GoalObjective):
        return objective.goal
    if isinstance(objective, Sum):
        return next((goal for part in objective.parts if (goal := goal_of(part)) is not None), None)
    return None


def policy_plans(model: PolicyModel, problem: PlanProblem, count: int, rng: np.random.Generator) -> Float32:
    """`[count, H, A]` within the bounds: the policy's mean first, then draws of it.

    Raises:
        PlanningError: A policy that acts by a goal, and an objective that has none.
    """
    history, goal = problem.history, goal_of(problem.objective) if model.policy_needs_goal else None
    if goal is None and model.policy_needs_goal:
        raise PlanningError(
            "this bundle's policy acts by a goal, and the objective has none: use a GoalObjective, alone or in a Sum, "
            "or set planner setting 'policy_samples' to 0"
        )
    noise = rng.standard_normal((problem.horizon, count, problem.bounds.low.size), dtype=np.float32)
    noise[:, 0] = 0
    plans: Float32 = np.zeros((count, problem.horizon, problem.bounds.low.size), np.float32)
    latents = np.broadcast_to(history.latents[-1], (count, history.latents.shape[1]))
    for h in range(problem.horizon):
        plans[:, h] = problem.bounds.apply(model.policy(latents, noise[h], goal))
        if h + 1 < problem.horizon:
            latents = model.rollout(history.latents, history.actions, plans[:, : h + 1])[:, h]
    return plans
