"""What a model family gives to the export: its settings, and its modules in the shape that a bundle wants.

A family is a file of this room, registered in `families.py`, that has

- `Config`: a `FamilyConfig` whose defaults are the published model's;
- `tiny()`: a `Config` of a few thousand parameters, to try things with;
- `random_checkpoint(config)`: weights under the names and shapes that the original's checkpoints have;
- `build(state, config)`: `Parts` from such weights;
- `MARKS`: patterns of parameter names that only checkpoints of this family have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import Field, model_validator
from torch import Tensor, nn

from jepa_ros.bundle.manifest import (
    ActionSpec,
    Calibration,
    CameraSpec,
    CostTerm,
    Head,
    Manifest,
    Mount,
    PlannerDefaults,
    PredictorSpec,
    ProprioSpec,
    StateTensor,
    Timing,
)
from jepa_ros.bundle.model_spec import Strict

State = Mapping[str, Tensor]


class FamilyConfig(Strict):
    """What a checkpoint does not say itself; `--config FILE` overrides any of it. Families add their architecture.

    Attributes:
        name: of the bundle; empty takes the folder's. licence, source: of the weights.
        step_s: one model step in s.
        crop: shares of the image cut from top, bottom, left, right. horizontal_fov_rad, mount: of the training camera.
        action: of one environment step; `action.block` of them make a model step.
        action_mean, action_std: one entry a component, of the training data; the model saw (action − mean) / std.
        proprio: what is measured beside the image; proprio_mean, proprio_std as for the action.
        cost, planner: as in the manifest.
    """

    name: str = ""
    licence: str = "unknown"
    source: str = "unknown"
    step_s: float = Field(gt=0)
    crop: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    horizontal_fov_rad: float | None = None
    mount: Mount = Mount()
    action: ActionSpec
    action_mean: list[float] | None = None
    action_std: list[float] | None = None
    proprio: ProprioSpec | None = None
    proprio_mean: list[float] | None = None
    proprio_std: list[float] | None = None
    cost: list[CostTerm] = Field(min_length=1)
    planner: PlannerDefaults

    @model_validator(mode="after")
    def _statistics_fit(self) -> FamilyConfig:
        sizes = {"action": len(self.action.names), "proprio": len(self.proprio.names) if self.proprio else 0}
        for what, size in sizes.items():
            for kind in ("mean", "std"):
                given = getattr(self, f"{what}_{kind}")
                if given is not None and len(given) != size:
                    raise ValueError(f"{what}_{kind} has {len(given)} entries, {what}.names {size}")
                if kind == "std" and given is not None and min(given) <= 0:
                    raise ValueError(f"{what}_std must be above 0")
        return self


@dataclass(frozen=True)
class Incremental:
    """A causal predictor by its new steps alone, with the same weights; what the graphs take and give, `signatures`
    says.

    Attributes:
        condition: action `[B, n, A]` → `[B, n, C]`, everything that depends on actions alone.
        step: latent `[B, n, D]`, condition `[B, n, C]`, then keys and values `[B, p, W]` of each layer in turn → next
            `[B, D]`, then new keys and values `[B, n, W]` of each layer. For p of 0 too.
    """

    condition: nn.Module
    step: nn.Module


@dataclass(frozen=True)
class Parts:
    """A model in PyTorch, as its graphs will be. Everything is in evaluation mode and fp32.

    Attributes:
        encoder: image uint8 `[N, h, w, c]` (`[N, S, h, w, c]` for a stack of S > 1 frames, oldest first), and measured
            `[N, P]` in SI units where the manifest has `proprio` → the state's tensors but outcomes, `[N, …]`, in the
            manifest's order; one alone is no tuple.
        predictor: the state's tensors but outcomes `[B, T, …]`, then action `[B, T, A]` in the manifest's units → every
            state tensor, outcomes too, one model step on: `[B, …]`, or `[B, T, …]` for output `sequence`. Row t of
            action is applied from row t of the state on. For `sequence`, T may be anything up to `max_context`.
        manifest: without hashes; calibration is filled in by the export.
        heads: by name, taking what the manifest's head says, in that order.
        incremental: where the manifest has `predictor.cache`.
    """

    encoder: nn.Module
    predictor: nn.Module
    manifest: Manifest
    heads: dict[str, nn.Module] = field(default_factory=dict)
    incremental: Incremental | None = None


class Family(Protocol):
    """A module of this room: see above."""

    Config: type[FamilyConfig]
    MARKS: tuple[str, ...]

    def tiny(self) -> Any:
        """Settings of a model small enough for tests."""
        ...

    def random_checkpoint(self, config: Any) -> dict[str, Tensor]:
        """Weights as an original checkpoint has them, freshly drawn from torch's global generator."""
        ...

    def build(self, state: State, config: Any) -> Parts:
        """The modules with these weights.

        Raises:
            BundleError: a key that is missing, unknown or of another shape, named with both shapes.
        """
        ...


UNMEASURED = Calibration(arrival_energy=1.0, surprise_p50=1.0, surprise_p99=1.0, measured_on="random")


def make_manifest(
    family: str,
    config: FamilyConfig,
    camera: Mapping[str, Any],
    state: list[StateTensor],
    predictor: PredictorSpec,
    timing: Timing,
    heads: dict[str, Head] | None = None,
) -> Manifest:
    """The manifest of a family's model; `camera` are the `CameraSpec` fields that its preprocessing asks for.

    Raises:
        pydantic.ValidationError: settings that do not fit one another.
    """
    return Manifest(
        family=family,
        name=config.name or family,
        licence=config.licence,
        source=config.source,
        created_by=f"jepa_ros_export.{family}",
        camera=CameraSpec(
            **{
                **camera,
                "crop": config.crop,
                "horizontal_fov_rad": config.horizontal_fov_rad,
                "mount": config.mount,
            }
        ),
        proprio=config.proprio,
        timing=timing,
        state=state,
        action=config.action,
        predictor=predictor,
        heads=heads or {},
        cost=config.cost,
        planner=config.planner,
        calibration=UNMEASURED,
    )
