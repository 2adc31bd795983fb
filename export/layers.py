"""What the families' architectures share. Attention is written out, in its mathematical form: the fused operator's
gradient does not convert to ONNX."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Pixels(nn.Module):
    """uint8 `[..., h, w, c]` → float `[..., c, h, w]`, (pixel / 255 − mean) / std.

    Args:
        mean, std: one entry a channel, for pixels in 0 to 1.
    """

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, image: Tensor) -> Tensor:
        return (image.movedim(-1, -3).float() / 255.0 - self.mean) / self.std


class Standardise(nn.Module):
    """(x − mean) / std over the last axis; nothing is done where neither is given.

    Args:
        mean, std: one entry a component, repeated `block` times.
    """

    def __init__(self, mean: Sequence[float] | None, std: Sequence[float] | None, block: int = 1) -> None:
        super().__init__()
        self.identity = mean is None and std is None
        size = len(mean if mean is not None else std if std is not None else [0.0])
        self.register_buffer("mean", torch.tensor(mean or [0.0] * size).repeat(block), persistent=False)
        self.register_buffer("std", torch.tensor(std or [1.0] * size).repeat(block), persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return x if self.identity else (x - self.mean) / self.std


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √d) v for `[..., heads, N, d]`; `mask` `[N, N]` is true where a row may look."""
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(-1) @ v


def block_causal_mask(steps: int, tokens: int) -> Tensor:
    """`[steps · tokens]²`, true where a token may look: at every token of its own step and of earlier ones."""
    return torch.ones(steps, steps, dtype=torch.bool).tril().repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)


class FeedForward(nn.Module):
    """LayerNorm, then two linear layers with GELU between, over the last axis; the identity keeps the place of the
    original's dropout, which numbers the layers."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Identity(), nn.Linear(hidden, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.net(x)
        return found
