"""Open-loop prediction error: how far the model is off after so many steps of what was really done."""

from __future__ import annotations

import itertools

import numpy as np

from jepa_ros.types import Float32
from jepa_ros.world_model import OnnxWorldModel

HORIZON = 8
_BATCH = 64


def open_loop_error(
    model: OnnxWorldModel, runs: list[tuple[list[Float32], list[Float32]]], horizon: int = HORIZON
) -> list[tuple[int, float, float, int]]:
    """Mean squared error by horizon, beside that of copying the last latent; of the latent tensors, as surprise is.

    Args:
        model: predicts.
        runs: unbroken stretches: latents `[D]`, T of them, and the T − 1 actions `[A]` carried out between them.
        horizon: model steps; fewer where the model does not slide and cannot go so far.

    Returns:
        Rows (steps ahead, model's error, copy-last's error, windows).
    """
    if not model.manifest.predictor.sliding:
        horizon = min(horizon, model.context)
    columns = np.r_[tuple(model.layout.seen)]
    starts = [(r, i) for r, (latents, _) in enumerate(runs) for i in range(len(latents) - horizon)]
    if not starts:
        return []
    off = np.zeros((2, horizon))
    # Windows of one length of history go together; only those at a run's begin have less than the whole context.
    starts.sort(key=lambda start: min(start[1] + 1, model.context))
    for known, group in itertools.groupby(starts, lambda start: min(start[1] + 1, model.context)):
        windows = list(group)
        for begin in range(0, len(windows), _BATCH):
            part = windows[begin : begin + _BATCH]
            seen = np.array([runs[r][0][i - known + 1 : i + 1] for r, i in part], np.float32)
            done = np.array([runs[r][1][i - known + 1 : i] for r, i in part], np.float32)
            truth = np.array([runs[r][0][i + 1 : i + 1 + horizon] for r, i in part], np.float32)
            then = np.array([runs[r][1][i : i + horizon] for r, i in part], np.float32)
            predicted = model.rollout(seen, done.reshape(len(part), known - 1, model.action_dim), then)
            for row, said in enumerate((predicted, seen[:, -1:])):
                off[row] += np.square(said - truth)[..., columns].mean(axis=2).sum(axis=0)
    off /= len(starts)
    return [(h + 1, float(off[0, h]), float(off[1, h]), len(starts)) for h in range(horizon)]
