"""I-JEPA's target encoder, frozen, with a predictor of one's own.

Assran et al. 2023, "Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture",
arXiv:2301.08243, section 3; the target encoder is what it evaluates (section 5). Names, shapes and defaults are those
of facebookresearch/ijepa (`src/models/vision_transformer.py`, `src/train.py`); the defaults here are ViT-H/14, the
smallest published.
"""

from __future__ import annotations

from typing import Any

from jepa_ros_export.encoder_family import (
    EncoderConfig,
    EncoderFamily,
    common_settings,
    common_shapes,
    tiny_robot,
)

MARKS = (
    r"^encoder\.(target_)?encoder\.(module\.)?pos_embed$",
    r"^encoder\.(layers|encoder\.layer)\.\d+\.layernorm_before\.weight$",
)


class Config(EncoderConfig):
    """As `EncoderConfig`, with the values of ViT-H/14. `ijepa_vith16_1k` has `image_size` 448 and `patch_size` 16.

    Attributes:
        part: `encoder` is the context encoder, which transformers' converted checkpoints hold.
    """

    patch_size: int = 14
    hidden_size: int = 1280
    layers: int = 32
    heads: int = 16
    mlp_size: int = 5120


def tiny() -> Config:
    """Settings of a model small enough for tests."""
    return Config(**tiny_robot(), image_size=56, hidden_size=24, layers=2, heads=2, mlp_size=32)


def _settings(config: Config) -> dict[str, Any]:
    return {
        **common_settings(config),
        "intermediate_size": config.mlp_size,
        "layer_norm_eps": 1e-6,  # transformers' default is another
    }


def _shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Of the encoder's tensors, as the project names them."""
    return {"pos_embed": (1, config.side**2, config.hidden_size), **common_shapes(config)}


_FAMILY = EncoderFamily("ijepa", _settings, _shapes, "encoder.target_encoder.module.")
modules, random_checkpoint, build = _FAMILY.modules, _FAMILY.random_checkpoint, _FAMILY.build
