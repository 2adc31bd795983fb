"""PLDM, planning with a latent dynamics model: Sobal et al. (arXiv 2502.14819).

Two published forms, chosen by `latent`: a vector with a gated recurrent predictor (two rooms), and a map of features
beside planes of measured velocity with a residual convolutional predictor (mazes). Names, shapes and the order of
operations were read in the project's public code (zarifikram/PLDM, kevinghst/HWM_PLDM).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from jepa_ros.bundle.manifest import ActionSpec, CostTerm, PlannerDefaults, PredictorSpec, StateTensor, Timing
from jepa_ros.errors import BundleError
from jepa_ros_export.cameras import CAMERAS
from jepa_ros_export.checkpoint import fill, under
from jepa_ros_export.family import FamilyConfig, Parts, State, make_manifest
from jepa_ros_export.layers import Standardise
from jepa_ros_export.pldm_layers import (
    EPSILON,
    FrameScaling,
    MapEncoder,
    MapStep,
    RecurrentStep,
    ResidualEncoder,
    ScaledEncoder,
    StandardisedPredictor,
    map_size,
    own_part,
    planes,
    shake_norms,
)

MARKS = (r"(^|\.)level1\.(backbone|predictor)\.",)

# Where a checkpoint has the model, and what it may have beside it: level 2 plans above this one.
PREFIXES = ("model_state_dict.level1.", "level1.")
BESIDE = ("model_state_dict.level2.", "level2.", "optimizer_state_dict.", "normalizer.")
# Statistics by the names of the original's `Normalizer.save`.
STATISTICS = {"pixel": "state", "action": "action", "proprio": "propio_vel"}

# Of the original's planner, in standardised actions: bound of the norm, and variance of the noise.
MAX_STEP, NOISE_VARIANCE = 2.45, 12.0


class Config(FamilyConfig):
    """Settings of the published two-rooms model; the page of this family has those of the mazes.

    Attributes:
        latent: `vector` or `map`.
        size, channels: of the frame, which is square.
        min_max: whether each channel of each frame is brought to 0…1 before its mean and deviation are used.
        normalize: whether the model was trained on standardised frames and actions. Training estimates the statistics
            anew and saves them apart: those that are None here must be in the checkpoint, under `normalizer.`.
        pixel_mean, pixel_std: one entry a channel; of pixels 0…255, or 0…1 with `min_max`.
        stacks, blocks, width, layer_norm: of the vector's encoder: channels of its stacks, residual blocks a stack,
            size of the latent, and whether encoder and predictor end in LayerNorm.
        convolutions: of the map's encoder: channels, kernel, stride and padding of each.
        predictor_widths, predictor_kernel, residual: of the map's predictor: channels of its convolutions but the
            last, their kernel, and whether they give the change.
    """

    step_s: float = Field(default=0.1, gt=0)
    action: ActionSpec = ActionSpec(
        names=["dx", "dy"], units=["px", "px"], low=[-1.8, -1.8], high=[1.8, 1.8], norm_limit=1.8, frame="image"
    )
    cost: list[CostTerm] = Field(default=[CostTerm(steps="sum")], min_length=1)
    # One iteration in the original, whose mean is the plan; here a plan is scored first, which takes a second one.
    planner: PlannerDefaults = PlannerDefaults(
        name="mppi",
        samples=2000,
        iterations=2,
        elites=2000,
        horizon=96,
        knot=1,
        std=math.sqrt(NOISE_VARIANCE) / MAX_STEP,
        min_std=0.0,
        temperature=0.005,
    )
    latent: Literal["vector", "map"] = "vector"
    size: int = Field(default=65, ge=8)
    channels: Literal[1, 2, 3] = 2
    min_max: bool = True
    normalize: bool = True
    pixel_mean: list[float] | None = None
    pixel_std: list[float] | None = None
    stacks: list[int] = Field(default=[16, 32, 32], min_length=1)
    blocks: int = Field(default=2, ge=1)
    width: int = Field(default=512, ge=1)
    layer_norm: bool = True
    convolutions: list[tuple[int, int, int, int]] = Field(
        default=[(16, 5, 1, 0), (32, 5, 2, 0), (32, 3, 1, 0), (32, 3, 1, 1), (16, 1, 1, 0)], min_length=1
    )
    predictor_widths: list[int] = Field(default=[32, 32], min_length=1)
    predictor_kernel: int = Field(default=3, ge=1)
    residual: bool = True

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.latent == "vector" and self.proprio is not None:
            raise ValueError("proprio goes with latent: map; the vector's encoder takes the frame alone")
        for name in ("pixel_mean", "pixel_std"):
            if (given := getattr(self, name)) is not None and len(given) != self.channels:
                raise ValueError(f"{name} has {len(given)} entries for {self.channels} channels")
        if self.predictor_kernel % 2 == 0:
            raise ValueError("predictor_kernel must be odd")
        if any(size % 4 for size in (*self.predictor_widths, *(layer[0] for layer in self.convolutions[:-1]))):
            raise ValueError("channels inside convolutions and predictor_widths must be multiples of 4, for GroupNorm")
        return self


class _Model(nn.Module):
    """The two networks under the names of a checkpoint."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        actions = len(config.action.names) * config.action.block
        self.backbone: nn.Module
        self.predictor: nn.Module
        if config.latent == "vector":
            self.backbone = ResidualEncoder(
                config.channels, config.size, config.stacks, config.blocks, config.width, config.layer_norm
            )
            self.predictor = RecurrentStep(actions, config.width, config.layer_norm)
        else:
            channels = config.convolutions[-1][0] + (len(config.proprio.names) if config.proprio else 0)
            self.backbone = MapEncoder(config.channels, config.convolutions)
            self.predictor = MapStep(
                channels, actions, config.predictor_widths, config.predictor_kernel, config.residual
            )


