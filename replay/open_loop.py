"""Open-loop prediction error: how far the model is off after so many steps of what was really done."""

from __future__ import annotations

import numpy as np

from jepa_ros.types import Float32
from jepa_ros.world_model import OnnxWorldModel

HORIZON = 8
_BATCH = 64


def open_loop_error(
    model: OnnxWorldModel, runs: list[tuple[list[Float32], list[Float32]]], horizon: int = HORIZON
) -> list[tuple[int, float, float, int]]:
    """Mean squared error by horizon, beside that of copying the last latent.

    Args:
        model: predicts.
        runs: unbroken stretches: latents `[D]`, T of them, and the T − 1 actions `[A]` carried out between them.
        horizon: model steps.

    Returns:
        Rows (steps ahead, model's error, copy-last's error, windows).
    """
    context = model.context
    starts = [(r, i) for r, (latents, _) in enumerate(runs) for i in range(len(latents) - horizon)]
    if not starts:
        return []
    off = np.zeros((2, horizon))
    for begin in range(0, len(starts), _BATCH):
        part = starts[begin : begin + _BATCH]
        seen: Float32 = np.zeros((_BATCH, context, model.latent_dim), np.float32)
        done: Float32 = np.zeros((_BATCH, context, model.action_dim), np.float32)
        truth: Float32 = np.zeros((_BATCH, horizon, model.latent_dim), np.float32)
        then: Float32 = np.zeros((_BATCH, horizon, model.action_dim), np.float32)
        for row, (r, i) in enumerate(part):
            latents, actions = runs[r]
            first = max(i - context + 1, 0)
            known = i - first + 1
            seen[row, context - known :] = latents[first : i + 1]
            seen[row, : context - known] = latents[first]
            done[row, context - known : context - 1] = np.reshape(actions[first:i], (known - 1, model.action_dim))
            truth[row] = latents[i + 1 : i + 1 + horizon]
            then[row] = actions[i : i + horizon]
        copied = seen[:, -1].copy()
        for h in range(horizon):
            done[:, -1] = then[:, h]
            following = model.predict(seen, done)
            off[0, h] += float(np.square(following - truth[:, h])[: len(part)].mean(axis=1).sum())
            off[1, h] += float(np.square(copied - truth[:, h])[: len(part)].mean(axis=1).sum())
            seen[:, :-1], seen[:, -1] = seen[:, 1:].copy(), following
            done[:, :-1] = done[:, 1:].copy()
    off /= len(starts)
    return [(h + 1, float(off[0, h]), float(off[1, h]), len(starts)) for h in range(horizon)]
