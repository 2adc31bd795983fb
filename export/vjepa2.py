"""V-JEPA 2's target encoder, frozen, on single frames, with a predictor of one's own.

Assran et al. 2025, "V-JEPA 2: Self-Supervised Video Models Enable Understanding, Prediction and Planning",
arXiv:2506.09985, section 2.1; a frame is repeated to fill the tubelet of two, as its section 3 does for planning.
Names, shapes and defaults are those of facebookresearch/vjepa2 (`src/models/vision_transformer.py`,
`src/hub/backbones.py`); the defaults here are ViT-L, the smallest published. V-JEPA 2-AC, with its own predictor, is
the family `vjepa2-ac`.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from jepa_ros_export.encoder_family import (
    EncoderConfig,
    EncoderFamily,
    common_settings,
    common_shapes,
    tiny_robot,
)

MARKS = (
    r"^encoder\.(target_)?encoder\.(module\.)?backbone\.patch_embed",
    r"^encoder\.encoder\.layer\.\d+\.attention\.query\.weight$",
)


class Config(EncoderConfig):
    """As `EncoderConfig`, with the values of ViT-L at 256 pixels.

    Attributes:
        tubelet: frames that a token spans, all the same one here.
    """

    image_size: int = 256
    patch_size: int = 16
    hidden_size: int = 1024
    layers: int = 24
    heads: int = 16
    mlp_size: int = 4096
    tubelet: int = Field(default=2, gt=0)

    @model_validator(mode="after")
    def _head_turns(self) -> Config:
        if self.hidden_size // self.heads < 6:
            raise ValueError(f"heads {self.heads} leave fewer than the 6 values a head that rotations need")
        return self


def tiny() -> Config:
    """Settings of a model small enough for tests."""
    return Config(**tiny_robot(), image_size=64, hidden_size=24, layers=2, heads=2, mlp_size=32)


def _settings(config: Config) -> dict[str, Any]:
    return {
        **common_settings(config),
        "tubelet_size": config.tubelet,
        # transformers cuts the product to a whole number, from below: half a unit keeps it exact.
        "mlp_ratio": (config.mlp_size + 0.5) / config.hidden_size,
    }


def _shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Of the encoder's tensors, as the project names them."""
    width = config.hidden_size
    patches = (width, 3, config.tubelet, config.patch_size, config.patch_size)
    return {**common_shapes(config), "patch_embed.proj.weight": patches}


_FAMILY = EncoderFamily("vjepa2", _settings, _shapes, "encoder.target_encoder.module.backbone.")
modules, random_checkpoint, build = _FAMILY.modules, _FAMILY.random_checkpoint, _FAMILY.build
