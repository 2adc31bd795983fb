"""V-JEPA 2-AC: a frozen V-JEPA 2 encoder and an action-conditioned predictor in latent space, for robot arms.

Assran et al., V-JEPA 2 (arXiv 2506.09985), section 3. Parameter names, defaults and the order of operations are read
from facebookresearch/vjepa2: `vit_giant_xformers`, `vit_ac_predictor`, and the planner of its notebooks.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from jepa_ros.bundle.manifest import (
    ActionSpec,
    CostTerm,
    PlannerDefaults,
    PredictorSpec,
    ProprioSpec,
    StateTensor,
    Timing,
)
from jepa_ros.errors import BundleError
from jepa_ros_export.cameras import CAMERAS
from jepa_ros_export.checkpoint import fill, under
from jepa_ros_export.family import FamilyConfig, Parts, State, make_manifest
from jepa_ros_export.layers import Standardise
from jepa_ros_export.vjepa2_ac_layers import Encoder, Predictor

FAMILY = "vjepa2_ac"
MARKS = (r"(^|\.)extrinsics_encoder\.weight$", r"(^|\.)state_encoder\.weight$")
_POSE = ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]
_UNITS = ["m", "m", "m", "rad", "rad", "rad", "1"]
# Besides encoder and predictor, what training leaves in a checkpoint.
_UNUSED = ("target_encoder.", "opt.", "scaler.")


class Config(FamilyConfig):
    """Defaults are vjepa2-ac-vitg.pt's: ViT-g, a predictor of 300 M parameters, DROID's Franka arm at 4 Hz.

    Attributes:
        image, patch: pixels of a side; tubelet: frames of a token, all of them the one frame that is seen.
        encoder_width, encoder_depth, encoder_heads, encoder_mlp: the encoder; its width is the latent's.
        predictor_width, predictor_depth, predictor_heads, predictor_mlp: the predictor.
        history: observed model steps that a plan may begin from; the original's planner begins from one.
        max_context: steps that the graph holds, history + horizon − 1 for plans without sliding; 2 is one observed and
            a horizon of 2. Training had 7.
        resize: `center_crop` is the original's planner; its training cut to 1.35 : 1 and stretched (`crop`, `stretch`).
    """

    step_s: float = Field(default=0.25, gt=0)
    action: ActionSpec = ActionSpec(
        names=[f"d{name}" for name in _POSE],
        units=_UNITS,
        low=[-0.05, -0.05, -0.05, -0.25, -0.25, -0.25, -0.75],
        high=[0.05, 0.05, 0.05, 0.25, 0.25, 0.25, 0.75],
        fixed={"droll": 0.0, "dpitch": 0.0, "dyaw": 0.0},
        delta=True,
    )
    proprio: ProprioSpec = ProprioSpec(names=_POSE, units=_UNITS)
    cost: list[CostTerm] = Field(default=[CostTerm(metric="l1", reduction="mean", steps="last")], min_length=1)
    planner: PlannerDefaults = PlannerDefaults(
        name="cem", samples=400, iterations=10, elites=10, horizon=2, knot=1, std=1.0, min_std=0.0, momentum=0.15
    )
    image: int = Field(default=256, gt=0)
    patch: int = Field(default=16, gt=0)
    tubelet: int = Field(default=2, gt=0)
    encoder_width: int = Field(default=1408, gt=0)
    encoder_depth: int = Field(default=40, gt=0)
    encoder_heads: int = Field(default=22, gt=0)
    encoder_mlp: int = Field(default=6144, gt=0)
    predictor_width: int = Field(default=1024, gt=0)
    predictor_depth: int = Field(default=24, gt=0)
    predictor_heads: int = Field(default=16, gt=0)
    predictor_mlp: int = Field(default=4096, gt=0)
    history: int = Field(default=1, gt=0)
    max_context: int = Field(default=2, gt=0)
    resize: Literal["center_crop", "stretch"] = "center_crop"

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.image % self.patch:
            raise ValueError(f"image {self.image} must be a multiple of patch {self.patch}")
        for part in ("encoder", "predictor"):
            width, heads = getattr(self, f"{part}_width"), getattr(self, f"{part}_heads")
            if width % (2 * heads):
                raise ValueError(f"{part}_width {width} must be an even number of channels for each of {heads} heads")
        if self.history > self.max_context:
            raise ValueError(f"history {self.history} must not be above max_context {self.max_context}")
        # The next pose is worked out from these, so what they mean is not free.
        if len(self.action.names) != 7 or self.action.block != 1 or len(self.proprio.names) != 7:
            raise ValueError("action and proprio must be the 7 numbers x, y, z, roll, pitch, yaw, gripper, block 1")
        return self

    @property
    def side(self) -> int:
        """Patches in a row."""
        return self.image // self.patch


def tiny() -> Config:
    """Nine patches, and heads of 12 and 14 channels, of which 12 are turned; no component of the action is fixed."""
    action = Config.model_fields["action"].default.model_copy(update={"fixed": {}})
    return Config(
        action=action,
        image=24, patch=8, encoder_width=24, encoder_depth=2, encoder_heads=2, encoder_mlp=32,
        predictor_width=28, predictor_depth=2, predictor_heads=2, predictor_mlp=32, max_context=3, history=2,
    )  # fmt: skip


def random_checkpoint(config: Config) -> dict[str, Tensor]:
    """As the original's training saves it: two wrapped modules, with a layer that the published model does not use."""
    encoder, predictor = _encoder(config), _predictor(config)
    predictor.extrinsics_encoder = nn.Linear(6, config.predictor_width)
    with torch.no_grad():
        for module in (*encoder.modules(), *predictor.modules()):
            if isinstance(module, nn.LayerNorm):  # fresh ones do nothing
                module.weight.normal_(1.0, 0.1)
                module.bias.normal_(0.0, 0.1)
    parts = {"encoder.module.backbone.": encoder, "predictor.module.": predictor}
    return {prefix + name: tensor for prefix, module in parts.items() for name, tensor in module.state_dict().items()}


