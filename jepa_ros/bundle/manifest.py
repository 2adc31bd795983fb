"""`manifest.yaml`: what the graphs of a bundle cannot say themselves. Numbers that scale pixels or actions are in
the graphs.

Unknown fields are refused, so that a misspelt one is never ignored. The version rises when a reader of the old one
would be wrong.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from jepa_ros.errors import BundleError

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.yaml"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Mount(_Strict):
    """Where the training camera sat, from base_link: metres, and rad nose-down."""

    x: float = 0.0
    y: float = 0.0
    z: float = 0.0
    pitch: float = 0.0


class CameraSpec(_Strict):
    """Which camera, and how its image becomes the encoder's input. Pixels stay uint8; scaling is inside the encoder.

    Attributes:
        name: topic prefix of the camera.
        crop: shares of the image cut from top, bottom, left and right, before resizing.
        width, height: what the encoder takes.
        channels: 3 for RGB, 1 for grey.
        resize: `stretch` to the size; `center_crop` to its shape and resize; `letterbox` with black borders.
        interpolation: of the resize; `area` averages when it makes smaller, `nearest` never does.
        antialias: whether `linear` and `cubic` average when they make smaller; the other two it does not concern.
        frame_stack: frames that one latent is made of; frame_repeat: how often each is repeated.
        horizontal_fov_rad: of the training camera after the crop; None where it is not known.
        fov_tolerance_rad: a camera further off is warned about; one more than three times further is refused.
    """

    name: str = "camera"
    crop: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    channels: Literal[1, 2, 3] = 3
    resize: Literal["stretch", "letterbox", "center_crop"] = "stretch"
    interpolation: Literal["area", "linear", "cubic", "nearest"] = "area"
    antialias: bool = True
    frame_stack: int = Field(default=1, ge=1)
    frame_repeat: int = Field(default=1, ge=1)
    horizontal_fov_rad: float | None = Field(default=None, gt=0, lt=3.2)
    fov_tolerance_rad: float = Field(default=0.1, gt=0)
    mount: Mount = Mount()

    @field_validator("crop")
    @classmethod
    def _leaves_something(cls, crop: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        top, bottom, left, right = crop
        if min(crop) < 0 or top + bottom >= 1 or left + right >= 1:
            raise ValueError("shares must not be negative and must leave something of the image")
        return crop


class Timing(_Strict):
    """Model time. `warm_up` says what to do while there are fewer than `history_min` latents.

    `step_s` is the whole model step; `frame_skip` is the training data's frames in one.
    """

    step_s: float = Field(gt=0)
    frame_skip: int = Field(default=1, ge=1)
    history_min: int = Field(default=1, ge=1)
    history_max: int = Field(default=1, ge=1)
    warm_up: Literal["grow", "pad", "require"] = "pad"

    @model_validator(mode="after")
    def _in_order(self) -> Timing:
        if self.history_min > self.history_max:
            raise ValueError("history_min must not be above history_max")
        return self


class StateTensor(_Strict):
    """One tensor of the predictor's state: its shape without batch and time."""

    name: str
    kind: Literal["vector", "tokens", "map"]
    shape: tuple[int, ...] = Field(min_length=1)
    role: Literal["latent", "proprio"] = "latent"


class ActionSpec(_Strict):
    """The action of one model step, in the units named.

    Attributes:
        names, units: one entry a component.
        block: environment actions that one model step holds.
        low, high: bounds a component; norm_limit: greatest Euclidean norm, None for none.
        fixed: components that planning leaves at a value.
        delta: whether the action is a change of the state rather than a target or a rate.
        frame: in which the action is expressed.
    """

    names: list[str] = Field(min_length=1)
    units: list[str]
    block: int = Field(default=1, ge=1)
    low: list[float]
    high: list[float]
    norm_limit: float | None = Field(default=None, gt=0)
    fixed: dict[str, float] = {}
    delta: bool = False
    frame: str = "base_link"

    @model_validator(mode="after")
    def _one_entry_a_component(self) -> ActionSpec:
        for field in ("units", "low", "high"):
            if len(getattr(self, field)) != len(self.names):
                raise ValueError(
                    f"{field} must have {len(self.names)} entries, one for each of {', '.join(self.names)}"
                )
        if len(set(self.names)) != len(self.names):
            raise ValueError("names must differ from one another")
        for name, low, high in zip(self.names, self.low, self.high, strict=True):
            if not low < high and name not in self.fixed:
                raise ValueError(f"low must be below high for {name}, or fix it")
        if unknown := set(self.fixed) - set(self.names):
            raise ValueError(f"fixed names {', '.join(sorted(unknown))}, which is no component")
        return self


class PredictorSpec(_Strict):
    """How the predictor takes its context: `sliding` when it can go on past `max_context` by dropping the oldest."""

    causal: bool = False
    max_context: int = Field(ge=1)
    sliding: bool = True
    output: Literal["last", "sequence"] = "last"


