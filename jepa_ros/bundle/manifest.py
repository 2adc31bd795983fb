"""`manifest.yaml`: what the graphs of a bundle cannot say themselves. Numbers that scale pixels or actions are in
the graphs.

Unknown fields are refused, so that a misspelt one is never ignored. The version rises when a reader of the old one
would be wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from jepa_ros.bundle.model_spec import (
    ActionSpec,
    CameraSpec,
    Mount,
    PredictorSpec,
    ProprioSpec,
    StateTensor,
    Strict,
    Timing,
)
from jepa_ros.bundle.planning_spec import (
    Calibration,
    CostTerm,
    Head,
    HeadName,
    PlannerDefaults,
    check_gradients,
    check_inside,
    check_sources,
)
from jepa_ros.errors import BundleError
from jepa_ros.plain_yaml import read_yaml

__all__ = [
    "MANIFEST_NAME", "SCHEMA_VERSION", "ActionSpec", "Calibration", "CameraSpec", "CostTerm", "Head", "Manifest",
    "Mount", "PlannerDefaults", "PredictorSpec", "ProprioSpec", "StateTensor", "Timing", "read_manifest",
]  # fmt: skip

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.yaml"


class Manifest(Strict):
    """Everything a robot must know of a bundle besides its graphs."""

    schema_version: Literal[1] = 1
    family: str
    name: str
    licence: str
    source: str
    created_by: str
    files: dict[str, str] = Field(default={})
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    camera: CameraSpec
    proprio: ProprioSpec | None = None
    timing: Timing
    state: list[StateTensor] = Field(min_length=1)
    action: ActionSpec
    predictor: PredictorSpec
    heads: dict[HeadName, Head] = Field(default={})
    cost: list[CostTerm] = Field(min_length=1)
    planner: PlannerDefaults = PlannerDefaults()
    calibration: Calibration

    @field_validator("files")
    @classmethod
    def _stays_inside(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            check_inside(name)
        return files

    @model_validator(mode="after")
    def _names_fit(self) -> Manifest:
        names = [state.name for state in self.state]
        if len(set(names)) != len(names):
            raise ValueError("state: names must differ from one another")
        if not any(state.role == "latent" for state in self.state):
            raise ValueError("state: one tensor at least must have the role latent")
        check_sources(self.cost, self.state, self.heads)
        check_gradients(self.heads)
        if self.predictor.cache is not None and [state.kind for state in self.state] != ["vector"]:
            raise ValueError("predictor.cache: is for a state of one vector")
        if self.timing.history_max > self.predictor.max_context:
            raise ValueError("timing.history_max must not be above predictor.max_context")
        return self

    def next_name(self, tensor: StateTensor) -> str:
        """What the predictor calls a state tensor one model step on."""
        return "next" if len(self.state) == 1 else f"next_{tensor.name}"

    @property
    def action_size(self) -> int:
        """A, values in the action of one model step."""
        return len(self.action.names) * self.action.block

    @property
    def latent(self) -> StateTensor:
        """The first state tensor that is a latent."""
        return next(state for state in self.state if state.role == "latent")


def read_manifest(folder: Path) -> Manifest:
    """Read and check `manifest.yaml`.

    Raises:
        BundleError: no such file, not plain YAML (see `plain_yaml`), an unknown version, or a field that does not fit,
            named.
    """
    path = folder / MANIFEST_NAME
    try:
        found = read_yaml(path)
    except OSError as error:
        raise BundleError(
            f"bundle {folder}: {MANIFEST_NAME} cannot be read ({error.strerror}); is this a bundle?"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BundleError(
            f"bundle {folder}: {MANIFEST_NAME} is not plain YAML ({str(error).splitlines()[0]})"
        ) from error
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
