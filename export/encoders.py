"""Published image encoders as modules that export: transformers' classes, built from settings, never downloaded.

Positions are baked at the native size: learned embeddings are resized when weights are loaded, rotations are constants.
DINOv2 (Oquab et al. 2023, arXiv:2304.07193), with registers (Darcet et al. 2023, arXiv:2309.16588); DINOv3 (Siméoni et
al. 2025, arXiv:2508.10104); I-JEPA (Assran et al. 2023, arXiv:2301.08243); V-JEPA 2 (Assran et al. 2025,
arXiv:2506.09985).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    IJepaConfig,
    IJepaModel,
    VJEPA2Config,
    VJEPA2Model,
)

from jepa_ros.errors import BundleError
from jepa_ros_export.checkpoint import fill
from jepa_ros_export.encoder_names import Kind, encoder_part, from_original, is_original, own_name, renamed

__all__ = ["FrameTokens", "Kind", "PatchTokens", "from_original", "load_tokens", "tokens_encoder"]


class PatchTokens(nn.Module):
    """Normalised pixels `[N, 3, h, w]` → patch tokens after the final norm `[N, tokens, D]`, row by row.

    Args:
        kind: of the encoder.
        model: transformers' class.
        side: patches along each side of the image.
        prefix: tokens before the patches, class and registers, which are left out.
    """

    def __init__(self, kind: Kind, model: nn.Module, side: int, prefix: int = 0) -> None:
        super().__init__()
        self.kind, self.model, self.side, self.prefix = kind, model, side, prefix
        self.width: int = model.config.hidden_size

    def forward(self, pixels: Tensor) -> Tensor:
        tokens: Tensor = self.model(pixels).last_hidden_state
        return tokens[:, self.prefix :]


class FrameTokens(PatchTokens):
    """The same of a video model: the frame is repeated to fill one tubelet."""

    def forward(self, pixels: Tensor) -> Tensor:
        clip = torch.stack([pixels] * self.model.config.tubelet_size, 1)
        tokens: Tensor = self.model(clip).last_hidden_state
        return tokens


class FixedRotation(nn.Module):
    """cos and sin `[tokens, head size]` of DINOv3's patch centres, which lie in −1 to 1: angle = 2π centre / period.

    Args:
        side: patches along each side. periods: `[head size / 4]`, the same for rows and columns.
    """

    def __init__(self, side: int, periods: Tensor) -> None:
        super().__init__()
        centres = (torch.arange(side) + 0.5) / side * 2 - 1
        grid = torch.stack(torch.meshgrid(centres, centres, indexing="ij"), -1).view(-1, 2, 1)
        angles = (2 * math.pi * grid / periods.float()).flatten(1).tile(2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        self.cos: Tensor
        self.sin: Tensor

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self.cos, self.sin


def tokens_encoder(kind: Kind, settings: Mapping[str, Any]) -> PatchTokens:
    """An encoder with random weights, in evaluation mode; attention is written out, so that it exports.

    Args:
        settings: fields of transformers' config of this kind (`image_size`, `patch_size`, `hidden_size`,
            `num_hidden_layers`, `num_attention_heads`, …); `image_size` is the native size for `vjepa2` too, whose
            config calls it `crop_size`. `num_register_tokens` above 0 makes a DINOv2 one with registers.

    Raises:
        BundleError: a setting that the config does not have, or an image that the patches do not fill.
    """
    given = dict(settings)
    if kind == "vjepa2":
        given["crop_size"] = given.pop("image_size", VJEPA2Config.crop_size)
        given["frames_per_clip"] = given.get("tubelet_size", VJEPA2Config.tubelet_size)
        # The model's own masked predictor comes with the class and is thrown away.
        given.update(pred_num_hidden_layers=1, pred_hidden_size=12, pred_num_attention_heads=1)
    registers = given.get("num_register_tokens", 0)
    if kind == "dinov2" and not registers:
        given.pop("num_register_tokens", None)
        given["use_mask_token"] = False
    config_class, model_class = {
        "dinov2": (Dinov2WithRegistersConfig, Dinov2WithRegistersModel) if registers else (Dinov2Config, Dinov2Model),
        "dinov3": (DINOv3ViTConfig, DINOv3ViTModel),
        "ijepa": (IJepaConfig, IJepaModel),
        "vjepa2": (VJEPA2Config, VJEPA2Model),
    }[kind]
    if unknown := sorted(set(given) - set(config_class.__dataclass_fields__)):
        raise BundleError(f"encoder {kind}: {unknown[0]} is no setting of {config_class.__name__}")
    config = config_class(**given, attn_implementation="eager")
    size, patch = getattr(config, "crop_size", None) or config.image_size, config.patch_size
    if size % patch:
        raise BundleError(f"encoder {kind}: patches of {patch} pixels do not fill an image of {size} pixels")
    model, side = model_class(config).eval(), size // patch
    if kind == "vjepa2":
        return FrameTokens(kind, model.encoder, side)
    if kind == "ijepa":
        return PatchTokens(kind, model, side)
    model.embeddings.mask_token = None  # of pre-training
    if kind == "dinov3":
        model.rope_embeddings = FixedRotation(side, 1 / model.rope_embeddings.inv_freq)
    return PatchTokens(kind, model, side, prefix=1 + registers)


def load_tokens(
    encoder: PatchTokens, state: Mapping[str, Tensor], what: str = "encoder", part: str = "target_encoder"
) -> None:
    """Fill an encoder from a checkpoint of the original project or of transformers.

    Args:
        state: names as the checkpoint has them; other parts of a training checkpoint may be there too.
        what: the part of the model, for messages.
        part: which of a training checkpoint's encoders.

    Raises:
        BundleError: a tensor that is missing, unknown or of another shape, named with both shapes.
    """
    found = encoder_part(state, part)
    original = is_original(found)
    if encoder.kind == "dinov3" and original and "rope_embed.periods" in found:
        # Stored rounded to bfloat16: the original rotates by these, not by what their formula gives.
        encoder.model.rope_embeddings = FixedRotation(encoder.side, found.pop("rope_embed.periods"))
    spelt: dict[str, Tensor] = {}
    own: dict[str, str] = {}
    for name, spelling, tensor in renamed(encoder.kind, found):
        if encoder.kind == "dinov2" and name == "embeddings.position_embeddings":
            tensor = resize_positions(tensor, encoder.side, encoder.prefix > 1, original)
        spelt[spelling], own[spelling] = tensor, name
    fill(encoder.model, spelt, what, rename=lambda name: own.get(name) or own_name(encoder.kind, name))
    encoder.eval()


def resize_positions(positions: Tensor, side: int, registers: bool, original: bool) -> Tensor:
    """DINOv2's embeddings `[1, 1 + n², D]`, trained at 518 pixels, for a grid of `side`² patches.

    Both resize bicubically and differ in the last digits: the original scales by (side + 0.1) / n, and only models with
    registers smooth and scale exactly (`interpolate_offset`, `interpolate_antialias` in its hub); transformers always
    scales exactly. The predictor was trained on one of them.
    """
    n = math.isqrt(positions.shape[1] - 1)
    if n == side or n * n != positions.shape[1] - 1 or positions.dim() != 3:
        return positions  # as it should be, or wrong in a way that loading will name
    grid = positions[:, 1:].float().unflatten(1, (n, n)).permute(0, 3, 1, 2)
    by: dict[str, Any] = {"size": (side, side)}
    if original and not registers:
        by = {"scale_factor": ((side + 0.1) / n,) * 2}
    grid = nn.functional.interpolate(grid, mode="bicubic", antialias=registers, **by)
    return torch.cat([positions[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2).to(positions)], 1)
