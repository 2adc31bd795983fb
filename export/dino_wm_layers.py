"""Layers of DINO-WM (Zhou et al. 2024, arXiv 2411.04983), written from the paper and the names in its checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from jepa_ros_export.layers import FeedForward, attend, block_causal_mask


class Attention(nn.Module):
    """Multi-head attention behind its own LayerNorm; no bias on queries, keys and values."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.to_qkv = nn.Linear(width, 3 * heads * head_width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * head_width, width))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = self.to_qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.to_out(attend(q, k, v, mask).transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    """Blocks of attention and feed-forward, each added to what it was given, and a norm at the end."""

    def __init__(self, width: int, depth: int, heads: int, head_width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(
            nn.ModuleList([Attention(width, heads, head_width), FeedForward(width, hidden)]) for _ in range(depth)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for attention, feed_forward in self.layers:
            x = x + attention(x, mask)
            x = x + feed_forward(x)
        return self.norm(x)


class ViTPredictor(nn.Module):
    """The predictor of §3.2 and Fig. 2: a ViT over the tokens of up to `steps` frames, `[B, T, N, D]` → the same.

    A token looks at every token of its own frame and of earlier ones; positions are learned, one for each place in the
    window, so a frame's place counts from the window's first.
    """

    def __init__(
        self, steps: int, tokens: int, width: int, depth: int, heads: int, head_width: int, hidden: int
    ) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.randn(1, steps * tokens, width))
        self.transformer = Transformer(width, depth, heads, head_width, hidden)
        self.register_buffer("mask", block_causal_mask(steps, tokens), persistent=False)
        self.mask: Tensor

    def forward(self, x: Tensor) -> Tensor:
        steps, tokens = x.shape[1:3]
        count = steps * tokens
        x = self.transformer(x.flatten(1, 2) + self.pos_embedding[:, :count], self.mask[:count, :count])
        return x.unflatten(1, (steps, tokens))


class SquareResize(nn.Module):
    """`[…, size, size]` → `[…, to, to]`, bilinear with antialiasing, as torchvision resizes tensors from 0.17 on.

    The weights of such a resize do not depend on the image, so it is a matrix on either side: exact, and no operator
    that an accelerator's compiler may lack.
    """

    def __init__(self, size: int, to: int) -> None:
        super().__init__()
        rows = functional.interpolate(torch.eye(size)[None, None], size=(to, size), mode="bilinear", antialias=True)
        self.register_buffer("rows", rows[0, 0], persistent=False)
        self.rows: Tensor

    def forward(self, image: Tensor) -> Tensor:
        return self.rows @ image @ self.rows.T
