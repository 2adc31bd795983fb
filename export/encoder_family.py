"""What the families of encoders alone share: a published encoder, frozen, and a predictor trained on its latents.

A checkpoint has two parts: `encoder.*`, in the spelling of the original project or of transformers, and `predictor.*`,
as `own_predictor.py` lists it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from jepa_ros.bundle.manifest import ActionSpec, CostTerm, PlannerDefaults, PredictorSpec, StateTensor, Timing
from jepa_ros.errors import BundleError
from jepa_ros_export.cameras import CAMERAS
from jepa_ros_export.checkpoint import fill, under
from jepa_ros_export.encoder_names import check_original, encoder_part, is_original
from jepa_ros_export.encoders import Kind, PatchTokens, load_tokens, tokens_encoder
from jepa_ros_export.family import FamilyConfig, Parts, State, make_manifest
from jepa_ros_export.layers import IMAGENET_MEAN, IMAGENET_STD, Pixels
from jepa_ros_export.own_predictor import OwnPredictor, normalised


class EncoderConfig(FamilyConfig):
    """Architecture of encoder and predictor. Action and `step_s` are the robot's: no published values, none assumed.

    Attributes:
        image_size, patch_size: pixels, of a square image. hidden_size, layers, heads, mlp_size: of the encoder.
        pixel_mean, pixel_std: a channel, of pixels in 0 to 1.
        camera: fields of `CameraSpec` that differ from the original's preprocessing, where your frames were made
            otherwise.
        part: which encoder of a training checkpoint that holds several.
        latent: `pooled`, the mean over patches as one vector, or `tokens`, a grid of means.
        grid: tokens a side for `tokens`; it divides the patches a side.
        history, predictor_width, predictor_depth, predictor_heads: of the predictor.
    """

    image_size: int = Field(default=224, gt=0)
    patch_size: int = Field(gt=0)
    hidden_size: int = Field(gt=0)
    layers: int = Field(gt=0)
    heads: int = Field(gt=0)
    mlp_size: int = Field(gt=0)
    pixel_mean: tuple[float, float, float] = IMAGENET_MEAN
    pixel_std: tuple[float, float, float] = IMAGENET_STD
    camera: dict[str, Any] = Field(default_factory=dict)
    part: str = "target_encoder"
    latent: Literal["pooled", "tokens"] = "pooled"
    grid: int = Field(default=4, gt=0)
    history: int = Field(default=3, gt=0)
    predictor_width: int = Field(default=256, gt=0)
    predictor_depth: int = Field(default=4, gt=0)
    predictor_heads: int = Field(default=4, gt=0)
    cost: list[CostTerm] = Field([CostTerm(source="latent", metric="l2", steps="last")], min_length=1)
    planner: PlannerDefaults = PlannerDefaults(name="cem", samples=128, iterations=5, elites=16, horizon=5)

    @model_validator(mode="after")
    def _fits(self) -> EncoderConfig:
        for width, heads in (("hidden_size", "heads"), ("predictor_width", "predictor_heads")):
            if getattr(self, width) % getattr(self, heads):
                raise ValueError(f"{width} {getattr(self, width)} must be a multiple of {heads} {getattr(self, heads)}")
        if self.latent == "tokens" and self.side % self.grid:
            raise ValueError(f"grid {self.grid} must divide the {self.side} patches along each side")
        if self.proprio is not None:
            raise ValueError("proprio is not taken by this predictor; leave it out")
        return self

    @property
    def side(self) -> int:
        """Patches along each side of the image."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """Tokens of one step's latent."""
        return self.grid**2 if self.latent == "tokens" else 1


