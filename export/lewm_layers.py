"""The layers of LeWM's predictor and projectors. Attributes are named as in the original's checkpoints.

Maes et al. (2026), arXiv 2603.19312; the AdaLN-zero block is Peebles & Xie, "Scalable Diffusion Models with
Transformers" (ICCV 2023), section 3.2. From the original's sources: a second LayerNorm, with weights, stands in each
branch after the modulated one; the embedding of actions begins with a convolution of one step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (torch's own name for it)

from jepa_ros_export.layers import FeedForward, attend, block_causal_mask


class FrozenBatchNorm(nn.BatchNorm1d):
    """Batch normalisation by the running statistics over the last axis, whatever comes before it."""

    def forward(self, x: Tensor) -> Tensor:
        # Written out: the fused operator's gradient does not convert to ONNX.
        return (x - self.running_mean) * torch.rsqrt(self.running_var + self.eps) * self.weight + self.bias


class Projector(nn.Module):
    """`[..., inputs]` → `[..., outputs]`: linear, batch normalisation, GELU, linear."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(inputs, hidden), FrozenBatchNorm(hidden), nn.GELU(), nn.Linear(hidden, outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class ActionEmbedder(nn.Module):
    """Action blocks `[B, T, 5·A]`, z-scored → `[B, T, outputs]`, each step by itself."""

    def __init__(self, actions: int, first: int, second: int, outputs: int) -> None:
        super().__init__()
        self.patch_embed = nn.Conv1d(actions, first, kernel_size=1)
        self.embed = nn.Sequential(nn.Linear(first, second), nn.SiLU(), nn.Linear(second, outputs))

    def forward(self, action: Tensor) -> Tensor:
        # A convolution over one step is a product; its own gradient does not convert to ONNX.
        return self.embed(F.linear(action, self.patch_embed.weight[..., 0], self.patch_embed.bias))


class CausalAttention(nn.Module):
    """`[B, T, D]` → `[B, T, D]`; a step looks at itself and what came before. Normalises its input."""

    def __init__(self, width: int, heads: int, head_dim: int, context: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.to_qkv = nn.Linear(width, 3 * heads * head_dim, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * head_dim, width))
        self.register_buffer("mask", block_causal_mask(context, 1), persistent=False)
        self.mask: Tensor

    def forward(self, x: Tensor) -> Tensor:
        steps = x.shape[1]
        return self.attended(*self.to_qkv(self.norm(x)).chunk(3, -1), self.mask[:steps, :steps])

    def attended(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """Queries `[B, N, W]`, keys, values `[B, T, W]` → `[B, N, D]`; `mask` `[N, T]` is true where one may look."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        return self.to_out(attend(q, k, v, mask).transpose(1, 2).flatten(2))


class ConditionalBlock(nn.Module):
    """A transformer block; a condition `[B, T, D]` shifts and scales what its branches see and gates what they give."""

    def __init__(self, width: int, heads: int, head_dim: int, mlp_dim: int, context: int) -> None:
        super().__init__()
        self.attn = CausalAttention(width, heads, head_dim, context)
        self.mlp = FeedForward(width, mlp_dim)
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = self.adaLN_modulation(condition).chunk(6, dim=-1)
        x = x + gate * self.attn(self.norm1(x) * (1 + scale) + shift)
        return x + gate_mlp * self.mlp(self.norm2(x) * (1 + scale_mlp) + shift_mlp)


class HistoryTransformer(nn.Module):
    """latent and condition `[B, T, D]` → `[B, T, D]`, with a learned position for each of the `context` steps."""

    def __init__(self, context: int, width: int, depth: int, heads: int, head_dim: int, mlp_dim: int) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.randn(1, context, width))
        self.transformer = nn.ModuleDict(
            {
                "norm": nn.LayerNorm(width),
                "layers": nn.ModuleList(
                    ConditionalBlock(width, heads, head_dim, mlp_dim, context) for _ in range(depth)
                ),
            }
        )

    def forward(self, latent: Tensor, condition: Tensor) -> Tensor:
        x = latent + self.pos_embedding[:, : latent.shape[1]]
        for block in self.transformer["layers"]:
            x = block(x, condition)
        return self.transformer["norm"](x)
