"""DINOv3 as a frozen encoder, with a predictor of one's own.

Siméoni et al. 2025, "DINOv3", arXiv:2508.10104, section 3.2 (architecture, rotary positions). Names, shapes and
defaults are those of facebookresearch/dinov3 (`models/vision_transformer.py`, `hub/backbones.py`); the names inside
`layers/` are from public copies of it. The defaults here are `dinov3_vits16`.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import model_validator
from torch import Tensor

from jepa_ros_export.encoder_family import (
    EncoderConfig,
    EncoderFamily,
    common_settings,
    common_shapes,
    gated,
    tiny_robot,
)

MARKS = (r"^encoder\.(\w+\.backbone\.)?rope_embed\.periods$", r"^encoder\.(model\.)?layer\.\d+\.layer_scale1\.lambda1$")

PERIOD_BASE = 100.0  # of the rotations, `pos_embed_rope_base`


class Config(EncoderConfig):
    """As `EncoderConfig`, with the values of ViT-S/16.

    Attributes:
        mlp_size: inside the feed-forward; a gated one's own, 1536 for ViT-S+/16.
        registers: tokens between the class token and the patches, the project's `n_storage_tokens`.
        swiglu: the gated feed-forward of the "plus" models and of ViT-7B/16.
        qkv_bias: false for ViT-7B/16.
    """

    patch_size: int = 16
    hidden_size: int = 384
    layers: int = 12
    heads: int = 6
    mlp_size: int = 1536
    registers: int = 4
    swiglu: bool = False
    qkv_bias: bool = True
    grid: int = 7

    @model_validator(mode="after")
    def _head_turns(self) -> Config:
        if self.hidden_size % (4 * self.heads):
            raise ValueError(f"hidden_size {self.hidden_size} must be a multiple of 4 · heads, {4 * self.heads}")
        return self


def tiny() -> Config:
    """Settings of a model small enough for tests."""
    return Config(**tiny_robot(), image_size=64, hidden_size=24, layers=2, heads=2, mlp_size=32, registers=2, grid=2)


def _settings(config: Config) -> dict[str, Any]:
    return {
        **common_settings(config),
        "intermediate_size": config.mlp_size,
        "num_register_tokens": config.registers,
        "use_gated_mlp": config.swiglu,
        "hidden_act": "silu" if config.swiglu else "gelu",  # transformers does not see to it
        "query_bias": config.qkv_bias,
        "value_bias": config.qkv_bias,
        "rope_theta": PERIOD_BASE,
    }


def _shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Of the encoder's tensors, as the project names them."""
    width, hidden = config.hidden_size, config.mlp_size
    shapes = {
        "cls_token": (1, 1, width),
        "mask_token": (1, width),
        "rope_embed.periods": (width // config.heads // 4,),
        **({"storage_tokens": (1, config.registers, width)} if config.registers else {}),
        **common_shapes(
            config,
            mlp=gated({"w1": (width, hidden), "w2": (width, hidden), "w3": (hidden, width)}) if config.swiglu else None,
            more={"ls1.gamma": (width,), "ls2.gamma": (width,), "attn.qkv.bias_mask": (3 * width,)},
        ),
    }
    if not config.qkv_bias:
        shapes = {name: shape for name, shape in shapes.items() if ".qkv.bias" not in name}
    return shapes


_FAMILY = EncoderFamily("dinov3", _settings, _shapes, "encoder.")
modules, build = _FAMILY.modules, _FAMILY.build


def random_checkpoint(config: Config) -> dict[str, Tensor]:
    """As the family's, with masks and periods as the published files have them."""
    state = _FAMILY.random_checkpoint(config)
    for name in state:
        if name.endswith("bias_mask"):  # queries, keys, values: only the keys have no bias
            state[name] = torch.tensor([1.0, 0.0, 1.0]).repeat_interleave(config.hidden_size)
    quarter = config.hidden_size // config.heads // 4
    state["encoder.rope_embed.periods"] = PERIOD_BASE ** (torch.arange(quarter) / quarter).bfloat16()  # so rounded
    return state
