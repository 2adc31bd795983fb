"""A small action-conditioned predictor for the latents of a frozen encoder: what to train on one's own robot's data.

Tokens of up to `history` steps, each with its step's action added, go through a block-causal transformer; what comes
out is added to the token and normalised, so that a rollout stays where the encoder's latents are. DINO-WM (Zhou et al.
2024, arXiv:2411.04983, section 3.1) and V-JEPA 2-AC (Assran et al. 2025, arXiv:2506.09985, section 3) are larger
relatives. Train it on consecutive latents z and actions a with `|predictor(z[:, :-1], a[:, :-1]) − z[:, 1:]|²`.

Its weights, of width W and D numbers a token, P tokens and A action values a step, H steps of history:

    embed.weight [W, D]      embed.bias [W]         tokens in
    action.weight [W, A]     action.bias [W]        actions in, z-scored
    time [H, W]              place [P, W]           positions
    blocks.N.norm1.*         blocks.N.norm2.* [W]   LayerNorms of block N
    blocks.N.qkv.* [3W, W]   blocks.N.out.* [W, W]  attention
    blocks.N.fc1.* [4W, W]   blocks.N.fc2.* [W, 4W] feed-forward, GELU between
    norm.* [W]               head.* [D, W]          out
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm

from jepa_ros_export.layers import Standardise, attend, block_causal_mask


class Block(nn.Module):
    """Pre-norm attention and feed-forward on tokens `[B, N, W]`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.out(attend(q, k, v, mask).transpose(1, 2).flatten(2))
        return x + self.fc2(gelu(self.fc1(self.norm2(x))))


class OwnPredictor(nn.Module):
    """latent `[B, T, D]` or `[B, T, P, D]`, action `[B, T, A]` in SI units → what follows each step, as the latent.

    T is at most `history`. What it says of a step depends on that step and earlier ones only.

    Args:
        latent: D. tokens: P, 1 for a vector. actions: A, of one step without its block.
        history: most steps. width, depth, heads: of the transformer.
        action_mean, action_std: of the training data, one entry a component, repeated over a `block` of actions.
    """

    def __init__(
        self,
        latent: int,
        tokens: int,
        actions: int,
        history: int = 3,
        width: int = 256,
        depth: int = 4,
        heads: int = 4,
        action_mean: Sequence[float] | None = None,
        action_std: Sequence[float] | None = None,
        block: int = 1,
    ) -> None:
        super().__init__()
        self.standardise = Standardise(action_mean, action_std, block)
        self.embed, self.action = nn.Linear(latent, width), nn.Linear(actions * block, width)
        self.time = nn.Parameter(torch.randn(history, width) * 0.02)
        self.place = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, latent)
        self.register_buffer("mask", block_causal_mask(history, tokens), persistent=False)
        self.mask: Tensor

    def forward(self, latent: Tensor, action: Tensor) -> Tensor:
        vector = latent.dim() == 3
        tokens = latent[:, :, None] if vector else latent
        steps, count = tokens.shape[1], tokens.shape[1] * tokens.shape[2]
        x = self.embed(tokens) + self.place + self.time[:steps, None]
        x = (x + self.action(self.standardise(action))[:, :, None]).flatten(1, 2)
        for block in self.blocks:
            x = block(x, self.mask[:count, :count])
        change = self.head(self.norm(x)).unflatten(1, (steps, -1))
        following = normalised(tokens + change)
        return following[:, :, 0] if vector else following


def normalised(x: Tensor) -> Tensor:
    """LayerNorm over the last axis without weights: what encoders give and the predictor keeps to."""
    return layer_norm(x, x.shape[-1:])
