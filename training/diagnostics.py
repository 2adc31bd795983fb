"""Is the latent space alive, and does it know where the dog is? Held-out runs; the only place where truth is used."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from jepa_ros_training.dataset import Runs
from jepa_ros_training.model import WorldModel

_HORIZON = 8


def encode_all(model: WorldModel, images: NDArray[np.uint8], batch: int = 256) -> NDArray[np.float32]:
    """Images uint8 `[N, h, w, 3]` → latents `[N, D]`."""
    device = next(model.parameters()).device
    with torch.inference_mode():
        parts = [
            model.encoder(torch.from_numpy(images[begin : begin + batch]).to(device)).cpu().numpy()
            for begin in range(0, len(images), batch)
        ]
    return np.concatenate(parts)


def effective_rank(latents: NDArray[np.float32]) -> float:
    """Exponential of the entropy of the normalised covariance spectrum (Roy and Vetterli 2007)."""
    spectrum = np.linalg.eigvalsh(np.cov(latents.T)).clip(1e-12)
    share = spectrum / spectrum.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def linear_r2(latents: NDArray[np.float32], targets: NDArray[np.float64]) -> list[float]:
    """R² of ridge regression from latents `[N, D]` to each target `[N, K]`, fitted on one half, scored on the other."""
    inputs = np.concatenate([latents, np.ones((len(latents), 1), np.float32)], 1).astype(np.float64)
    half = len(inputs) // 2
    gram = inputs[:half].T @ inputs[:half] + 1e-3 * half * 1e-3 * np.eye(inputs.shape[1])
    found = inputs[half:] @ np.linalg.solve(gram, inputs[:half].T @ targets[:half])
    residual = ((targets[half:] - found) ** 2).sum(0)
    return [float(r) for r in 1 - residual / ((targets[half:] - targets[half:].mean(0)) ** 2).sum(0)]


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Spearman's correlation of two vectors."""
    ranks = [np.argsort(np.argsort(v)).astype(np.float64) for v in (first, second)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def open_loop_errors(
    model: WorldModel, runs: Runs, latents: NDArray[np.float32], count: int = 1000
) -> dict[str, list[float]]:
    """Mean squared error of rollouts by horizon, beside copying the last latent; 1…8, or as far as the runs go.

    Raises:
        JepaRosError: no run is long enough for one prediction.
    """
    context = model.config.context
    runs.need(context + 1, "open-loop errors")
    horizon = min(_HORIZON, int(runs.length.max()) - context)
    starts = runs.starts(context + horizon)
    starts = starts[np.linspace(0, len(starts) - 1, min(count, len(starts))).astype(int)]
    rows = starts[:, None] + np.arange(context + horizon)
    z, a = torch.from_numpy(latents[rows]), torch.from_numpy(runs.actions[rows])
    device = next(model.parameters()).device
    with torch.inference_mode():
        predicted = model.rollout(z[:, :context].to(device), a[:, : context - 1 + horizon].to(device)).cpu()
    seen, last = z[:, context:], z[:, context - 1 : context]
    return {
        "model": [float(e) for e in ((predicted - seen) ** 2).mean((0, 2))],
        "copy_last": [float(e) for e in ((last - seen) ** 2).mean((0, 2))],
    }


def diagnose(model: WorldModel, runs: Runs, seed: int = 0) -> dict[str, object]:
    """Spread, effective rank, linear probe of pose, rank agreement of latent and true distance, open-loop error.

    Raises:
        JepaRosError: no run is long enough for one prediction.
    """
    latents = encode_all(model, runs.images)
    x, y, yaw = runs.poses.astype(np.float64).T
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(latents))
    truth = np.stack([x, y, np.sin(yaw), np.cos(yaw)], 1)
    r2 = linear_r2(latents[shuffled], truth[shuffled])
    # Pairs up to 40 steps apart in one run: the distances that planning has to rank.
    begin, end = runs.pairs(rng)
    apart = ((latents[begin] - latents[end]) ** 2).mean(1).astype(np.float64)
    turned = np.abs((yaw[begin] - yaw[end] + np.pi) % (2 * np.pi) - np.pi)
    true = np.hypot(x[begin] - x[end], y[begin] - y[end]) + turned
    return {
        "std": float(latents.std(0).mean()),
        "effective_rank": effective_rank(latents),
        "probe_r2": dict(zip(("x", "y", "sin_yaw", "cos_yaw"), r2, strict=True)),
        "spearman": rank_correlation(apart, true),
        "open_loop": open_loop_errors(model, runs, latents),
    }
