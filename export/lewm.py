"""LeWorldModel (LeWM): a small JEPA trained end to end from pixels, with a causal predictor of up to three steps.

Maes, Le Lidec, Scieur, LeCun & Balestriero, "LeWorldModel: Stable End-to-End Joint-Embedding Predictive Architecture
from Pixels" (2026), arXiv 2603.19312.

Checked against the sources of lucas-maes/le-wm (`jepa.py`, `load_weights.py`, `config/train/model/lewm.yaml`) and
stable-worldmodel (`wm/lewm`): the names and shapes of all tensors, the order of operations and the planner's settings.
le-wm's own `module.py` was not to be had; its names are those that `load_weights.py` and stable-worldmodel's copy agree
on.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from transformers import ViTConfig, ViTModel

from jepa_ros.bundle.manifest import ActionSpec, CostTerm, PlannerDefaults, PredictorSpec, StateTensor, Timing
from jepa_ros_export.cameras import CAMERAS
from jepa_ros_export.checkpoint import fill, under
from jepa_ros_export.family import FamilyConfig, Parts, State, make_manifest
from jepa_ros_export.layers import Pixels, Standardise
from jepa_ros_export.lewm_layers import ActionEmbedder, HistoryTransformer, Projector
from jepa_ros_export.lewm_step import cache_spec, incremental
from jepa_ros_export.patch_models import PUSHT, complete

MARKS = (r".*pred_proj\.net\.0\.weight",)

# transformers' names before version 5, which the published checkpoints have → the names since. In this order: the
# attention's `output.dense` goes before the feed-forward's.
_VIT_NAMES = (
    ("encoder.encoder.layer.", "encoder.layers."),
    (".attention.attention.query.", ".attention.q_proj."),
    (".attention.attention.key.", ".attention.k_proj."),
    (".attention.attention.value.", ".attention.v_proj."),
    (".attention.output.dense.", ".attention.o_proj."),
    (".intermediate.dense.", ".mlp.fc1."),
    (".output.dense.", ".mlp.fc2."),
)


class Config(FamilyConfig):
    """Defaults: the published PushT model. Where `action` is given, its mean and std must be given too.

    Training z-scored actions by its data set and kept the numbers nowhere. `action_mean` and `action_std` are DINO-WM's
    published ones for what we take to be the same recordings; for any other data, compute them.

    Attributes:
        image_size, patch_size: pixels, of a square image. encoder_dim, encoder_depth, encoder_heads: the ViT, "tiny".
        latent: D, of the projected class token. projector_dim: inside both projectors.
        context: steps that the positions reach; `history`, at most that, is how many are kept before planning. The
            original's evaluation keeps 1.
        depth, heads, head_dim, mlp_dim: the predictor.
        action_hidden, action_scale: the action embedder's first width, and its second in latents.
        planner: `std` null takes the original's deviation of 1 in z-scored actions.
    """

    step_s: float = Field(default=PUSHT["step_s"], gt=0)
    action: ActionSpec = PUSHT["action"]
    action_mean: list[float] | None = Field(default=PUSHT["action_mean"])
    action_std: list[float] | None = Field(default=PUSHT["action_std"])
    image_size: int = Field(default=224, ge=1)
    patch_size: int = Field(default=14, ge=1)
    encoder_dim: int = Field(default=192, ge=1)
    encoder_depth: int = Field(default=12, ge=1)
    encoder_heads: int = Field(default=3, ge=1)
    latent: int = Field(default=192, ge=1)
    projector_dim: int = Field(default=2048, ge=1)
    context: int = Field(default=3, ge=1)
    history: int = Field(default=3, ge=1)
    depth: int = Field(default=6, ge=1)
    heads: int = Field(default=16, ge=1)
    head_dim: int = Field(default=64, ge=1)
    mlp_dim: int = Field(default=2048, ge=1)
    action_hidden: int = Field(default=10, ge=1)
    action_scale: int = Field(default=4, ge=1)
    cost: list[CostTerm] = Field(default=[CostTerm(metric="l2", reduction="sum", steps="last")], min_length=1)
    planner: PlannerDefaults = PlannerDefaults(
        name="cem", samples=300, iterations=30, elites=30, horizon=5, knot=1, min_std=0.0, momentum=0.0
    )

    @model_validator(mode="before")
    @classmethod
    def _scaled(cls, given: Any) -> Any:
        return complete(given, {})

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} must be a multiple of patch_size {self.patch_size}")
        if self.encoder_dim % self.encoder_heads:
            raise ValueError(f"encoder_dim {self.encoder_dim} must be a multiple of encoder_heads {self.encoder_heads}")
        if self.history > self.context:
            raise ValueError(f"history {self.history} must not be above context {self.context}")
        return self


class Whole(nn.Module):
    """Every tensor of a checkpoint under its name, but for the ViT's, which transformers has renamed since."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, actions = config.latent, len(config.action.names) * config.action.block
        vit = ViTConfig(
            hidden_size=config.encoder_dim,
            num_hidden_layers=config.encoder_depth,
            num_attention_heads=config.encoder_heads,
            intermediate_size=4 * config.encoder_dim,
            image_size=config.image_size,
            patch_size=config.patch_size,
        )
        self.encoder = ViTModel(vit, add_pooling_layer=False)
        self.projector = Projector(config.encoder_dim, config.projector_dim, width)
        self.action_encoder = ActionEmbedder(actions, config.action_hidden, config.action_scale * width, width)
        self.predictor = HistoryTransformer(
            config.context, width, config.depth, config.heads, config.head_dim, config.mlp_dim
        )
        self.pred_proj = Projector(width, config.projector_dim, width)