def build(state: State, config: Config) -> Parts:
    """Encoder and predictor with these weights.

    Raises:
        BundleError: a key that is missing, unknown or of another shape, named with both shapes.
    """
    known = ("encoder.", "predictor.", *_UNUSED)
    if stray := [name for name in state if not name.startswith(known)]:
        raise BundleError(
            f"{FAMILY}: the checkpoint has {stray[0]} {list(state[stray[0]].shape)}, which belongs neither to "
            "encoder nor to predictor"
        )
    encoder, predictor = _encoder(config), _predictor(config)
    fill(encoder, under(state, "encoder.backbone.", "encoder."), "encoder", _used)
    fill(predictor, under(state, "predictor.backbone.", "predictor."), "predictor", _used)
    tokens = config.side**2
    manifest = make_manifest(
        FAMILY,
        config,
        camera={**CAMERAS[FAMILY], "width": config.image, "height": config.image, "resize": config.resize},
        state=[
            StateTensor(
                name="latent", kind="tokens", shape=(tokens, config.encoder_width), grid=(config.side, config.side)
            ),
            StateTensor(name="pose", kind="vector", shape=(7,), role="proprio"),
        ],
        predictor=PredictorSpec(causal=True, max_context=config.max_context, sliding=True, output="sequence"),
        timing=Timing(step_s=config.step_s, history_min=1, history_max=config.history, warm_up="grow"),
    )
    return Parts(encoder, predictor, manifest)


def _used(name: str) -> str | None:
    """Left out: tables of positions that rotary embedding replaced, and the camera pose that is not put in."""
    return None if name == "pos_embed" or name.startswith("extrinsics_encoder.") else name


def _encoder(config: Config) -> Encoder:
    return Encoder(
        config.image,
        config.patch,
        config.tubelet,
        width=config.encoder_width,
        depth=config.encoder_depth,
        heads=config.encoder_heads,
        hidden=config.encoder_mlp,
    )


def _predictor(config: Config) -> Predictor:
    return Predictor(
        config.side,
        config.encoder_width,
        config.max_context,
        width=config.predictor_width,
        depth=config.predictor_depth,
        heads=config.predictor_heads,
        hidden=config.predictor_mlp,
        action=Standardise(config.action_mean, config.action_std),
        pose=Standardise(config.proprio_mean, config.proprio_std),
    )