class MeasuredEncoder(nn.Module):
    """uint8 `[N, s, s, c]`, measured `[N, P]` in SI units → map `[N, C, h, h]` and planes `[N, P, h, h]`."""

    def __init__(self, scaling: nn.Module, network: nn.Module, standardise: nn.Module) -> None:
        super().__init__()
        self.scaling, self.network, self.standardise = scaling, network, standardise

    def forward(self, image: Tensor, measured: Tensor) -> tuple[Tensor, Tensor]:
        latent = self.network(self.scaling(image))
        return latent, planes(self.standardise(measured), latent.shape[-1])


class MeasuredPredictor(nn.Module):
    """Latent `[B, 1, C, h, h]`, proprio `[B, 1, P, h, h]`, action `[B, 1, A]` → both, one step on."""

    def __init__(self, standardise: nn.Module, step: nn.Module) -> None:
        super().__init__()
        self.standardise, self.step = standardise, step

    def forward(self, latent: Tensor, proprio: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        channels = latent.shape[2]
        state = self.step(torch.cat([latent[:, -1], proprio[:, -1]], 1), self.standardise(action[:, -1]))
        return state[:, :channels], state[:, channels:]


def tiny() -> Config:
    """A vector of 16, from frames of 17 × 17 × 2."""
    return Config(
        size=17,
        stacks=[4, 8],
        blocks=1,
        width=16,
        pixel_mean=[0.05, 0.1],
        pixel_std=[0.1, 0.3],
        action_mean=[0.01, -0.02],
        action_std=[0.75, 0.7],
        planner=PlannerDefaults(
            name="mppi", samples=32, iterations=2, elites=32, horizon=4, knot=1, min_std=0.0, temperature=0.005
        ),
    )


def random_checkpoint(config: Config) -> dict[str, Tensor]:
    """As the original's training saves it, and what `Normalizer.save` does of the statistics that config leaves out."""
    model = _Model(config)
    shake_norms(model)
    state = model.state_dict()
    if config.latent == "vector" and config.layer_norm:
        # One LayerNorm ends both networks (`tie_backbone_ln`), and is saved under both names.
        for name in ("weight", "bias"):
            state[f"predictor.final_ln.{name}"] = state[f"backbone.final_ln.{name}"].clone()
    drawn = {name: torch.rand(size) + 0.5 for name, size in _wanted(config).items()} if config.normalize else {}
    return {
        **{f"model_state_dict.level1.{name}": tensor for name, tensor in state.items()},
        **{f"normalizer.{_theirs(name)}": tensor for name, tensor in drawn.items()},
    }


def build(state: State, config: Config) -> Parts:
    """Encoder and predictor with a checkpoint's weights.

    Raises:
        BundleError: a key that is missing, unknown or of another shape; statistics that nobody gives.
    """
    config = _with_statistics(config, state) if config.normalize else config
    model = _Model(config)
    own = own_part(state, "pldm", PREFIXES, BESIDE)
    # The encoder's moving average is a target of training only.
    fill(model, own, "pldm", rename=lambda name: None if name.startswith("backbone_ema.") else name)
    scaling = FrameScaling(config.pixel_mean, config.pixel_std, config.min_max)
    actions = _standardise(config.action_mean, config.action_std, config.action.block)
    encoder: nn.Module = ScaledEncoder(scaling, model.backbone)
    predictor: nn.Module = StandardisedPredictor(actions, model.predictor)
    if config.proprio is not None:
        measured = _standardise(config.proprio_mean, config.proprio_std)
        encoder = MeasuredEncoder(scaling, model.backbone, measured)
        predictor = MeasuredPredictor(actions, model.predictor)
    manifest = make_manifest(
        "pldm",
        config,
        camera={**CAMERAS["pldm"], "width": config.size, "height": config.size, "channels": config.channels},
        state=_state(config),
        predictor=PredictorSpec(causal=True, max_context=1),
        timing=Timing(step_s=config.step_s),
    )
    return Parts(encoder.eval(), predictor.eval(), manifest)


def _wanted(config: Config) -> dict[str, int]:
    """Statistics that the settings leave out, and how many numbers each is."""
    sizes = {"pixel": config.channels, "action": len(config.action.names)}
    if config.proprio is not None:
        sizes["proprio"] = len(config.proprio.names)
    names = {f"{kind}_{end}": size for kind, size in sizes.items() for end in ("mean", "std")}
    return {name: size for name, size in names.items() if getattr(config, name) is None}


def _theirs(name: str) -> str:
    kind, end = name.split("_")
    return f"{STATISTICS[kind]}_{end}"


def _with_statistics(config: Config, state: State) -> Config:
    """The settings, completed by a normalizer's statistics."""
    wanted = _wanted(config)
    found = {name.replace("proprio", "propio"): tensor for name, tensor in under(state, "normalizer.").items()}
    if missing := [name for name in wanted if _theirs(name) not in found]:
        raise BundleError(
            f"pldm: {', '.join(missing)} must be given with --config, or by --checkpoint normalizer=FILE of what "
            "Normalizer.save wrote where the model was trained; no checkpoint of the model has them"
        )
    for name, size in wanted.items():
        if (shape := list(found[_theirs(name)].shape)) != [size]:
            raise BundleError(
                f"pldm: normalizer.{_theirs(name)} is {shape} in the checkpoint and {[size]} in the model; set the "
                "architecture with --config"
            )
    return config.model_copy(update={name: found[_theirs(name)].tolist() for name in wanted})


def _standardise(mean: list[float] | None, std: list[float] | None, block: int = 1) -> Standardise:
    return Standardise(mean, [value + EPSILON for value in std] if std else None, block)


def _state(config: Config) -> list[StateTensor]:
    if config.latent == "vector":
        return [StateTensor(name="latent", kind="vector", shape=(config.width,))]
    size = map_size(config.size, config.convolutions)
    state = [StateTensor(name="latent", kind="map", shape=(config.convolutions[-1][0], size, size))]
    if config.proprio is not None:
        # Apart from the latent, because the original's cost leaves these planes out.
        shape = (len(config.proprio.names), size, size)
        state.append(StateTensor(name="proprio", kind="map", shape=shape, role="proprio"))
    return state
