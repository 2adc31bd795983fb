"""DINO-WM: a ViT that predicts the patch tokens of a frozen DINOv2 (Zhou et al. 2024, arXiv 2411.04983).

Preprocessing, order of operations and the names of parameters are those of github.com/gaoyuezhou/dino_wm:
`models/{visual_world_model,vit,proprio,dino}.py`, `datasets/{img_transforms,pusht_dset,traj_dset}.py`, `conf/`.

The frame is scaled to (−1, 1), resized from 224 to 196 px and encoded as 196 tokens; proprio and the block of actions,
z-scored, are embedded as 10 numbers each, tiled over the tokens and concatenated to them. The predictor answers for all
of that; its action slots are dropped, since the next action is put there.

Each token carries its own copy of the embedded proprio. The original feeds every copy's prediction back, but judges a
plan by the first token's; so there are two tensors: `proprio` [10], the first token's, and `proprio_rest` [195, 10].
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from jepa_ros.bundle.manifest import (
    ActionSpec,
    CostTerm,
    PlannerDefaults,
    ProprioSpec,
    StateTensor,
)
from jepa_ros_export.cameras import CAMERAS
from jepa_ros_export.dino_wm_layers import SquareResize, ViTPredictor
from jepa_ros_export.encoders import tokens_encoder
from jepa_ros_export.family import FamilyConfig, Parts, State
from jepa_ros_export.layers import Pixels, Standardise
from jepa_ros_export.patch_models import (
    PUSHT,
    TINY,
    PointwiseEmbedding,
    check_encoder,
    complete,
    load,
    patch_manifest,
    random_vit,
    random_weights,
)

MARKS = (r".*transformer\.layers\.\d+\.1\.net\.1\.weight",)


class Config(FamilyConfig):
    """Defaults: the published PushT model. Where `action` or `proprio` is given, its mean and std must be given too.

    Attributes:
        proprio: null for a model without it, whose tokens carry the action alone.
        encoder: of DINOv2, as transformers' `Dinov2Config` names it, without the size of the image.
        image_size: pixels that the frame is cropped to; the encoder sees `image_size` / 16 patches along each side.
        history: frames that the predictor's positions hold (the original's `num_hist`).
        observed: frames seen that a plan starts from, at most. The original's planner gives it the newest alone.
        action_width, proprio_width: of the embeddings; depth, heads, head_width, mlp_width: of the predictor.
        planner: `std` null takes the original's σ of 1 in z-scored actions.
    """

    step_s: float = Field(default=PUSHT["step_s"], gt=0)
    action: ActionSpec = PUSHT["action"]
    action_mean: list[float] | None = Field(default=PUSHT["action_mean"])
    action_std: list[float] | None = Field(default=PUSHT["action_std"])
    proprio: ProprioSpec | None = PUSHT["proprio"]
    proprio_mean: list[float] | None = Field(default=PUSHT["proprio_mean"])
    proprio_std: list[float] | None = Field(default=PUSHT["proprio_std"])
    cost: list[CostTerm] = Field(
        default=[CostTerm(source="visual", steps="last"), CostTerm(source="proprio", steps="last")], min_length=1
    )
    planner: PlannerDefaults = PlannerDefaults(
        name="cem", samples=300, iterations=10, elites=30, horizon=5, knot=1, min_std=0.0, momentum=0.0
    )
    encoder: dict[str, Any] = Field(
        default={"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "patch_size": 14}
    )
    image_size: int = Field(default=224, ge=32, multiple_of=16)
    history: int = Field(default=3, ge=1)
    observed: int = Field(default=3, ge=1)
    action_width: int = Field(default=10, ge=1)
    proprio_width: int = Field(default=10, ge=1)
    depth: int = Field(default=6, ge=1)
    heads: int = Field(default=16, ge=1)
    head_width: int = Field(default=64, ge=1)
    mlp_width: int = Field(default=2048, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        alone = isinstance(given, dict) and "proprio" in given and given["proprio"] is None
        return complete(given, {"cost": [CostTerm(source="visual", steps="last")]} if alone else {})

    @model_validator(mode="after")
    def _fits(self) -> Config:
        check_encoder(self.encoder)
        if self.observed > self.history:
            raise ValueError(f"observed {self.observed} must not be above history {self.history}")
        return self

    @property
    def side(self) -> int:
        """Patches along each side of the image."""
        return self.image_size // 16


class Encoder(nn.Module):
    """Image uint8 `[N, h, w, 3]` and measured `[N, P]` → visual `[N, tokens, D]`, proprio `[N, 10]`, proprio_rest."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        size = config.side * config.encoder["patch_size"]
        self.pixels = Pixels(mean=(0.5,) * 3, std=(0.5,) * 3)
        self.resize = SquareResize(config.image_size, size) if size != config.image_size else nn.Identity()
        self.tokens = tokens_encoder("dinov2", {**config.encoder, "image_size": size})

    def see(self, image: Tensor) -> Tensor:
        """Image uint8 `[N, h, w, 3]` → patch tokens `[N, tokens, D]`."""
        return self.tokens(self.resize(self.pixels(image)))

    def forward(self, image: Tensor) -> Tensor:
        return self.see(image)


