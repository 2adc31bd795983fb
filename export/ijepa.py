"""I-JEPA's target encoder, frozen, with a predictor of one's own.

Assran et al. 2023, "Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture",
arXiv:2301.08243, section 3; the target encoder is what it evaluates (section 5). Names, shapes and defaults are those
of facebookresearch/ijepa (`src/models/vision_transformer.py`, `src/train.py`); the defaults here are ViT-H/14, the
smallest published.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from jepa_ros_export.encoder_family import (
    EncoderConfig,
    LatentEncoder,
    block_shapes,
    build_parts,
    draw_checkpoint,
    make_modules,
    tiny_robot,
)
from jepa_ros_export.family import Parts, State
from jepa_ros_export.own_predictor import OwnPredictor

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


def modules(config: Config) -> tuple[LatentEncoder, OwnPredictor]:
    """Encoder and predictor with random weights, to train the predictor with."""
    return make_modules("ijepa", _settings(config), config)


def random_checkpoint(config: Config) -> dict[str, Tensor]:
    """`encoder.target_encoder.*` as in `IN1K-vit.h.14-300e.pth.tar`, and `predictor.*`."""
    return draw_checkpoint(_shapes(config), "encoder.target_encoder.module.", modules(config)[1])


def build(state: State, config: Config) -> Parts:
    """The modules with these weights.

    Raises:
        BundleError: a key that is missing, unknown or of another shape, named with both shapes.
    """
    return build_parts("ijepa", _settings(config), _shapes(config), state, config)


def _settings(config: Config) -> dict[str, Any]:
    return {
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.mlp_size,
        "layer_norm_eps": 1e-6,  # transformers' default is another
    }


def _shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Of the encoder's tensors, as the project names them."""
    width = config.hidden_size
    return {
        "pos_embed": (1, config.side**2, width),
        "patch_embed.proj.weight": (width, 3, config.patch_size, config.patch_size),
        "patch_embed.proj.bias": (width,),
        **block_shapes(config),
    }
