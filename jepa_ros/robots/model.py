"""`RobotModel`: what the core knows of a robot, read from a YAML file. Joints are found by name, never by index."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from jepa_ros.errors import RobotError
from jepa_ros.robots.limits import SafetyLimits
from jepa_ros.types import Float64

_HERE = Path(__file__).parent


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Joint(_Strict):
    """One actuated joint. Range in rad, effort in Nm, velocity in rad/s."""

    name: str
    lower: float
    upper: float
    effort: float = Field(gt=0)
    velocity: float = Field(gt=0)

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> Joint:
        if not self.lower < self.upper:
            raise ValueError(f"{self.name}: lower {self.lower} must be below upper {self.upper}")
        return self


class Gains(_Strict):
    """Position gain in Nm/rad and damping in Nm·s/rad, the same for every joint."""

    kp: float = Field(ge=0)
    kd: float = Field(ge=0)


class Locomotion(_Strict):
    """A learned low-level policy, body velocity → joint targets, given as ONNX `obs [1, O] → actions [1, n]`.

    Observation, in this order: angular velocity × `angular_velocity_scale`, gravity direction, command ×
    `command_scale`, q − default, dq × `joint_velocity_scale`, last action; joints in `joint_order`.
    Target = default + action × `action_scale` (repeated for each leg of three joints).
    """

    policy: str
    rate_hz: float = Field(gt=0)
    joint_order: list[str]
    default_stance: str
    angular_velocity_scale: float
    joint_velocity_scale: float
    command_scale: list[float] = Field(min_length=3, max_length=3)
    action_scale: list[float]
    command_low: list[float] = Field(min_length=3, max_length=3)
    command_high: list[float] = Field(min_length=3, max_length=3)

    @model_validator(mode="after")
    def _can_stand_still(self) -> Locomotion:
        if any(not low <= 0.0 <= high for low, high in zip(self.command_low, self.command_high, strict=True)):
            raise ValueError("command_low must not be above 0 and command_high not below it: a stop commands zero")
        return self


class RobotModel(_Strict):
    """A robot's joints with their limits, its named stances, gains, safety limits and low-level walking policy."""

    name: str
    joints: list[Joint] = Field(min_length=1)
    stances: dict[str, dict[str, float]]
    gains: dict[str, Gains]
    safety: SafetyLimits
    locomotion: Locomotion | None = None
    folder: Path = _HERE

    @model_validator(mode="after")
    def _fits_together(self) -> RobotModel:
        names = set(self.joint_names)
        if len(names) != len(self.joints):
            raise ValueError("joints: a name stands twice")
        for stance, values in self.stances.items():
            if set(values) != names:
                differs = ", ".join(sorted(set(values) ^ names))
                raise ValueError(f"stances.{stance}: must name exactly the robot's joints, differs in {differs}")
            for joint in self.joints:
                if not joint.lower <= values[joint.name] <= joint.upper:
                    raise ValueError(
                        f"stances.{stance}: {joint.name} is outside its range {joint.lower}…{joint.upper} rad"
                    )
        for wanted in ("stand", "sit"):
            if wanted not in self.stances:
                raise ValueError(f"stances.{wanted}: is missing; the safety filter needs it")
        for wanted in ("stand", "walk", "damp"):
            if wanted not in self.gains:
                raise ValueError(f"gains.{wanted}: is missing; the safety filter needs it")
            if wanted != "damp" and self.gains[wanted].kp == 0:
                raise ValueError(f"gains.{wanted}: kp must be above 0")
        if self.gains["damp"].kp != 0 or self.gains["damp"].kd == 0:
            raise ValueError("gains.damp: kp must be 0 and kd above 0")
        return self

    @cached_property
    def joint_names(self) -> tuple[str, ...]:
        """Names in the order every array of this robot uses."""
        return tuple(joint.name for joint in self.joints)

    @cached_property
    def lower(self) -> Float64:
        """`[n]` rad."""
        return np.array([joint.lower for joint in self.joints])

    @cached_property
    def upper(self) -> Float64:
        """`[n]` rad."""
        return np.array([joint.upper for joint in self.joints])

    @cached_property
    def effort_limits(self) -> Float64:
        """`[n]` Nm."""
        return np.array([joint.effort for joint in self.joints])

    @cached_property
    def velocity_limits(self) -> Float64:
        """`[n]` rad/s."""
        return np.array([joint.velocity for joint in self.joints])

    def index(self, names: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """Where each of this robot's joints stands in `names`: `array[index(names)]` is in this robot's order.

        Raises:
            RobotError: a joint of this robot is absent from `names`, or a name stands twice.
        """
        where = {name: i for i, name in enumerate(names)}
        missing = [name for name in self.joint_names if name not in where]
        if missing:
            raise RobotError(
                f"robot {self.name}: joint {', '.join(missing)} is missing from the {len(names)} names given"
            )
        if len(where) != len(names):
            raise RobotError(f"robot {self.name}: a joint name stands twice among the names given")
        return np.array([where[name] for name in self.joint_names], dtype=np.intp)

    def stance(self, name: str) -> Float64:
        """Joint angles `[n]` in rad of a named stance.

        Raises:
            RobotError: no such stance.
        """
        if name not in self.stances:
            raise RobotError(f"robot {self.name}: no stance named {name!r}; it has {', '.join(sorted(self.stances))}")
        return np.array([self.stances[name][joint] for joint in self.joint_names])

    def gain(self, name: str) -> Gains:
        """Named gains.

        Raises:
            RobotError: no such gains.
        """
        if name not in self.gains:
            raise RobotError(f"robot {self.name}: no gains named {name!r}; it has {', '.join(sorted(self.gains))}")
        return self.gains[name]


def load_robot(robot: str | Path) -> RobotModel:
    """Read a robot by the name of a shipped YAML (`go2`) or by the path of one's own.

    Raises:
        RobotError: no such file, or a field does not fit.
    """
    path = Path(robot)
    if path.suffix not in (".yaml", ".yml"):
        path = _HERE / f"{robot}.yaml"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in _HERE.glob("*.yaml")))
        raise RobotError(f"robot {robot}: no file {path}; shipped robots are {shipped}, or give the path of a YAML")
    try:
        fields = yaml.safe_load(path.read_text())
        if not isinstance(fields, dict):
            raise RobotError(f"robot file {path}: holds no fields; start from a copy of {_HERE / 'go2.yaml'}")
        return RobotModel(**{**fields, "folder": path.parent})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "as a whole"
        raise RobotError(f"robot file {path}: {where}: {first['msg']}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RobotError(f"robot file {path}: cannot be read: {' '.join(str(error).split())}") from error
