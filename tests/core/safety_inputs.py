"""Everything that can be thrown at a safety filter: what a robot gives at its worst, and nonsense of every kind."""

from __future__ import annotations

import traceback
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from jepa_ros.safety import SafetyFilter
from jepa_ros.safety.events import Fault
from jepa_ros.types import Imu, JointState

from .safety_referee import Referee
from .safety_rig import GO2, VELOCITIES

STARTS = (0.0, 100.0, 1e6, -50.0)
STATES = ("stand_up", "stand", "walk", "walk", "walk")
REQUESTS = ("stand", "walk", "stop", "sit", "damp", "recover", "dance", "")
GOALS = (b"", b"a", b"b", b"c", b"\xff" * 300)
TICKS = (0.0, 1e-6, 0.002, 0.01, 0.01, 0.01, 0.02, 0.05, 0.1, 0.149)
MESSAGES = ("joints", "camera", "deadman", "held", "plan", "feet", "ground")
NASTY = (np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324, -5e-324, 1e16, 0.0, -0.0, 7.0)
LEVEL = np.array([0.0, 0.0, 0.0, 1.0])


@dataclass
class Result:
    """What a storm came to."""

    inputs: int = 0
    commands: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    outside: list[str] = field(default_factory=list)
    not_finite: list[str] = field(default_factory=list)
    exceptions: list[str] = field(default_factory=list)

    def add(self, other: Result) -> None:
        """Put another's with it."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Storm:
    """One filter, and everything that is thrown at it.

    Args:
        rng: chance.
        result: where counts go.
    """

    def __init__(self, rng: np.random.Generator, result: Result) -> None:
        self.rng, self.result = rng, result
        self.walks = rng.uniform() < 0.5
        names = VELOCITIES if self.walks else tuple(rng.permutation(GO2.joint_names)[: rng.integers(1, 13)])
        self.deadman = rng.uniform() < 0.2
        self.filter = SafetyFilter(GO2, action_names=names, deadman=self.deadman)
        self.referee = Referee(GO2, self.walks)
        self.actions, self.now = len(names), float(rng.choice(STARTS))
        self.fury = float(rng.choice([0.0, 0.01, 0.1, 0.5]))
        self.raw, self.joints = GO2.stance("stand"), self._state(GO2.stance("sit"), 0.0)
        self.decision = self.filter.update(self.now)
        self.calm, self.goal, self.silent = 0, b"a", set()
        self.kinds = (*(self.tick,) * 6, self.measure, self.plan, self.ask, self.others)

    def run(self, inputs: int) -> None:
        """Throw about so many."""
        until = self.result.inputs + inputs
        while self.result.inputs < until:
            try:
                if self.calm == 0:
                    self.settle()
                self.kinds[self.rng.integers(len(self.kinds))]()
                self.calm -= 1
            except Exception:  # noqa: BLE001 - whatever it is, it is counted
                self.result.exceptions.append(traceback.format_exc())
        self.result.outside += self.referee.outside
        self.result.not_finite += self.referee.not_finite
        self.result.reasons.update(self.filter.counts)

    def settle(self) -> None:
        """Bring the robot into some state again, as it would be on a good day; then the storm goes on for a while."""
        self.calm, fury, self.fury = int(self.rng.integers(20, 200)), self.fury, 0.0
        self.silent = {MESSAGES[self.rng.integers(len(MESSAGES))]} if self.rng.uniform() < 0.4 else set()
        wanted = STATES[self.rng.integers(len(STATES))]
        self._call("on_stop_signal", self.now, False)
        self._call("on_commanders", self.now, 0)
        self._call("on_temperatures", self.now, np.full(12, 40.0))
        self.joints = self._state(np.clip(self.joints.position, GO2.lower, GO2.upper), 0.0)
        for number in range(90):
            state = self.filter.state
            if state == wanted:
                break
            if number % 5 == 1:
                self._call("request", {"passive": "stand", "stand": "walk", "damp": "recover"}.get(state, "stand"))
            self.now += 0.1
            self._hear_joints(self.now, self.joints)
            self._call("on_imu", self.now, Imu(np.zeros(3), LEVEL, np.zeros(3)))
            self._call("on_foot_contacts", self.now, np.full(4, 40.0))
            self._call("on_camera", self.now)
            self._call("on_deadman", self.now, True)
            self._call("on_clock", self.now, self.now + 5.0)
            self._call("on_plan", self.now, self.now + 0.3, self.goal)
            self.decision = self._call("update", self.now)
            self.command()
            if self.filter.state not in ("passive", "damp"):  # joints follow, or no stance would be reached
                self.joints = self._state(self.filter.last_command.position.copy(), 0.0)
        self.goal = self.goal if self.filter.state == "walk" else GOALS[self.rng.integers(len(GOALS))]
        if wanted == "walk" and self.rng.uniform() < 0.4:
            self._call("request", ("stop", "sit")[self.rng.integers(2)])
        self.fury = fury

    def measure(self) -> None:
        """Joints and inertial unit, as now or as nonsense."""
        if self._mad():
            shape = (12,) if self.rng.uniform() < 0.8 else self._shape()
            joints = JointState(self._vector(shape), self._vector(shape if self.rng.uniform() < 0.9 else (12,)), LEVEL)
            self._hear_joints(self._time(), joints)
            self._call("on_imu", self._time(), Imu(self._vector((3,)), self._vector((4,)), self._vector((3,))))
            return
        rng = self.rng
        command = self.filter.last_command.position
        lag = rng.choice([0.0, 0.02, 0.1, 0.6], p=[0.4, 0.3, 0.2, 0.1])
        position = np.clip(command + rng.normal(0.0, lag, 12), GO2.lower - 0.29, GO2.upper + 0.29)
        self.joints = self._state(position, float(rng.choice([0.0, 1.0, 20.0, 60.0], p=[0.4, 0.3, 0.25, 0.05])))
        self._hear_joints(self.now, self.joints)
        roll = rng.uniform(-0.4, 0.4) * rng.choice([1.0, 4.0], p=[0.97, 0.03])
        level = np.array([np.sin(roll / 2), 0.0, 0.0, np.cos(roll / 2)])
        self._call(
            "on_imu",
            self.now,
            Imu(rng.normal(0.0, 2.0, 3) * rng.choice([1.0, 9.0], p=[0.97, 0.03]), level, np.zeros(3)),
        )

    def tick(self) -> None:
        """Time moves on, and a command comes out."""
        self.now += self._mad_time() if self._mad() else float(self.rng.choice(TICKS))
        if not self._mad():
            self._hear()
        self._call("on_clock", self.now, self.now + (self._nasty() if self._mad() else 5.0))
        self.decision = self._call("update", self.now if not self._mad() else self._time())
        mad = self._mad()
        action = self._vector(self._shape() if mad and self.rng.uniform() < 0.5 else (self.actions,), mad)
        applied = self._call("limit_action", self.now if not self._mad() else self._time(), self.decision, action)
        if not np.isfinite(applied).all():
            self.referee.not_finite.append(f"action {applied}")
        if self.rng.uniform() < 0.05:
            self.ask()  # between a decision and its command
        self.command()
        if self.rng.uniform() < 0.1:
            self.command()

    def command(self) -> None:
        """Ask for the command, and have it judged."""
        raw, given, imu = self._targets(), None, None
        if self.rng.uniform() < 0.3:
            given = self.joints
        if self._mad():
            given = JointState(self._vector((12,)), self._vector((12,)), LEVEL)
            imu = Imu(self._vector((3,)), self._vector((4,)), self._vector((3,)))
        at = self._time() if self._mad() else self.now
        command = self._call("command", at, self.decision, raw, given, imu)
        safety, state = self.filter, self.filter.state
        joints = given if given is not None and self.referee.usable(given) else self.referee.joints
        # The clock and the motion are the filter's own: the last word was its `update`, whatever `command` was given.
        self.referee.judge(safety._now, state, safety._machine.policy_runs, command, joints)
        self.result.commands[state] += 1

    def _hear(self) -> None:
        """One tick's messages, but for those that are silent."""
        if "joints" not in self.silent:
            self.measure()
        if "camera" not in self.silent:
            self._call("on_camera", self.now)
        if "deadman" not in self.silent:
            self._call("on_deadman", self.now, "held" not in self.silent)
        if "plan" not in self.silent:
            self._call("on_plan", self.now, self.now + 0.3, self.goal)
        if "feet" not in self.silent:
            self._call("on_foot_contacts", self.now, np.full(4, 1.0 if "ground" in self.silent else 50.0))

    def plan(self) -> None:
        """A plan or the end of a goal, with any times."""
        goal = GOALS[self.rng.integers(len(GOALS))] if self.rng.uniform() < 0.2 else self.goal
        if self.rng.uniform() < 0.05:
            self._call("on_goal_end", goal)
            return
        if self.rng.uniform() < 0.01 and not self._call("goal_is_over", goal):
            self._call("on_bad_plan", self._time() if self._mad() else self.now, Fault("plan_not_finite", "nonsense"))
        likely = self.now + self.rng.uniform((-0.02, -0.01, -0.3), (0.0, 0.5, 0.102))
        times = [self._time() if self._mad() else float(at) for at in likely]
        if self._call("on_plan", times[0], times[1], goal, times[2]):
            self.goal = goal

    def ask(self) -> None:
        """The operator; most often what gets the robot going."""
        wanted = {"passive": "stand", "stand": "walk", "damp": "recover", "sit": "stand"}.get(self.filter.state, "walk")
        if self.rng.uniform() < 0.1:
            wanted = REQUESTS[self.rng.integers(len(REQUESTS))]
        self._call("request", wanted)

    def others(self) -> None:
        """Every other method."""
        rng, mad = self.rng, self._mad()
        at = self._time() if mad else self.now
        self._call("on_camera", at)
        if mad:
            self._call("on_deadman", at, bool(rng.uniform() < 0.5))
        self._call("on_stop_signal", at, bool(rng.uniform() < 0.02))
        self._call("on_commanders", at, int(rng.choice([0, 2, -1, 10**9], p=[0.96, 0.02, 0.01, 0.01])))
        self._call("on_temperatures", at, self._vector(self._shape()) if mad else rng.uniform(20.0, 75.5, 12))
        if mad:
            self._call("on_foot_contacts", at, self._vector(self._shape()))
        if mad and rng.uniform() < 0.5:
            self._call("trip", at, "test", "the caller tripped it")
        if not self.filter.ages(at).plan >= 0.0 and not np.isnan(at):
            self.referee.outside.append("an age below zero")

    def _hear_joints(self, at: float, joints: JointState) -> None:
        newest = self._call("on_joint_state", at, joints)
        if newest and np.isfinite(at) and self.referee.usable(joints):
            self.referee.joints = JointState(joints.position.astype(float), joints.velocity.astype(float), LEVEL)

    def _targets(self) -> np.ndarray | None:
        """The motion's: still, a walk of their own, leaps to both ends of the range, none, or nonsense."""
        rng, kind = self.rng, self.rng.uniform()
        if self._mad():
            return self._vector((12,) if rng.uniform() < 0.8 else self._shape())
        if kind < 0.2:
            return None
        if kind < 0.5:
            self.raw = np.clip(self.raw + rng.normal(0.0, 0.05, 12), GO2.lower - 0.1, GO2.upper + 0.1)
        elif kind < 0.6:
            self.raw = np.where(rng.uniform(size=12) < 0.5, GO2.lower, GO2.upper) * rng.uniform(0.5, 1.1)
        return self.raw

    def _state(self, position: np.ndarray, speed: float) -> JointState:
        return JointState(position, self.rng.normal(0.0, 1.0, 12).clip(-4, 4) * speed * 0.25, np.zeros(12))

    def _mad(self) -> bool:
        return self.rng.uniform() < self.fury * 0.2

    def _nasty(self) -> float:
        return float(NASTY[self.rng.integers(len(NASTY))])

    def _time(self) -> float:
        """Any time: near, or nonsense."""
        return self.now + float(self.rng.normal(0.0, 0.1)) if self.rng.uniform() < 0.5 else self._nasty()

    def _mad_time(self) -> float:
        """A step of time that no loop takes, and that leaves the clock usable."""
        return float(self.rng.choice([-5.0, -1e-9, 0.2, 3.0, 1000.0]))

    def _shape(self) -> tuple[int, ...]:
        return [(), (0,), (1,), (11,), (13,), (12, 1), (3, 4), (4,)][self.rng.integers(8)]

    def _vector(self, shape: tuple[int, ...], nasty: bool = True) -> np.ndarray:
        """Values of any size; as often as not with one among them that nothing should give."""
        values = self.rng.normal(0.0, float(self.rng.choice([0.1, 1.0, 30.0])), shape)
        if nasty and values.size and self.rng.uniform() < 0.5:
            values.flat[self.rng.integers(values.size)] = self._nasty()
        with np.errstate(over="ignore"):
            return values.astype(np.float32) if self.rng.uniform() < 0.05 * self.fury else np.asarray(values)

    def _call(self, name: str, *given: object) -> object:
        self.result.inputs += 1
        self.result.calls[name] += 1
        answer = getattr(self.filter, name)(*given)
        if self.filter.state in ("passive", "damp"):
            self.referee.rest()
        return answer
