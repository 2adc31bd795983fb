"""Whatever comes in, in whatever order: what goes out is safe. A random caller drives the filter."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from jepa_ros.safety import SafetyFilter
from jepa_ros.types import Imu, JointCommand, JointState

from .safety_rig import GO2, VELOCITIES, is_damping, kept, tilted

ANY = st.one_of(st.floats(-2, 2), st.floats(allow_nan=True, allow_infinity=True))
OFFSET = st.one_of(st.floats(-0.05, 0.05), ANY)
STATES = {"passive", "stand_up", "stand", "walk", "stopping", "sit_down", "sit", "damp"}
GOALS = st.sampled_from([b"", b"a", b"b", b"c"])


@st.composite
def vector(draw: st.DrawFn, count: int) -> np.ndarray:
    """Values spread over ±4, and as often as not one among them that no sensor or model should give."""
    values = np.random.default_rng(draw(st.integers(0, 1000))).uniform(-4.0, 4.0, count)
    if draw(st.booleans()):
        values[draw(st.integers(0, count - 1))] = draw(st.sampled_from([np.nan, np.inf, -np.inf, 1e300, -1e300, 7.0]))
    return values


class RandomCaller(RuleBasedStateMachine):
    """Healthy ticks mixed with anything at all."""

    @initialize(direct=st.booleans())
    def start(self, direct: bool) -> None:
        self.names = ("FL_hip_joint", "RR_calf_joint") if direct else VELOCITIES
        self.filter = SafetyFilter(GO2, action_names=self.names)
        self.now = 50.0
        self.joints = JointState(GO2.stance("sit"), np.zeros(12), np.zeros(12))
        self.permitted = self.damped = False
        self.command: JointCommand | None = None

    def tick(self, raw: np.ndarray | None, joints: JointState | None, action: np.ndarray) -> None:
        """One control tick as joint_command does it."""
        decision = self.filter.update(self.now)
        assert decision.state in STATES
        assert 0.0 <= decision.velocity_scale <= 1.0
        assert np.isfinite(self.filter.limit_action(self.now, decision, action)).all()
        before = self.damped or self.filter.update(self.now).state == "damp"
        command = self.filter.command(self.now, decision, raw, joints, None)
        self.command = None if command is None else kept(command)
        state = self.filter.update(self.now).state
        if state == "walk":
            assert self.permitted
        if before:
            assert state == "damp"
        self.damped = state == "damp"
        self.check(self.command, joints, state)

    def check(self, command: JointCommand | None, joints: JointState | None, state: str) -> None:
        if state == "passive":
            assert command is None
            return
        assert command is not None
        for part in (command.position, command.velocity, command.effort, command.kp, command.kd):
            assert np.isfinite(part).all()
        assert (command.position >= GO2.lower).all()
        assert (command.position <= GO2.upper).all()
        assert not command.effort.any()
        if is_damping(command):
            return
        assert state != "damp"
        if joints is None:
            return
        torque = command.kp * (command.position - joints.position) - command.kd * joints.velocity
        assert (np.abs(torque) <= GO2.effort_limits * (1 + 1e-9)).all()

    @rule(count=st.integers(1, 120), goal=GOALS)
    def healthy(self, count: int, goal: bytes) -> None:
        """Time passes; joints follow, everything is reported."""
        for _ in range(count):
            self.now += 0.02
            self.filter.on_joint_state(self.now, self.joints)
            self.filter.on_imu(self.now, tilted(0.05))
            self.filter.on_camera(self.now)
            self.filter.on_plan(self.now, self.now + 0.3, goal)
            self.tick(GO2.stance("walk"), self.joints, np.zeros(len(self.names)))
            if self.command is not None and self.command.kp.any():
                self.joints = JointState(self.command.position, np.zeros(12), np.zeros(12))

    @rule(goal=GOALS)
    def walk_off(self, goal: bytes) -> None:
        """What an operator does at the start of a day."""
        self.healthy(1, goal)
        if self.filter.update(self.now).state == "walk":
            return
        for what, ticks in (("recover", 1), ("stand", 120), ("walk", 5)):
            self.ask(what)
            self.healthy(ticks, goal)
        assert self.filter.update(self.now).state == "walk"

    @rule(what=st.sampled_from(["stand", "stand", "walk", "walk", "stop", "sit", "damp", "recover", "dance"]))
    def ask(self, what: str) -> None:
        accepted = self.filter.request(what).accepted
        if what == "walk":
            self.permitted |= accepted
        elif accepted and what != "recover":
            self.permitted = False
        if what == "damp":
            self.damped = True
        elif what == "recover" and accepted:
            self.damped = False

    @rule(offset=OFFSET, position=vector(12), velocity=vector(12))
    def any_joint_state(self, offset: float, position: np.ndarray, velocity: np.ndarray) -> None:
        self.filter.on_joint_state(self.now + offset, JointState(position, velocity, np.zeros(12)))

    @rule(offset=OFFSET, gyro=vector(3), orientation=vector(4))
    def any_imu(self, offset: float, gyro: np.ndarray, orientation: np.ndarray) -> None:
        self.filter.on_imu(self.now + offset, Imu(gyro, orientation, np.zeros(3)))

    @rule(offset=OFFSET, validity=ANY, goal=GOALS)
    def any_plan(self, offset: float, validity: float, goal: bytes) -> None:
        self.filter.on_plan(self.now + offset, self.now + validity, goal)

    @rule(offset=OFFSET)
    def any_camera(self, offset: float) -> None:
        self.filter.on_camera(self.now + offset)

    @rule(many=st.lists(st.none() | vector(12), min_size=1, max_size=4), goal=GOALS)
    def any_targets(self, many: list[np.ndarray | None], goal: bytes) -> None:
        self.walk_off(goal)
        for raw in many:
            self.tick(raw, self.joints, np.zeros(len(self.names)))

    @rule(position=vector(12), velocity=vector(12), near=st.booleans(), goal=GOALS)
    def any_state_for_the_command(self, position: np.ndarray, velocity: np.ndarray, near: bool, goal: bytes) -> None:
        self.walk_off(goal)
        joints = JointState(np.clip(position, GO2.lower, GO2.upper) if near else position, 8 * velocity, np.zeros(12))
        self.tick(GO2.stance("walk"), joints, np.zeros(len(self.names)))

    @rule(data=st.data(), offset=OFFSET)
    def any_action_and_time(self, data: st.DataObject, offset: float) -> None:
        if data.draw(st.booleans()):
            self.walk_off(b"a")
        self.tick(GO2.stance("walk"), None, data.draw(vector(len(self.names))))
        self.filter.update(self.now + offset)

    @invariant()
    def events_are_counted(self) -> None:
        if hasattr(self, "filter"):
            assert len(self.filter.events) <= 256
            assert sum(self.filter.counts.values()) >= len(self.filter.events)


RandomCaller.TestCase.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)
TestRandomCaller = RandomCaller.TestCase