class ProprioEncoder(Encoder):
    """The same with `measured` `[N, P]` → the tokens, then its embedding as the first token carries it and the rest."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.standardise = Standardise(config.proprio_mean, config.proprio_std)
        self.proprio_encoder = PointwiseEmbedding(len(config.proprio.names), config.proprio_width)

    def forward(self, image: Tensor, measured: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        visual = self.see(image)
        proprio = self.proprio_encoder(self.standardise(measured))
        return visual, proprio, proprio[:, None].expand(-1, visual.shape[1] - 1, -1)


class Predictor(nn.Module):
    """visual `[B, T, tokens, D]`, action `[B, T, block · A]` in the manifest's units → visual, one step on."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.encoded = config.encoder["hidden_size"]
        extra = config.action_width + (config.proprio_width if config.proprio is not None else 0)
        actions = len(config.action.names) * config.action.block
        self.standardise = Standardise(config.action_mean, config.action_std, config.action.block)
        self.action_encoder = PointwiseEmbedding(actions, config.action_width)
        self.predictor = ViTPredictor(
            config.history, config.side**2, self.encoded + extra, config.depth, config.heads, config.head_width,
            config.mlp_width,
        )  # fmt: skip

    def predict(self, tokens: Tensor, action: Tensor) -> Tensor:
        """`[B, T, tokens, D and proprio]` → the same one step on, and the action's slots, which mean nothing."""
        action = self.action_encoder(self.standardise(action))[:, :, None].expand(-1, -1, tokens.shape[2], -1)
        return self.predictor(torch.cat([tokens, action], dim=-1))

    def forward(self, visual: Tensor, action: Tensor) -> Tensor:
        return self.predict(visual, action)[..., : self.encoded]


class ProprioPredictor(Predictor):
    """The same with proprio `[B, T, 10]` and proprio_rest `[B, T, tokens − 1, 10]`, which it predicts too."""

    def forward(
        self, visual: Tensor, proprio: Tensor, proprio_rest: Tensor, action: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        carried = torch.cat([proprio[:, :, None], proprio_rest], dim=2)
        predicted = self.predict(torch.cat([visual, carried], dim=-1), action)
        carried = predicted[..., self.encoded : self.encoded + carried.shape[-1]]
        return predicted[..., : self.encoded], carried[:, :, 0], carried[:, :, 1:]


def tiny() -> Config:
    """A DINO-WM of a few thousand parameters, for a robot that is told its velocity and measures its own."""
    return Config(
        **TINY,
        image_size=32,
        action_width=4,
        proprio_width=3,
        depth=2,
        heads=2,
        head_width=8,
        mlp_width=32,
    )


def random_checkpoint(config: Config) -> dict[str, Tensor]:
    """Weights as `encoder=` (DINOv2's file, whose positions are of 518 pixels) and the original's parts give them."""
    predictor = (Predictor if config.proprio is None else ProprioPredictor)(config)
    state = {f"encoder.{name}": tensor for name, tensor in random_vit("dinov2", config.encoder).items()}
    state |= random_weights(predictor)
    if config.proprio is not None:
        embedding = PointwiseEmbedding(len(config.proprio.names), config.proprio_width)
        state |= {f"proprio_encoder.{name}": tensor for name, tensor in random_weights(embedding).items()}
    return state


def build(state: State, config: Config) -> Parts:
    """Encoder and predictor with these weights.

    Args:
        state: `encoder.*` (`encoder.base_model.*` from a pickled model), `predictor.*`, `action_encoder.*` and, with
            proprio, `proprio_encoder.*`. A decoder and optimisers are left out.

    Raises:
        BundleError: a key that is missing, unknown or of another shape, named with both shapes; no encoder.
    """
    seen = config.proprio is not None
    encoder = (ProprioEncoder if seen else Encoder)(config)
    predictor = (ProprioPredictor if seen else Predictor)(config)
    parts: dict[str, nn.Module] = {"predictor": predictor.predictor, "action_encoder": predictor.action_encoder}
    if isinstance(encoder, ProprioEncoder):
        parts["proprio_encoder"] = encoder.proprio_encoder
    load(state, "dino-wm", encoder.tokens, config.encoder, "dinov2_vits14_pretrain.pth", parts)
    tokens, width = config.side**2, config.proprio_width
    grid = config.side, config.side
    tensors = [StateTensor(name="visual", kind="tokens", shape=(tokens, predictor.encoded), grid=grid)]
    if seen:
        tensors.append(StateTensor(name="proprio", kind="vector", shape=(width,), role="proprio"))
        tensors.append(StateTensor(name="proprio_rest", kind="tokens", shape=(tokens - 1, width), role="proprio"))
    size = config.image_size
    camera = {**CAMERAS["dino_wm"], "width": size, "height": size, "resize_to": size}
    manifest = patch_manifest("dino_wm", config, camera, tensors, config.history)
    return Parts(encoder.eval(), predictor.eval(), manifest)
