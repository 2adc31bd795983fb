"""LeWM's predictor by its new steps alone: the same weights, with keys and values of old steps handed in.

Positions are absolute, so what is kept holds as long as the window does not slide.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (torch's own name for it)

from jepa_ros.bundle.model_spec import CacheSpec
from jepa_ros_export.family import Incremental
from jepa_ros_export.layers import Standardise
from jepa_ros_export.lewm_layers import ActionEmbedder, CausalAttention, HistoryTransformer, Projector


class Condition(nn.Module):
    """action `[B, n, 5·A]` in SI units → the modulations of all blocks `[B, n, depth · 6 · D]`."""

    def __init__(self, standardise: Standardise, embedder: ActionEmbedder, transformer: HistoryTransformer) -> None:
        super().__init__()
        self.standardise, self.action_encoder, self.predictor = standardise, embedder, transformer

    def forward(self, action: Tensor) -> Tensor:
        condition = self.action_encoder(self.standardise(action))
        return torch.cat([block.adaLN_modulation(condition) for block in self.predictor.transformer["layers"]], -1)


class Step(nn.Module):
    """See `Incremental.step`. The last block computes the last step alone: nothing reads the others."""

    def __init__(self, transformer: HistoryTransformer, projector: Projector) -> None:
        super().__init__()
        self.predictor, self.pred_proj = transformer, projector

    def forward(self, latent: Tensor, condition: Tensor, *kept: Tensor) -> tuple[Tensor, ...]:
        new, past = latent.shape[1], kept[0].shape[1]
        place = torch.arange(new) + past
        # Looked up and not sliced: no free size is then held against the table's length.
        x = latent + F.embedding(place, self.predictor.pos_embedding[0])
        mask = torch.arange(past + new) <= place[:, None]
        blocks, given = self.predictor.transformer["layers"], []
        for i, (block, modulation) in enumerate(zip(blocks, condition.chunk(len(blocks), -1), strict=True)):
            if last := i == len(blocks) - 1:
                mask = mask[-1:]
            shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = modulation.chunk(6, -1)
            seen = block.attn.norm(block.norm1(x) * (1 + scale) + shift)
            if last:
                x, gate = x[:, -1:], gate[:, -1:]
                shift_mlp, scale_mlp, gate_mlp = shift_mlp[:, -1:], scale_mlp[:, -1:], gate_mlp[:, -1:]
            q, k, v = _project(block.attn, seen, last)
            given += [k, v]
            keys, values = torch.cat([kept[2 * i], k], 1), torch.cat([kept[2 * i + 1], v], 1)
            x = x + gate * block.attn.attended(q, keys, values, mask)
            x = x + gate_mlp * block.mlp(block.norm2(x) * (1 + scale_mlp) + shift_mlp)
        return self.pred_proj(self.predictor.transformer["norm"](x))[:, 0], *given


def _project(attention: CausalAttention, seen: Tensor, last_only: bool) -> tuple[Tensor, ...]:
    """Query, keys and values of what a block sees, `[B, n, W]`; the query of the last step alone at need."""
    if not last_only:
        return attention.to_qkv(seen).chunk(3, -1)
    weight = attention.to_qkv.weight
    width = len(weight) // 3
    return F.linear(seen[:, -1:], weight[:width]), *F.linear(seen, weight[width:]).chunk(2, -1)


def incremental(
    standardise: Standardise, embedder: ActionEmbedder, transformer: HistoryTransformer, projector: Projector
) -> Incremental:
    """The predictor's parts as two modules, in evaluation mode."""
    return Incremental(Condition(standardise, embedder, transformer).eval(), Step(transformer, projector).eval())


def cache_spec(depth: int, heads: int, head_dim: int, latent: int) -> CacheSpec:
    """Sizes of what is kept."""
    return CacheSpec(layers=depth, width=heads * head_dim, condition=depth * 6 * latent)
