"""EB-JEPA's action-conditioned model of two rooms (arXiv 2602.03604, its example `ac_video_jepa`).

A frame becomes a vector, which is at once the hidden state of a gated recurrent predictor; the action is its input.
Names, shapes, constants and the order of operations were read in the project's public code (facebookresearch/eb_jepa
in the fork vukrosic/eb_jepa, commit f3f5dfb).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from jepa_ros.bundle.manifest import ActionSpec, CostTerm, PlannerDefaults, PredictorSpec, StateTensor, Timing
from jepa_ros_export.cameras import CAMERAS
from jepa_ros_export.checkpoint import fill
from jepa_ros_export.family import FamilyConfig, Parts, State, make_manifest
from jepa_ros_export.layers import Standardise
from jepa_ros_export.pldm_layers import (
    FrameScaling,
    RecurrentStep,
    ResidualEncoder,
    ScaledEncoder,
    StandardisedPredictor,
    own_part,
    shake_norms,
)

MARKS = (r"(^|\.)encoder\.stack_blocks\.",)

# Where a checkpoint has the model, and what it may have beside it: a probe, optimizers, schedules.
PREFIXES = ("jepa_state_dict.",)
BESIDE = (
    "xy_head_state_dict.",
    "jepa_optimizer_state_dict.",
    "jepa_scheduler_state_dict.",
    "probe_optimizer_state_dict.",
    "probe_scheduler_state_dict.",
)

# Of the original's planner, in pixels a step: greatest norm of an action, and deviation of the noise.
MAX_STEP, NOISE_STD = 2.45, 2.0
# Of the original's planner, which multiplies the energy by it.
TEMPERATURE = 0.005


class Config(FamilyConfig):
    """Settings of the published model.

    Attributes:
        size, channels: of the frame, which is square (`img_size`, `dobs`).
        pixel_mean, pixel_std: one entry a channel, of frames brought to 0…1; constants of the original's code.
        stacks, blocks: channels of the encoder's stacks (16, `henc`, `dstc`), and residual blocks a stack.
        width: of the latent.
    """

    step_s: float = Field(default=0.1, gt=0)
    action: ActionSpec = ActionSpec(
        names=["dx", "dy"],
        units=["px", "px"],
        low=[-MAX_STEP, -MAX_STEP],
        high=[MAX_STEP, MAX_STEP],
        norm_limit=MAX_STEP,
        frame="image",
    )
    cost: list[CostTerm] = Field(default=[CostTerm(steps="sum")], min_length=1)
    planner: PlannerDefaults = PlannerDefaults(
        name="mppi",
        samples=200,
        iterations=20,
        elites=20,
        horizon=90,
        knot=1,
        std=NOISE_STD / MAX_STEP,
        min_std=0.0,
        temperature=1 / TEMPERATURE,
    )
    size: int = Field(default=65, ge=8)
    channels: Literal[1, 2, 3] = 2
    pixel_mean: list[float] = Field(default=[0.0026, 0.0989])
    pixel_std: list[float] = Field(default=[0.0369, 0.2986])
    stacks: list[int] = Field(default=[16, 32, 32], min_length=1)
    blocks: int = Field(default=2, ge=1)
    width: int = Field(default=512, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> Config:
        for name in ("pixel_mean", "pixel_std"):
            if len(given := getattr(self, name)) != self.channels:
                raise ValueError(f"{name} has {len(given)} entries for {self.channels} channels")
        if self.proprio is not None:
            raise ValueError("proprio: this family measures nothing beside the frame")
        return self


class _Model(nn.Module):
    """The two networks under the names of a checkpoint."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        actions = len(config.action.names) * config.action.block
        self.encoder = ResidualEncoder(
            config.channels, config.size, config.stacks, config.blocks, config.width, layer_norm=True
        )
        self.predictor = RecurrentStep(actions, config.width, layer_norm=True)


def tiny() -> Config:
    """A vector of 16, from frames of 17 × 17 × 2."""
    return Config(
        size=17,
        stacks=[4, 8],
        blocks=1,
        width=16,
        planner=PlannerDefaults(
            name="mppi", samples=32, iterations=2, elites=8, horizon=4, knot=1, min_std=0.0, temperature=1 / TEMPERATURE
        ),
    )


def random_checkpoint(config: Config) -> dict[str, Tensor]:
    """As the original's training saves the two networks; it saves more, which is left out of an export."""
    model = _Model(config)
    shake_norms(model)
    state = model.state_dict()
    for name in ("weight", "bias"):
        # One LayerNorm ends both networks and is saved under both names.
        state[f"predictor.final_ln.{name}"] = state[f"encoder.final_ln.{name}"].clone()
    return {f"jepa_state_dict.{name}": tensor for name, tensor in state.items()}


def build(state: State, config: Config) -> Parts:
    """Encoder and predictor with a checkpoint's weights.

    Raises:
        BundleError: a key that is missing, unknown or of another shape.
    """
    model = _Model(config)
    own = own_part(state, "eb-jepa", PREFIXES, BESIDE)
    # What only the training's losses use: inverse dynamics and projections.
    fill(model, own, "eb-jepa", rename=lambda name: None if name.startswith("regularizer.") else name)
    manifest = make_manifest(
        "eb_jepa",
        config,
        camera={**CAMERAS["eb_jepa"], "width": config.size, "height": config.size, "channels": config.channels},
        state=[StateTensor(name="latent", kind="vector", shape=(config.width,))],
        predictor=PredictorSpec(causal=True, max_context=1),
        timing=Timing(step_s=config.step_s),
    )
    return Parts(
        ScaledEncoder(FrameScaling(config.pixel_mean, config.pixel_std, min_max=True), model.encoder).eval(),
        StandardisedPredictor(
            Standardise(config.action_mean, config.action_std, config.action.block), model.predictor
        ).eval(),
        manifest,
    )
