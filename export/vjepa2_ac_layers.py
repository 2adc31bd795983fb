"""The two transformers of V-JEPA 2-AC (arXiv 2506.09985, sections 2.1 and 3.1), in the shape that a bundle wants.

Parameters are named as in facebookresearch/vjepa2, so that its checkpoints go in without being renamed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from jepa_ros_export.layers import Pixels, Standardise, attend, block_causal_mask
from jepa_ros_export.rope import Rope3D, grid_positions
from jepa_ros_export.vjepa2_ac_pose import move

_EPS = 1e-6  # of the transformers' own norms; the two without parameters around them have torch's default


class Attention(nn.Module):
    """Self-attention whose queries and keys are turned by their positions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, rope: Rope3D, mask: Tensor | None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(attend(rope(q), rope(k), v, mask).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two layers with the exact GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention, then the MLP, each on the norm of what it is added to."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width, eps=_EPS), Attention(width, heads)
        self.norm2, self.mlp = nn.LayerNorm(width, eps=_EPS), Mlp(width, hidden)

    def forward(self, x: Tensor, rope: Rope3D, mask: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.norm1(x), rope, mask)
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """Video `[N, 3, frames, h, w]` → `[N, tokens, width]`, a token for each tubelet, row by row."""

    def __init__(self, width: int, patch: int, tubelet: int) -> None:
        super().__init__()
        size = (tubelet, patch, patch)
        self.proj = nn.Conv3d(3, width, kernel_size=size, stride=size)

    def forward(self, video: Tensor) -> Tensor:
        return self.proj(video).flatten(2).transpose(1, 2)


class Encoder(nn.Module):
    """V-JEPA 2's vision transformer on one frame, shown as often as a tubelet is long; then a norm without parameters.

    Args:
        image, patch: side in pixels; tubelet: frames.
        width, depth, heads, hidden: of the transformer.
    """

    def __init__(self, image: int, patch: int, tubelet: int, width: int, depth: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.tubelet, self.pixels = tubelet, Pixels()
        self.patch_embed = PatchEmbed(width, patch, tubelet)
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=_EPS)
        side = image // patch
        self.rope = Rope3D(grid_positions(1, side, side), width // heads)

    def forward(self, image: Tensor, measured: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 `[N, h, w, 3]` and pose `[N, 7]` → tokens `[N, tokens, width]` and the pose as it is."""
        video = self.pixels(image)[:, :, None].expand(-1, -1, self.tubelet, -1, -1)
        x = self.patch_embed(video)
        for block in self.blocks:
            x = block(x, self.rope)
        x = self.norm(x)
        # An output must be a tensor of its own: a graph that hands its input through is not portable.
        return functional.layer_norm(x, x.shape[-1:]), measured.clone()


class Predictor(nn.Module):
    """The action-conditioned predictor: a step's tokens are its action, its pose and its patches, in this order.

    A token sees its own step and those before it. What the last block makes of a step's patches is, after a norm
    without parameters, what is seen one step on. The next pose is the pose moved by the action.

    Args:
        side: patches in a row and in a column; latent: width of their tokens.
        context: greatest T.
        width, depth, heads, hidden: of the transformer.
        action, pose: what the model takes of each; states stay in SI units.
    """

    def __init__(
        self,
        side: int,
        latent: int,
        context: int,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
        action: Standardise,
        pose: Standardise,
    ) -> None:
        super().__init__()
        self.action_scale, self.pose_scale = action, pose
        self.predictor_embed = nn.Linear(latent, width)
        self.action_encoder, self.state_encoder = nn.Linear(7, width), nn.Linear(7, width)
        self.predictor_blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(depth))
        self.predictor_norm = nn.LayerNorm(width, eps=_EPS)
        self.predictor_proj = nn.Linear(width, latent)
        self.rope = Rope3D(grid_positions(context, side, side, conditions=2), width // heads)
        self.register_buffer("mask", block_causal_mask(context, 2 + side * side), persistent=False)
        self.mask: Tensor

    def forward(self, latent: Tensor, pose: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, T, tokens, D]`, `[B, T, 7]`, `[B, T, 7]` → tokens and pose one step on, of the same shapes."""
        steps = latent.shape[1]
        conditions = [self.action_encoder(self.action_scale(action)), self.state_encoder(self.pose_scale(pose))]
        x = torch.cat([torch.stack(conditions, 2), self.predictor_embed(latent)], 2).flatten(1, 2)
        mask = self.mask[: x.shape[1], : x.shape[1]]
        for block in self.predictor_blocks:
            x = block(x, self.rope, mask)
        x = x.unflatten(1, (steps, -1))[:, :, len(conditions) :]
        x = self.predictor_proj(self.predictor_norm(x))
        return functional.layer_norm(x, x.shape[-1:]), move(pose, action)
