"""The `output` block of a robot file: the form in which a robot takes its commands, one class for each `kind`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from jepa_ros.robots.strict import Strict

Velocity = Annotated[list[float], Field(min_length=3, max_length=3)]


class JointTargetsSpec(Strict):
    """Position, speed, effort and gains of every joint by name, as `jepa_ros_msgs/JointCommand` on `joint_commands`."""

    kind: Literal["joint_targets"] = "joint_targets"

    @property
    def command_topic(self) -> str:
        """Where the commands go."""
        return "joint_commands"


class ForwardCommandSpec(Strict):
    """ros2_control's forward_command_controller: positions alone, on `<controller>/commands`.

    Attributes:
        controller: name of the controller.
        joints: every joint of the robot, in the order of the controller's own parameter `joints`: the message has no
            names. Empty: the order of the robot's `joints`.
        check_order: nothing is sent before the controller has told its parameter `joints`. False for a controller
            without a parameter service: a wrong order then moves the wrong joints.
    """

    kind: Literal["forward_command"] = "forward_command"
    controller: str = Field(default="forward_position_controller", min_length=1)
    joints: list[str] = Field(default_factory=list)
    check_order: bool = True

    @property
    def command_topic(self) -> str:
        """Where the commands go."""
        return f"{self.controller}/commands"


class TrajectorySpec(Strict):
    """ros2_control's joint_trajectory_controller: positions and speeds on `<controller>/joint_trajectory`.

    Attributes:
        controller: name of the controller.
        rate_hz: messages a second; each holds the way of one period.
    """

    kind: Literal["trajectory"] = "trajectory"
    controller: str = Field(default="joint_trajectory_controller", min_length=1)
    rate_hz: float = Field(default=25.0, ge=1, le=200)

    @property
    def command_topic(self) -> str:
        """Where the commands go."""
        return f"{self.controller}/joint_trajectory"


class _Velocities(Strict):
    """Body velocities that a gait of somebody else's carries out.

    Attributes:
        low, high: of vx m/s, vy m/s, wz rad/s in base_link. The defaults are for a first run.
        rate_hz: messages a second at most; a stop is sent at once.
    """

    low: Velocity = Field(default_factory=lambda: [-0.3, -0.2, -0.6])
    high: Velocity = Field(default_factory=lambda: [0.4, 0.2, 0.6])
    rate_hz: float = Field(default=20.0, ge=1, le=200)

    @model_validator(mode="after")
    def _can_stand_still(self) -> _Velocities:
        if any(not low <= 0.0 <= high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError("low must not be above 0 and high not below it: a stop commands zero")
        return self


class CmdVelSpec(_Velocities):
    """`geometry_msgs/TwistStamped`, or `Twist` where `stamped` is false."""

    kind: Literal["cmd_vel"] = "cmd_vel"
    topic: str = Field(default="cmd_vel", min_length=1)
    stamped: bool = True
    frame: str = "base_link"

    @property
    def command_topic(self) -> str:
        """Where the commands go."""
        return self.topic


class SportSpec(_Velocities):
    """Unitree's sport service: the vendor's gait, by requests on `topic`."""

    kind: Literal["sport"] = "sport"
    topic: str = Field(default="api/sport/request", min_length=1)

    @property
    def command_topic(self) -> str:
        """Where the commands go."""
        return self.topic


class LowCommandSpec(Strict):
    """Unitree's LowCmd: position, speed, effort and gains for each motor.

    Attributes:
        motors: every joint of the robot, in the order of the motor slots on the wire.
        topic: of the commands.
    """

    kind: Literal["low_command"] = "low_command"
    motors: list[str] = Field(min_length=1, max_length=20)
    topic: str = Field(default="lowcmd", min_length=1)

    @property
    def command_topic(self) -> str:
        """Where the commands go."""
        return self.topic


OutputSpec = Annotated[
    JointTargetsSpec | ForwardCommandSpec | TrajectorySpec | CmdVelSpec | SportSpec | LowCommandSpec,
    Field(discriminator="kind"),
]
SPECS: dict[str, type[Strict]] = {
    "joint_targets": JointTargetsSpec,
    "forward_command": ForwardCommandSpec,
    "trajectory": TrajectorySpec,
    "cmd_vel": CmdVelSpec,
    "sport": SportSpec,
    "low_command": LowCommandSpec,
}


def velocity_bounds(spec: OutputSpec) -> tuple[list[float], list[float]] | None:
    """Lowest and highest vx, vy, wz that an output carries; None for one that carries joints."""
    return (spec.low, spec.high) if isinstance(spec, _Velocities) else None


def check_order(spec: OutputSpec, joints: Sequence[str]) -> None:
    """An order of joints must name each of the robot's exactly once.

    Raises:
        ValueError: naming the field and the joints that differ.
    """
    field, order = "", list(joints)
    if isinstance(spec, ForwardCommandSpec) and spec.joints:
        field, order = "output.joints", spec.joints
    elif isinstance(spec, LowCommandSpec):
        field, order = "output.motors", spec.motors
    if sorted(order) != sorted(joints):
        differs = sorted(set(order) ^ set(joints)) or sorted({name for name in order if order.count(name) > 1})
        raise ValueError(f"{field}: must name each of the robot's joints once, differs in {', '.join(differs)}")
