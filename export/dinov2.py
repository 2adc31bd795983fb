"""DINOv2 as a frozen encoder, with a predictor of one's own.

Oquab et al. 2023, "DINOv2: Learning Robust Visual Features without Supervision", arXiv:2304.07193, section 4; with
registers: Darcet et al. 2023, arXiv:2309.16588. Names, shapes and defaults are those of facebookresearch/dinov2
(`models/vision_transformer.py`, `hub/backbones.py`); the defaults here are `dinov2_vits14`.
"""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from jepa_ros_export.encoder_family import (
    EncoderConfig,
    EncoderFamily,
    common_settings,
    common_shapes,
    gated,
    tiny_robot,
)

MARKS = (r"^encoder\.(\w+\.backbone\.)?pos_embed$", r"^encoder\.encoder\.layer\.\d+\.layer_scale1\.lambda1$")


class Config(EncoderConfig):
    """As `EncoderConfig`, with the values of ViT-S/14.

    Attributes:
        positions: patches a side that the checkpoint's position embeddings are for: 37 of 518 pixels as published.
            They are resized to `image_size`.
        registers: 4 for the models with registers.
        swiglu: the gated feed-forward of ViT-g/14, where `mlp_size` is 6144, of which it keeps two thirds.
    """

    patch_size: int = 14
    hidden_size: int = 384
    layers: int = 12
    heads: int = 6
    mlp_size: int = 1536
    positions: int = 37
    registers: int = 0
    swiglu: bool = False

    @model_validator(mode="after")
    def _whole_ratio(self) -> Config:
        if self.mlp_size % self.hidden_size:
            raise ValueError(f"mlp_size {self.mlp_size} must be a multiple of hidden_size {self.hidden_size}")
        return self


def tiny() -> Config:
    """Settings of a model small enough for tests."""
    return Config(**tiny_robot(), image_size=56, hidden_size=24, layers=2, heads=2, mlp_size=96, positions=6)


def _settings(config: Config) -> dict[str, Any]:
    return {
        **common_settings(config),
        "mlp_ratio": config.mlp_size // config.hidden_size,
        "num_register_tokens": config.registers,
        "use_swiglu_ffn": config.swiglu,
    }


def _shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Of the encoder's tensors, as the project names them."""
    width, kept = config.hidden_size, (config.mlp_size * 2 // 3 + 7) // 8 * 8
    return {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + config.positions**2, width),
        "mask_token": (1, width),
        **({"register_tokens": (1, config.registers, width)} if config.registers else {}),
        **common_shapes(
            config,
            mlp=gated({"w12": (width, 2 * kept), "w3": (kept, width)}) if config.swiglu else None,
            more={"ls1.gamma": (width,), "ls2.gamma": (width,)},
        ),
    }


_FAMILY = EncoderFamily("dinov2", _settings, _shapes, "encoder.")
modules, random_checkpoint, build = _FAMILY.modules, _FAMILY.random_checkpoint, _FAMILY.build
