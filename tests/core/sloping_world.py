"""The linear world with its derivative, and heads that bend: what planners by gradient are tried in."""

from __future__ import annotations

import numpy as np

from .linear_world import LinearWorld


class SlopingWorld(LinearWorld):
    """latent' = latent + action, followed backward: an action moves every latent after it."""

    has_derivative = True

    def pullback(self, latents, past_actions, actions, predicted, cotangent):
        assert predicted.shape == cotangent.shape == (*actions.shape[:2], self.size)
        return np.cumsum(cotangent[:, ::-1], axis=1)[:, ::-1]

    def head(self, name, latents, goal):
        """Σ sin(latent − goal)."""
        return np.sin(latents - (0 if goal is None else goal)).sum(axis=1)

    def head_gradient(self, name, latents, goal, cotangent):
        return cotangent[:, None] * np.cos(latents - (0 if goal is None else goal))


def slopes(function, array, step):
    """Central differences of a function `[B]` of `array` `[B, …]`, each row for itself."""
    found = np.zeros(array.shape)
    for place in np.ndindex(array.shape[1:]):
        above, below = array.copy(), array.copy()
        above[(slice(None), *place)] += step
        below[(slice(None), *place)] -= step
        found[(slice(None), *place)] = (function(above).astype(float) - function(below)) / (2 * step)
    return found