class LatentEncoder(nn.Module):
    """Image uint8 `[N, h, w, 3]` → latent `[N, D]` or `[N, grid², D]`: means of patch tokens, normalised.

    Args:
        encoder: of the patch tokens. grid: means a side; None for one mean, a vector.
        mean, std: a channel, of pixels in 0 to 1.
    """

    def __init__(self, encoder: PatchTokens, grid: int | None, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.pixels, self.encoder, self.grid = Pixels(mean, std), encoder, grid

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.encoder(self.pixels(image))
        if self.grid is None:
            return normalised(tokens.mean(1))
        each = self.encoder.side // self.grid
        cells = tokens.unflatten(1, (self.grid, each, self.grid, each)).mean((2, 4))
        return normalised(cells.flatten(1, 2))


@dataclass(frozen=True)
class EncoderFamily:
    """What a family of an encoder alone gives to the export besides its `Config`, from what is its own.

    Args:
        kind: the family and its encoder.
        settings: of `tokens_encoder`.
        shapes: of the encoder's tensors by name, in the original's spelling.
        prefix: of the encoder's names in a checkpoint as published.
    """

    kind: Kind
    settings: Callable[[Any], dict[str, Any]]
    shapes: Callable[[Any], dict[str, tuple[int, ...]]]
    prefix: str

    def modules(self, config: EncoderConfig) -> tuple[LatentEncoder, OwnPredictor]:
        """Encoder and predictor with random weights: what is trained, and what the graphs are made of."""
        encoder = tokens_encoder(self.kind, self.settings(config))
        predictor = OwnPredictor(
            config.hidden_size,
            config.tokens,
            len(config.action.names),
            config.history,
            config.predictor_width,
            config.predictor_depth,
            config.predictor_heads,
            config.action_mean,
            config.action_std,
            config.action.block,
        )
        grid = config.grid if config.latent == "tokens" else None
        return LatentEncoder(encoder, grid, config.pixel_mean, config.pixel_std), predictor

    def random_checkpoint(self, config: EncoderConfig) -> dict[str, Tensor]:
        """The encoder's published names under `prefix`, and `predictor.*`; no tensor is at a neutral value."""
        named = {self.prefix + name: shape for name, shape in self.shapes(config).items()}
        predictor = self.modules(config)[1].state_dict()
        named |= {f"predictor.{name}": tuple(tensor.shape) for name, tensor in predictor.items()}
        state = {}
        for name, shape in named.items():
            state[name] = torch.randn(shape) * 0.1
            if len(shape) > 1 and shape[0] > 1:  # a matrix keeps the size of what it multiplies
                state[name] *= 10 / state[name][0].numel() ** 0.5
            elif name.endswith((".weight", ".gamma")):
                state[name] += 1
        return state

    def build(self, state: State, config: EncoderConfig) -> Parts:
        """The modules with a checkpoint's weights, and the manifest.

        Raises:
            BundleError: a part or a key that is missing, unknown or of another shape, named with both shapes.
        """
        kind = self.kind
        for name, tensor in state.items():
            if not name.startswith(("encoder.", "predictor.")):
                raise BundleError(
                    f"{kind}: the checkpoint has {name} {list(tensor.shape)}, which is neither of encoder.* nor of "
                    "predictor.*; give the parts with --checkpoint encoder=PATH --checkpoint predictor=PATH"
                )
        encoder, predictor = self.modules(config)
        found = encoder_part(under(state, "encoder."), config.part)
        if is_original(found):
            check_original(kind, found, self.shapes(config), f"{kind} encoder")
        load_tokens(encoder.encoder, found, f"{kind} encoder")
        fill(predictor, under(state, "predictor."), f"{kind} predictor")
        grid = None if config.latent != "tokens" else (config.grid, config.grid)
        tokens = StateTensor(name="latent", kind="tokens", shape=(config.tokens, config.hidden_size), grid=grid)
        vector = StateTensor(name="latent", kind="vector", shape=(config.hidden_size,))
        manifest = make_manifest(
            kind,
            config,
            camera_of(kind, config),
            [tokens if config.latent == "tokens" else vector],
            PredictorSpec(causal=True, max_context=config.history, sliding=True, output="sequence"),
            Timing(step_s=config.step_s, frame_skip=config.action.block, history_max=config.history, warm_up="grow"),
        )
        return Parts(encoder.eval(), predictor.eval(), manifest)


def camera_of(kind: Kind, config: EncoderConfig) -> dict[str, Any]:
    """The original's preprocessing at this image size, then what the config says of its own."""
    camera = dict(CAMERAS[kind])
    if "resize_to" in camera:
        camera["resize_to"] = camera["resize_to"] * config.image_size // camera["width"]
    return {**camera, "width": config.image_size, "height": config.image_size, **config.camera}


def tiny_robot() -> dict[str, Any]:
    """The robot and predictor of the families' tiny settings: a model step of two body velocities."""
    return {
        "step_s": 0.4,
        "action": ActionSpec(
            names=["vx", "wz"], units=["m/s", "rad/s"], block=2, low=[-0.5, -1.0], high=[0.5, 1.0], frame="base_link"
        ),
        "action_mean": [0.1, 0.0],
        "action_std": [0.2, 0.5],
        "predictor_width": 16,
        "predictor_depth": 1,
        "predictor_heads": 2,
    }


def common_settings(config: EncoderConfig) -> dict[str, Any]:
    """The settings that transformers' configs of these encoders have under the same names."""
    return {
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
    }


def common_shapes(
    config: EncoderConfig, mlp: Mapping[str, tuple[int, ...]] | None = None, more: Mapping[str, tuple[int, ...]] = {}
) -> dict[str, tuple[int, ...]]:
    """Names and shapes that the projects' transformers have in common: patches, `blocks.N.*` and the final norm.

    Args:
        mlp: the feed-forward's, where it is not two linear layers. more: what each block has besides.
    """
    width, hidden = config.hidden_size, config.mlp_size
    block = {
        **_linear("attn.qkv", width, 3 * width),
        **_linear("attn.proj", width, width),
        **{f"norm{i}.{name}": (width,) for i in (1, 2) for name in ("weight", "bias")},
        **(mlp or {**_linear("mlp.fc1", width, hidden), **_linear("mlp.fc2", hidden, width)}),
        **more,
    }
    return {
        "patch_embed.proj.weight": (width, 3, config.patch_size, config.patch_size),
        "patch_embed.proj.bias": (width,),
        **{f"blocks.{layer}.{name}": shape for layer in range(config.layers) for name, shape in block.items()},
        "norm.weight": (width,),
        "norm.bias": (width,),
    }


def gated(names: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, ...]]:
    """A gated feed-forward's names and shapes, from the inputs and outputs of each of its linear layers."""
    return {name: shape for layer, (n, m) in names.items() for name, shape in _linear(f"mlp.{layer}", n, m).items()}


def _linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
