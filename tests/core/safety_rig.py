"""A robot that is healthy unless told otherwise, a clock that moves on demand, and a safety filter between them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np

from jepa_ros.robots import RobotModel, load_robot
from jepa_ros.safety import Decision, SafetyFilter
from jepa_ros.types import Imu, JointCommand, JointState

GO2 = load_robot("go2")
TICK_S = 0.02
VELOCITIES = ("vx", "vy", "wz")


def tilted(roll: float) -> Imu:
    """An inertial unit at rest on a body rolled by so many rad."""
    return Imu(np.zeros(3), np.array([np.sin(roll / 2), 0.0, 0.0, np.cos(roll / 2)]), np.array([0.0, 0.0, 9.81]))


@dataclass
class Rig:
    """Joints follow commands at once and turn at `speed` while it walks; what is not in `reporting` is not reported."""

    robot: RobotModel = GO2
    action_names: tuple[str, ...] = VELOCITIES
    now: float = 100.0
    imu: Imu = field(default_factory=lambda: tilted(0.0))
    raw: np.ndarray | None = field(default_factory=lambda: GO2.stance("walk"))
    action: np.ndarray = field(default_factory=lambda: np.array([0.4, 0.0, 0.0]))
    applied: np.ndarray = field(default_factory=lambda: np.zeros(3))
    reporting: set[str] = field(default_factory=lambda: {"joints", "imu", "camera"})
    plans: bytes | None = None
    speed: float = 1.0
    settles_s: float = 0.3
    walked_at: float = 0.0

    def __post_init__(self) -> None:
        self.filter = SafetyFilter(self.robot, action_names=self.action_names)
        position = self.robot.stance("sit")
        self.joints = JointState(position, np.zeros_like(position), np.zeros_like(position))

    def tick(self) -> tuple[Decision, JointCommand | None]:
        """One control tick."""
        self.now += TICK_S
        if "joints" in self.reporting:
            self.filter.on_joint_state(self.now, self.joints)
        if "imu" in self.reporting:
            self.filter.on_imu(self.now, self.imu)
        if "camera" in self.reporting:
            self.filter.on_camera(self.now)
        if self.plans is not None:
            self.filter.on_plan(self.now, self.now + 0.3, self.plans)
        decision = self.filter.update(self.now)
        self.applied = self.filter.limit_action(self.now, decision, self.action).copy()
        raw = self.raw if decision.use_policy else None
        command = self.filter.command(self.now, decision, raw, self.joints, self.imu)
        if command is not None:
            command = kept(command)
            self.walked_at = self.now if decision.state == "walk" else self.walked_at
            moves = self.now - self.walked_at < self.settles_s
            velocity = np.full_like(command.position, self.speed if moves else 0.0)
            position = command.position if command.kp.any() else self.joints.position
            self.joints = JointState(position.copy(), velocity, np.zeros_like(velocity))
        return decision, command

    def run(self, seconds: float) -> list[str]:
        """States passed through in so many seconds, each once in a row."""
        states = [self.filter.update(self.now).state]
        for _ in range(round(seconds / TICK_S)):
            state = self.tick()[0].state
            if state != states[-1]:
                states.append(state)
        return states

    def standing(self) -> Rig:
        """The same, once it stands."""
        self.run(0.1)
        assert self.filter.request("stand").accepted
        assert self.run(2.5)[-1] == "stand"
        return self

    def walking(self, goal: bytes = b"goal 1") -> Rig:
        """The same, once it walks towards a goal."""
        self.standing()
        assert self.filter.request("walk").accepted
        self.plans = goal
        assert self.run(0.5)[-1] == "walk"
        return self


def kept(command: JointCommand) -> JointCommand:
    """A copy: the filter's is good until the next tick only."""
    return JointCommand(*(getattr(command, field.name).copy() for field in fields(command)))


def is_damping(command: JointCommand | None) -> bool:
    """Whether a command is the Go2's damping."""
    return command is not None and not command.kp.any() and bool((command.kd == GO2.gain("damp").kd).all())
