"""`RobotModel`: what the core knows of a robot, read from a YAML file. Joints are found by name, never by index."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError, model_validator

from jepa_ros.errors import RobotError
from jepa_ros.robots.camera import RobotCamera
from jepa_ros.robots.limits import SafetyLimits
from jepa_ros.robots.middleware import MiddlewareSpec
from jepa_ros.robots.outputs import (
    SPECS,
    ForwardCommandSpec,
    JointTargetsSpec,
    OutputSpec,
    TrajectorySpec,
    check_order,
    velocity_bounds,
)
from jepa_ros.robots.reading import SHIPPED, read_fields
from jepa_ros.robots.strict import Strict
from jepa_ros.types import Float64


class Joint(Strict):
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


class Gains(Strict):
    """Position gain in Nm/rad and damping in Nm·s/rad, the same for every joint."""

    kp: float = Field(ge=0)
    kd: float = Field(ge=0)


class Locomotion(Strict):
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


class Driver(Strict):
    """A node that stands between the robot and the usual topics; `robot.launch.py` starts it with the robot's file.

    Attributes:
        package, executable: whose, and which.
        camera: it makes the images; not started where the launch takes those of another camera.
    """

    package: str = "jepa_ros"
    executable: str = Field(min_length=1)
    camera: bool = False


class RobotModel(Strict):
    """A robot: what its file says.

    Attributes:
        name: of the robot.
        joints: with their limits; their order is that of every array of this robot.
        stances: joint angles in rad by name; `stand` and `sit` must be there.
        gains: by name; `stand`, `walk` and `damp` must be there.
        safety: limits.
        locomotion: its walking policy, if it has one.
        feet: names, in the order of foot contacts; empty where the robot does not feel its feet.
        output: the form it takes commands in.
        middleware: how it is reached.
        camera: what it sees with.
        description: URDF file, for `robot_description` and tf.
        drivers: nodes that `robot.launch.py` starts with it.
        folder: that `locomotion.policy` and `description` are relative to.
    """

    name: str
    joints: list[Joint] = Field(min_length=1)
    stances: dict[str, dict[str, float]]
    gains: dict[str, Gains]
    safety: SafetyLimits
    locomotion: Locomotion | None = None
    feet: list[str] = Field(default_factory=list)
    output: OutputSpec = JointTargetsSpec()
    middleware: MiddlewareSpec = MiddlewareSpec()
    camera: RobotCamera | None = None
    description: str | None = None
    drivers: list[Driver] = Field(default_factory=list)
    folder: Path = SHIPPED

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
        if len(set(self.feet)) != len(self.feet):
            raise ValueError("feet: a name stands twice")
        check_order(self.output, self.joint_names)
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

    @property
    def velocity_bounds(self) -> tuple[list[float], list[float]] | None:
        """Lowest and highest vx, vy (m/s) and wz (rad/s) that may be asked for: of an output that carries velocities,
        else of the walking policy; None for a robot that takes none."""
        carried = velocity_bounds(self.output)
        if carried is None and self.locomotion is not None:
            return self.locomotion.command_low, self.locomotion.command_high
        return carried

    @property
    def sends_velocities(self) -> bool:
        """Whether somebody else's gait moves the legs: the output carries body velocities and no joints."""
        return velocity_bounds(self.output) is not None

    @property
    def sends_gains(self) -> bool:
        """Whether kp and kd reach the joints; where they do not, positions alone decide the torque."""
        return not isinstance(self.output, (ForwardCommandSpec, TrajectorySpec))

    @property
    def urdf(self) -> Path | None:
        """Path of its description, if it has one."""
        return None if self.description is None else self.folder / self.description

    def with_output(self, kind: str) -> RobotModel:
        """The same robot commanded in another form: the file's own for its kind, that kind's defaults for another.

        Args:
            kind: of the output; empty for the file's own.

        Raises:
            RobotError: no such kind, or one that the robot's file must say more of.
        """
        if kind in ("", self.output.kind):
            return self
        if kind not in SPECS:
            raise RobotError(f"robot {self.name}: no output named {kind!r}; there are {', '.join(SPECS)}")
        try:
            output = SPECS[kind]()
        except ValidationError as error:
            lacks = ", ".join(f"output.{part['loc'][0]}" for part in error.errors())
            raise RobotError(f"robot {self.name}: output {kind} needs {lacks} in the robot's file") from error
        return self.model_copy(update={"output": output})

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
    path, fields = read_fields(robot)
    try:
        return RobotModel(**{**fields, "folder": path.parent})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "as a whole"
        raise RobotError(f"robot file {path}: {where}: {first['msg']}") from error