class Encoder(nn.Module):
    """Image uint8 `[N, h, w, 3]` → latent `[N, D]`: ImageNet's normalisation, ViT, class token, projector."""

    def __init__(self, whole: Whole) -> None:
        super().__init__()
        self.pixels, self.vit, self.projector = Pixels(), whole.encoder, whole.projector

    def forward(self, image: Tensor) -> Tensor:
        # At the size it was trained for, the interpolation of positions that the original asks for does nothing.
        tokens = self.vit(self.pixels(image)).last_hidden_state
        return self.projector(tokens[:, 0])


class Predictor(nn.Module):
    """latent `[B, T, D]`, action `[B, T, 5·A]` in SI units → what comes after each step `[B, T, D]`, T ≤ context."""

    def __init__(self, whole: Whole, config: Config) -> None:
        super().__init__()
        self.standardise = Standardise(config.action_mean, config.action_std, config.action.block)
        self.action_encoder, self.predictor, self.pred_proj = whole.action_encoder, whole.predictor, whole.pred_proj

    def forward(self, latent: Tensor, action: Tensor) -> Tensor:
        condition = self.action_encoder(self.standardise(action))
        return self.pred_proj(self.predictor(latent, condition))


def tiny() -> Config:
    """A LeWM of a few thousand parameters, for a robot that is told its velocity."""
    return Config(
        name="tiny",
        step_s=0.5,
        action=ActionSpec(
            names=["vx", "wz"], units=["m/s", "rad/s"], block=5, low=[-0.4, -0.9], high=[0.6, 0.9], frame="base_link"
        ),
        action_mean=[0.1, 0.0],
        action_std=[0.25, 0.45],
        image_size=16,
        patch_size=4,
        encoder_dim=12,
        encoder_depth=2,
        encoder_heads=3,
        latent=8,
        projector_dim=16,
        depth=2,
        heads=2,
        head_dim=6,
        mlp_dim=16,
        action_hidden=5,
        action_scale=2,
    )


def random_checkpoint(config: Config) -> dict[str, Tensor]:
    """Weights under the names that the published checkpoints have (`weights.pt`). Nothing is at a neutral value: gates
    are open, and the normalisations' statistics are those of no batch."""
    whole = Whole(config)
    state = whole.state_dict()
    for name, tensor in state.items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif tensor.dim() > 1:
            tensor.normal_(std=tensor[0].numel() ** -0.5)
        elif tensor.is_floating_point():
            tensor.add_(torch.randn_like(tensor), alpha=0.1)
    return {_published(name): tensor.clone() for name, tensor in state.items()}


def build(state: State, config: Config) -> Parts:
    """Encoder and predictor with these weights: of `weights.pt`, or of a Lightning checkpoint's `state_dict`.

    Raises:
        BundleError: a key that is missing, unknown or of another shape, named with both shapes.
    """
    whole, size, several = Whole(config), config.image_size, config.context > 1
    fill(
        whole, under(state, "state_dict.model.", "model.", "state_dict.", ""), "lewm", _renamed, (r".*batches_tracked",)
    )
    manifest = make_manifest(
        "lewm",
        config.model_copy(update={"planner": _planner(config)}),
        camera={**CAMERAS["lewm"], "width": size, "height": size, "resize_to": size},
        state=[StateTensor(name="latent", kind="vector", shape=(config.latent,))],
        predictor=PredictorSpec(
            causal=True,
            max_context=config.context,
            sliding=True,
            output="sequence",
            cache=cache_spec(config.depth, config.heads, config.head_dim, config.latent) if several else None,
        ),
        timing=Timing(
            step_s=config.step_s,
            frame_skip=config.action.block,
            history_min=1,
            history_max=config.history,
            warm_up="grow",
        ),
    )
    predictor = Predictor(whole, config).eval()
    stepwise = incremental(predictor.standardise, whole.action_encoder, whole.predictor, whole.pred_proj)
    return Parts(Encoder(whole).eval(), predictor, manifest, incremental=stepwise if several else None)


def _planner(config: Config) -> PlannerDefaults:
    """The planner with the original's first deviation, 1 in z-scored actions, as a share of half an action's range:
    the mean over components that are not fixed, since the planner has one for all. A `std` that is given stays."""
    action, stds = config.action, config.action_std
    if config.planner.std is not None or stds is None:
        return config.planner
    shares = [
        2 * std / (high - low)
        for name, std, low, high in zip(action.names, stds, action.low, action.high, strict=True)
        if name not in action.fixed
    ]
    return config.planner.model_copy(update={"std": sum(shares) / len(shares)}) if shares else config.planner


def _renamed(name: str) -> str | None:
    """A checkpoint's name → `Whole`'s; None for what a model saved with a pooler or a mask token has beside it."""
    if re.match(r"encoder\.(pooler\.|embeddings\.mask_token)", name):
        return None
    if name.startswith("encoder."):
        for old, new in _VIT_NAMES:
            name = name.replace(old, new, 1)
    return name


def _published(name: str) -> str:
    """`Whole`'s name → the published checkpoints'."""
    if name.startswith("encoder."):
        for old, new in _VIT_NAMES:
            name = name.replace(new, old, 1)
    return name