class Head(_Strict):
    """A further graph on latents, for instance a value or a guardrail probe."""

    # ONNX Runtime chooses its parser by the ending: only this one is read as what the loader has checked.
    file: str = Field(pattern=r"\.onnx$")
    inputs: list[Literal["latent", "goal", "action"]] = Field(min_length=1)
    output: str


class CostTerm(_Strict):
    """One term of the energy. `source` is a state tensor's name, or `head:NAME`."""

    source: str = "latent"
    metric: Literal["l2", "l1", "smooth_l1", "cosine", "value"] = "l2"
    reduction: Literal["mean", "sum"] = "mean"
    weight: float = 1.0
    steps: Literal["all", "last"] = "all"


class PlannerDefaults(_Strict):
    """What the planner of this bundle is set to where nobody says otherwise; None leaves it to the planner."""

    name: Literal["cem", "icem", "mppi", "gradient"] = "cem"
    samples: int | None = Field(default=None, ge=1)
    iterations: int | None = Field(default=None, ge=1)
    elites: int | None = Field(default=None, ge=1)
    horizon: int | None = Field(default=None, ge=1)
    knot: int | None = Field(default=None, ge=1)
    std: float | None = Field(default=None, gt=0)
    min_std: float | None = Field(default=None, ge=0)
    momentum: float | None = Field(default=None, ge=0, lt=1)
    temperature: float | None = Field(default=None, gt=0)


class Calibration(_Strict):
    """Measured on held-out runs: energy at which the goal is reached, surprise, and parity by provider and
    precision."""

    arrival_energy: float = Field(gt=0)
    surprise_p50: float = Field(ge=0)
    surprise_p99: float = Field(gt=0)
    tolerance: dict[str, float] = {"CPUExecutionProvider:fp32": 1e-4}


class Manifest(_Strict):
    """Everything a robot must know of a bundle besides its graphs."""

    schema_version: Literal[1] = 1
    family: str
    name: str
    licence: str
    source: str
    created_by: str
    files: dict[str, str] = {}
    camera: CameraSpec
    timing: Timing
    state: list[StateTensor] = Field(min_length=1)
    action: ActionSpec
    predictor: PredictorSpec
    heads: dict[str, Head] = {}
    cost: list[CostTerm] = Field(min_length=1)
    planner: PlannerDefaults = PlannerDefaults()
    calibration: Calibration

    @field_validator("files")
    @classmethod
    def _stays_inside(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
                raise ValueError(f"{name!r} points outside the bundle's folder")
        return files

    @model_validator(mode="after")
    def _names_fit(self) -> Manifest:
        names = [state.name for state in self.state]
        if len(set(names)) != len(names):
            raise ValueError("state: names must differ from one another")
        if not any(state.role == "latent" for state in self.state):
            raise ValueError("state: one tensor at least must have the role latent")
        known = {*names, *(f"head:{name}" for name in self.heads)}
        for term in self.cost:
            if term.source not in known:
                raise ValueError(f"cost: source {term.source!r} is none of {', '.join(sorted(known))}")
        if self.timing.history_max > self.predictor.max_context:
            raise ValueError("timing.history_max must not be above predictor.max_context")
        return self

    @property
    def latent(self) -> StateTensor:
        """The first state tensor that is a latent."""
        return next(state for state in self.state if state.role == "latent")


def read_manifest(folder: Path) -> Manifest:
    """Read and check `manifest.yaml`.

    Raises:
        BundleError: no such file, not YAML, an unknown version, or a field that does not fit, named.
    """
    path = folder / MANIFEST_NAME
    try:
        found = yaml.safe_load(path.read_text())
    except OSError as error:
        raise BundleError(
            f"bundle {folder}: {MANIFEST_NAME} cannot be read ({error.strerror}); is this a bundle?"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BundleError(f"bundle {folder}: {MANIFEST_NAME} is not YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(found, dict):
        raise BundleError(f"bundle {folder}: {MANIFEST_NAME} must be a mapping of fields")
    version = found.get("schema_version")
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"bundle {folder}: schema_version is {version}, this jepa_ros reads {SCHEMA_VERSION}; export it again"
        )
    try:
        return Manifest(**found)
    except (ValidationError, TypeError) as error:
        raise BundleError(f"bundle {folder}: {MANIFEST_NAME}: {_first(error)}") from error


def _first(error: ValidationError | TypeError) -> str:
    """The first thing that is wrong, with its field, in one line."""
    if isinstance(error, TypeError):
        return str(error)
    found = error.errors()[0]
    field = ".".join(str(part) for part in found["loc"]) or "the whole"
    return f"{field}: {found['msg'].removeprefix('Value error, ')}"
