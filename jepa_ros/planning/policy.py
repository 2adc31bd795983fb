"""Plans that a bundle's policy proposes: samples to begin a search with.

TD-MPC2 (Hansen et al., 2024, section 3.2): some of each iteration's samples are the policy's, rolled out in the model.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from jepa_ros.planning.problem import PlanProblem
from jepa_ros.protocols import WorldModel
from jepa_ros.types import Float32


@runtime_checkable
class PolicyModel(WorldModel, Protocol):
    """A world model with a policy on its latents."""

    has_policy: bool

    def policy(self, latents: Float32, noise: Float32) -> Float32:
        """Latents `[B, D]`, standard normal noise `[B, A]`, of which zeros give the mean → actions `[B, A]`."""
        ...


def policy_plans(model: PolicyModel, problem: PlanProblem, count: int, rng: np.random.Generator) -> Float32:
    """`[count, H, A]` within the bounds: the policy's mean first, then draws of it."""
    history = problem.history
    noise = rng.standard_normal((problem.horizon, count, problem.bounds.low.size), dtype=np.float32)
    noise[:, 0] = 0
    plans: Float32 = np.zeros((count, problem.horizon, problem.bounds.low.size), np.float32)
    latents = np.broadcast_to(history.latents[-1], (count, history.latents.shape[1]))
    for h in range(problem.horizon):
        plans[:, h] = problem.bounds.apply(model.policy(latents, noise[h]))
        if h + 1 < problem.horizon:
            latents = model.rollout(history.latents, history.actions, plans[:, : h + 1])[:, h]
    return plans
