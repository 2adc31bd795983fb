"""Layers of jepa-wms' predictor (Terver et al. 2025): an AdaLN transformer with rotary positions in three axes.

Names and order of operations are those of github.com/facebookresearch/jepa-wms, `app/plan_common/models/AdaLN_vit.py`
and `modules.py`; AdaLN is Peebles & Xie 2022 (arXiv 2212.09748), rotary positions Su et al. 2021 (arXiv 2104.09864).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jepa_ros_export.layers import attend, block_causal_mask
from jepa_ros_export.rope import Rope3D, grid_positions

EPS = 1e-6


class Rotary(nn.Module):
    """V-JEPA 2's rotary positions on the channels of one head that divide into three even parts: frame, row, column.

    With proprio a head has 25 channels, an odd number: 24 turn, the last does not.
    """

    def __init__(self, steps: int, side: int, head: int) -> None:
        super().__init__()
        self.turned = 3 * (2 * (head // 3 // 2))
        self.rope = Rope3D(grid_positions(steps, side, side), self.turned)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.rope(x[..., : self.turned]), x[..., self.turned :]], dim=-1)


class RotaryAttention(nn.Module):
    """Multi-head attention whose queries and keys are turned by their token's place."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, rotary: Rotary, mask: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(attend(rotary(q), rotary(k), v, mask).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear layers with the exact GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class AdaLNBlock(nn.Module):
    """A transformer block that each step's action shifts, scales and gates, twice: `[B, T, N, D]`, `[B, T, D]` → x."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn = RotaryAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = MLP(width, hidden)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, condition: Tensor, rotary: Rotary, mask: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(condition)[:, :, None].chunk(6, dim=-1)
        y = self.norm1(x) * (1 + scale1) + shift1
        x = x + gate1 * self.attn(y.flatten(1, 2), rotary, mask).unflatten(1, x.shape[1:3])
        return x + gate2 * self.mlp(self.norm2(x) * (1 + scale2) + shift2)


class AdaLNPredictor(nn.Module):
    """Tokens, features and actions of up to `steps` frames → the next frame's, for each frame.

    The tokens are projected to `width`; `features` `[B, T, N, F]` (the embedded proprio; F may be 0) are concatenated
    to them and come out as the last F channels, normalised but not projected. A token looks at every token of its own
    frame and of earlier ones.

    Args:
        encoded: channels of a token. action: of a step's actions.
    """

    def __init__(
        self, encoded: int, width: int, features: int, action: int, depth: int, heads: int, ratio: float, steps: int,
        side: int,
    ) -> None:  # fmt: skip
        super().__init__()
        total = width + features
        self.width = width
        self.predictor_embed = nn.Linear(encoded, width)
        self.action_encoder = nn.Linear(action, total)
        self.predictor_blocks = nn.ModuleList(AdaLNBlock(total, heads, int(total * ratio)) for _ in range(depth))
        self.predictor_norm = nn.LayerNorm(total, eps=EPS)
        self.predictor_proj = nn.Linear(width, encoded)
        self.rotary = Rotary(steps, side, total // heads)
        self.register_buffer("mask", block_causal_mask(steps, side**2), persistent=False)
        self.mask: Tensor

    def forward(self, tokens: Tensor, features: Tensor | None, action: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, T, N, encoded]`, `[B, T, N, F]` or None, `[B, T, A]` → the first two, one step on."""
        x = self.predictor_embed(tokens)
        if features is not None:
            x = torch.cat([x, features], dim=-1)
        count = x.shape[1] * x.shape[2]
        condition, mask = self.action_encoder(action), self.mask[:count, :count]
        for block in self.predictor_blocks:
            x = block(x, condition, self.rotary, mask)
        x = self.predictor_norm(x)
        return self.predictor_proj(x[..., : self.width]), x[..., self.width :]
