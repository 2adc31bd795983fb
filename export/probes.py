"""On what a graph is held against PyTorch: recorded inputs, those at the edges, and random ones.

Each group is compared by itself, so that large values of one do not hide an error in another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Float32 = NDArray[np.float32]
Inputs = dict[str, Tensor]

_RANDOM = 8


@dataclass(frozen=True)
class Probes:
    """Inputs of one graph, by the names it gives them; the first dimension is the batch.

    Attributes:
        recorded: from held-out runs.
        edge: what no camera or planner should give and a robot may meet all the same: black and white images, zero
            latents, the ends of every range.
        random: within the same ranges.
    """

    recorded: Inputs
    edge: Inputs
    random: Inputs

    def groups(self) -> dict[str, Inputs]:
        """By name, the recorded ones first."""
        return {"recorded": self.recorded, "edge": self.edge, "random": self.random}


def image_probes(images: NDArray[np.uint8], rng: np.random.Generator) -> Probes:
    """For an encoder: recorded images uint8 `[N, h, w, 3]`; all black, all white; noise."""
    shape = images.shape[1:]
    flat = np.stack([np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)])
    noise = rng.integers(0, 256, (_RANDOM, *shape), dtype=np.uint8)
    return Probes(*({"image": torch.from_numpy(part)} for part in (images, flat, noise)))


def predictor_probes(
    past: Float32, action: Float32, latents: Float32, low: Float32, high: Float32, rng: np.random.Generator
) -> Probes:
    """For a predictor.

    Args:
        past: recorded contexts `[N, T, D]`; action: the actions after each, `[N, T, A]`.
        latents: all latents known, `[M, D]`: their least and greatest values are the ends of the latents' range.
        low, high: `[A]`, the bundle's action bounds.
    """
    context = past.shape[1]
    least, most = latents.min(0), latents.max(0)
    nothing, rest = np.zeros_like(least), np.clip(np.zeros_like(low), low, high)
    pairs = [
        (nothing, rest), (nothing, low), (nothing, high), (least, low), (most, high), (least, high), (most, low),
    ]  # fmt: skip
    z = np.stack([np.broadcast_to(latent, (context, len(latent))) for latent, _ in pairs])
    a = np.stack([np.broadcast_to(row, (context, len(row))) for _, row in pairs])
    # And from one end of both ranges to the other within one context.
    swing = np.arange(context)[:, None] % 2 == 0
    z = np.concatenate([z, np.where(swing, least, most)[None]])
    a = np.concatenate([a, np.where(swing, low, high)[None]])
    some_z = rng.uniform(least, most, (_RANDOM, context, len(least)))
    some_a = rng.uniform(low, high, (_RANDOM, context, len(low)))
    return Probes(*(_tensors(latent=z, action=a) for z, a in ((past, action), (z, a), (some_z, some_a))))


def value_probes(now: Float32, latents: Float32, rng: np.random.Generator) -> Probes:
    """For a head on a latent and a goal: recorded ones `[N, D]` with one another as goals; at the goal, from zero, and
    across the whole range (of `latents` `[M, D]`); random ones."""
    least, most = latents.min(0), latents.max(0)
    nothing = np.zeros_like(least)
    latent, goal = np.stack([now[0], nothing, nothing, least, most]), np.stack([now[0], nothing, now[0], most, least])
    some = rng.uniform(least, most, (2, _RANDOM, len(least)))
    pairs = ((now, now[::-1]), (latent, goal), (some[0], some[1]))
    return Probes(*(_tensors(latent=one, goal=other) for one, other in pairs))


def _tensors(**arrays: NDArray[np.floating]) -> Inputs:
    return {name: torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)) for name, array in arrays.items()}
