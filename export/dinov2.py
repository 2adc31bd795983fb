"""DINOv2 as a frozen encoder, with a predictor of one's own.

Oquab et al. 2023, "DINOv2: Learning Robust Visual Features without Supervision", arXiv:2304.07193, section 4; with
registers: Darcet et al. 2023, arXiv:2309.16588. Names, shapes and defaults are those of facebookresearch/dinov2
(`models/vision_transformer.py`, `hub/backbones.py`); the defaults here are `dinov2_vits14`.
"""

from __future__ import annotations

from typing import Any

from pydantic import model_validator
from torch import Tensor

from jepa_ros_export.encoder_family import (
    EncoderConfig,
    LatentEncoder,
    block_shapes,
    build_parts,
    draw_checkpoint,
    gated,
    make_modules,
    tiny_robot,
)
from jepa_ros_export.family import Parts, State
from jepa_ros_export.own_predictor import OwnPredictor

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


def modules(config: Config) -> tuple[LatentEncoder, OwnPredictor]:
    """Encoder and predictor with random weights, to train the predictor with."""
    return make_modules("dinov2", _settings(config), config)


def random_checkpoint(config: Config) -> dict[str, Tensor]:
    """`encoder.*` as in `dinov2_vits14_pretrain.pth`, whose position embeddings are of another size, `predictor.*`."""
    return draw_checkpoint(_shapes(config), "encoder.", modules(config)[1])


def build(state: State, config: Config) -> Parts:
    """The modules with these weights.

    Raises:
        BundleError: a key that is missing, unknown or of another shape, named with both shapes.
    """
    return build_parts("dinov2", _settings(config), _shapes(config), state, config)


def _settings(config: Config) -> dict[str, Any]:
    return {
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
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
        "patch_embed.proj.weight": (width, 3, config.patch_size, config.patch_size),
        "patch_embed.proj.bias": (width,),
        **({"register_tokens": (1, config.registers, width)} if config.registers else {}),
        **block_shapes(
            config,
            mlp=gated({"w12": (width, 2 * kept), "w3": (kept, width)}) if config.swiglu else None,
            more={"ls1.gamma": (width,), "ls2.gamma": (width,)},
        ),
    }
