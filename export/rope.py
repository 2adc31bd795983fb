"""Rotary position embedding over time, rows and columns, as V-JEPA 2 and jepa-wms have it.

Su et al., RoFormer (arXiv 2104.09864), in three axes: V-JEPA 2 (arXiv 2506.09985), section 2.1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def grid_positions(steps: int, height: int, width: int, conditions: int = 0) -> Tensor:
    """Where each token stands, `[steps · (conditions + height · width), 3]`: time, row, column.

    A step's tokens are its `conditions` (actions, poses) and then its patches, row by row. A condition stands in row 0,
    column 0, which is as if it were turned in time alone.
    """
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    patches = torch.stack([row.flatten(), column.flatten()], -1)
    place = torch.cat([patches.new_zeros(conditions, 2), patches])
    time = torch.arange(steps).repeat_interleave(len(place))[:, None]
    return torch.cat([time, place.repeat(steps, 1)], -1)


class Rope3D(nn.Module):
    """Turns queries and keys by their token's position; angles are tables made here, nothing of them is in a graph.

    A head's channels are a part for each axis, of 2 · ⌊⌊d / 3⌋ / 2⌋, and the rest, which is not turned. Channels 2i and
    2i + 1 of a part turn together in a plane, by position · 10000^(−2j / part). The published weights were trained with
    one slip, kept here: channel c takes frequency j = c mod (part / 2), so that the two of a plane have different ones
    and a score depends on where both tokens stand, not only on how far apart.

    Args:
        positions: `[N, 3]`.
        head: d, channels of a head, even.
    """

    def __init__(self, positions: Tensor, head: int) -> None:
        super().__init__()
        part = 2 * (head // 3 // 2)
        frequency = 10000.0 ** (-torch.arange(part // 2, dtype=torch.float64) / (part / 2))
        turned = (positions.double()[..., None] * frequency.repeat(2)).flatten(1)
        angle = torch.cat([turned, turned.new_zeros(len(positions), head - 3 * part)], -1)
        self.register_buffer("cos", angle.cos().float(), persistent=False)
        self.register_buffer("sin", angle.sin().float(), persistent=False)
        self.cos: Tensor
        self.sin: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """`[..., N, d]` → the same, N being the first positions or all of them."""
        first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
        across = torch.stack((-second, first), -1).flatten(-2)
        tokens = x.shape[-2]
        return x * self.cos[:tokens] + across * self.sin[:tokens]
