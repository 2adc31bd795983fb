"""JEPA-WMs: an AdaLN transformer that predicts the patch tokens of a frozen DINOv2 or DINOv3.

Terver, Yang, Ponce, Bardes & LeCun, "What drives success in physical planning with Joint-Embedding Predictive World
Models?" (2025). Preprocessing, order of operations and names of parameters are those of
github.com/facebookresearch/jepa-wms: `app/plan_common/models/{AdaLN_vit,modules,prop_embedding,dino}.py`,
`app/vjepa_wm/{utils,video_wm,train}.py`, its `modelcustom/simu_env_planning/vit_enc_preds.py` and `configs/`.

An action, embedded inside the predictor, shifts, scales and gates every layer (AdaLN). Proprio is z-scored, embedded as
16 numbers, tiled over the tokens and concatenated to them behind the predictor's input projection; what comes out of
those channels is the next one, for each token its own. So `proprio` is tokens too, [256, 16], and the mean over them is
what the original's cost takes.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from jepa_ros.bundle.manifest import (
    ActionSpec,
    CostTerm,
    PlannerDefaults,
    StateTensor,
)
from jepa_ros_export.cameras import CAMERAS
from jepa_ros_export.encoders import tokens_encoder
from jepa_ros_export.family import FamilyConfig, Parts, State
from jepa_ros_export.jepa_wms_layers import AdaLNPredictor
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

MARKS = (r".*predictor_blocks\.\d+\.adaLN_modulation\.1\.weight",)

_VISUAL = CostTerm(source="visual", steps="last")
_POSE = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")

PRESETS: dict[str, dict[str, Any]] = {
    "sim": {
        **PUSHT,
        "cost": [_VISUAL, CostTerm(source="proprio", weight=0.1, steps="last")],
        "planner": PlannerDefaults(
            name="cem", samples=300, iterations=30, elites=10, horizon=6, knot=1, min_std=0.0, momentum=0.0
        ),
        "encoder_kind": "dinov2",
        "encoder": {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "patch_size": 14},
        "image_size": 224,
        "width": 384,
        "depth": 6,
    },
    "droid": {
        "step_s": 0.25,
        "action": ActionSpec(
            names=[f"d{name}" for name in _POSE],
            units=["m", "m", "m", "rad", "rad", "rad", "1"],
            low=[-0.1] * 6 + [-0.75],
            high=[0.1] * 6 + [0.75],
            delta=True,
        ),
        "action_mean": None,
        "action_std": None,
        "proprio": None,
        "cost": [_VISUAL],
        "planner": PlannerDefaults(
            name="cem", samples=300, iterations=15, elites=10, horizon=3, knot=1, std=1.0, min_std=0.0, momentum=0.0
        ),
        "encoder_kind": "dinov3",
        "encoder": {
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
            "patch_size": 16,
            "num_register_tokens": 4,
        },
        "image_size": 256,
        "width": 1024,
        "depth": 12,
    },
}


class Config(FamilyConfig):
    """What is not given comes from the preset: `sim` is the published PushT model, `droid` the one for DROID's arm.
    Where `action` or `proprio` is given, its mean and std must be given too.

    Attributes:
        preset: whose preprocessing, robot, planner and sizes are the defaults.
        proprio: null for a model without it.
        encoder_kind, encoder: the image encoder and its settings, as transformers' config names them, without the size
            of the image.
        image_size: pixels of the square frame.
        context: frames that the predictor looks at (the original's `ctxt_window`; it was trained with up to four).
        observed: frames seen that a plan starts from, at most. The original's planner gives it the newest alone.
        width, depth, heads, mlp_ratio: of the predictor, its width without proprio's.
        proprio_width: of the embedding.
        planner: `std` null takes the original's σ of 1 in z-scored actions.
    """

    preset: Literal["sim", "droid"] = "sim"
    encoder_kind: Literal["dinov2", "dinov3"]
    encoder: dict[str, Any]
    image_size: int = Field(ge=16)
    context: int = Field(default=2, ge=1, le=4)
    observed: int = Field(default=2, ge=1)
    width: int = Field(ge=1)
    depth: int = Field(ge=1)
    heads: int = Field(default=16, ge=1)
    mlp_ratio: float = Field(default=4.0, gt=0)
    proprio_width: int = Field(default=16, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        preset = dict(PRESETS.get(given.get("preset", "sim"), {})) if isinstance(given, dict) else {}
        if isinstance(given, dict) and "proprio" in given and given["proprio"] is None:
            preset["cost"] = [_VISUAL]
        return complete(given, preset)

    @model_validator(mode="after")
    def _fits(self) -> Config:
        check_encoder(self.encoder, self.encoder_kind)
        if self.observed > self.context:
            raise ValueError(f"observed {self.observed} must not be above context {self.context}")
        if self.total % self.heads:
            raise ValueError(f"heads {self.heads} must divide the predictor's width with proprio, {self.total}")
        return self

    @property
    def side(self) -> int:
        """Patches along each side of the image."""
        return self.image_size // self.encoder["patch_size"]

    @property
    def total(self) -> int:
        """Channels of the predictor: its width, and proprio's."""
        return self.width + (self.proprio_width if self.proprio is not None else 0)


class Encoder(nn.Module):
    """Image uint8 `[N, h, w, 3]` → visual `[N, tokens, D]`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.pixels = Pixels()
        self.tokens = tokens_encoder(config.encoder_kind, {**config.encoder, "image_size": config.image_size})

    def forward(self, image: Tensor) -> Tensor:
        return self.tokens(self.pixels(image))


class ProprioEncoder(nn.Module):
    """Image uint8 `[N, h, w, 3]` and measured `[N, P]` in its units → visual, and proprio `[N, tokens, 16]`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.image = Encoder(config)
        self.standardise = Standardise(config.proprio_mean, config.proprio_std)
        self.proprio_encoder = PointwiseEmbedding(len(config.proprio.names), config.proprio_width)

    def forward(self, image: Tensor, measured: Tensor) -> tuple[Tensor, Tensor]:
        visual = self.image(image)
        proprio = self.proprio_encoder(self.standardise(measured))
        return visual, proprio[:, None].expand(-1, visual.shape[1], -1)


class Predictor(nn.Module):
    """visual `[B, T, tokens, D]`, action `[B, T, block · A]` in the manifest's units → visual, one step on."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.standardise = Standardise(config.action_mean, config.action_std, config.action.block)
        self.predictor = AdaLNPredictor(
            encoded=config.encoder["hidden_size"],
            width=config.width,
            features=config.total - config.width,
            action=len(config.action.names) * config.action.block,
            depth=config.depth,
            heads=config.heads,
            ratio=config.mlp_ratio,
            steps=config.context,
            side=config.side,
        )

    def forward(self, visual: Tensor, action: Tensor) -> Tensor:
        return self.predictor(visual, None, self.standardise(action))[0]


class ProprioPredictor(Predictor):
    """The same with proprio `[B, T, tokens, 16]`, which it predicts too."""

    def forward(self, visual: Tensor, proprio: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        return self.predictor(visual, proprio, self.standardise(action))


def tiny() -> Config:
    """A model of a few thousand parameters in the layout of `sim`, for a robot that is told its velocity."""
    return Config(
        **TINY,
        image_size=28,
        width=20,
        proprio_width=6,
        depth=2,
        heads=2,
    )


def random_checkpoint(config: Config) -> dict[str, Tensor]:
    """Weights as `encoder=` (the encoder's own file) and the original's checkpoint give them, `predictor.module.*` and
    `proprio_encoder.module.*` among them: it is saved from the wrapper that training puts around each part."""
    predictor = random_weights(Predictor(config).predictor)
    # Actions at their bounds are several deviations from their mean. Norms that they shift and scale by more than about
    # one, layer after layer, make gradients so steep that single precision itself is off by 4e-4.
    predictor["action_encoder.weight"] *= 0.3
    state = {f"encoder.{name}": tensor for name, tensor in random_vit(config.encoder_kind, config.encoder).items()}
    state |= {f"predictor.module.{name}": tensor for name, tensor in predictor.items()}
    if config.proprio is not None:
        embedding = random_weights(PointwiseEmbedding(len(config.proprio.names), config.proprio_width))
        state |= {f"proprio_encoder.module.{name}": tensor for name, tensor in embedding.items()}
    return state


def build(state: State, config: Config) -> Parts:
    """Encoder and predictor with these weights.

    Args:
        state: `encoder.*`, `predictor.*` and, with proprio, `proprio_encoder.*`. Optimisers are left out.

    Raises:
        BundleError: a key that is missing, unknown or of another shape, named with both shapes; no encoder.
    """
    predictor = (Predictor if config.proprio is None else ProprioPredictor)(config)
    parts: dict[str, nn.Module] = {"predictor": predictor.predictor}
    tokens = config.side**2
    grid = config.side, config.side
    tensors = [StateTensor(name="visual", kind="tokens", shape=(tokens, config.encoder["hidden_size"]), grid=grid)]
    encoder: Encoder | ProprioEncoder = Encoder(config)
    image = encoder
    if config.proprio is not None:
        encoder = ProprioEncoder(config)
        image = encoder.image
        parts["proprio_encoder"] = encoder.proprio_encoder
        tensors.append(StateTensor(name="proprio", kind="tokens", shape=(tokens, config.proprio_width), role="proprio"))
    file = {"dinov2": "dinov2_vits14_pretrain.pth", "dinov3": "dinov3_vitl16_pretrain_lvd1689m.pth"}
    load(state, "jepa-wms", image.tokens, config.encoder, file[config.encoder_kind], parts)
    camera = {**CAMERAS[f"jepa_wms_{config.preset}"], "width": config.image_size, "height": config.image_size}
    manifest = patch_manifest("jepa_wms", config, camera, tensors, config.context)
    return Parts(encoder.eval(), predictor.eval(), manifest)
