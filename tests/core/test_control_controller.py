"""Plans to joint commands with the real walking policy: who is followed, what holds meanwhile, and what is too old."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from jepa_ros.control import JointController, Tick
from jepa_ros.errors import RobotError
from jepa_ros.types import JointState, PlanChunk

from .safety_rig import GO2, VELOCITIES, is_damping, tilted

TICK_S, CLOCK = 0.01, 1000.0  # the plans' clock is so far ahead of the monotonic one


@dataclass
class Robot:
    """Joints that follow their commands, and a controller for them; time moves on with each tick."""

    names: tuple[str, ...] = VELOCITIES
    now: float = 50.0
    age: float = 0.0
    goal: bytes = b""
    values: np.ndarray = field(default_factory=lambda: np.array([[0.3, 0.0, 0.0]]))

    def __post_init__(self) -> None:
        self.controller = JointController(GO2, self.names, 1 / TICK_S)
        self.position = GO2.stance("sit")

    def plan(self, goal: bytes, values: np.ndarray, start: float = 0.0, observed: float = 0.0) -> bool:
        clock = self.now + CLOCK
        chunk = PlanChunk(self.names, clock + start, 0.2, np.asarray(values), clock + observed, clock + 0.5, goal)
        return self.controller.on_plan(self.now, clock, chunk)

    def tick(self) -> Tick:
        self.now += TICK_S
        zero = np.zeros_like(self.position)
        self.controller.on_joint_state(self.now, JointState(self.position, zero, zero), self.age)
        self.controller.on_imu(self.now, tilted(0.0), 0.0)
        if self.goal:
            self.plan(self.goal, self.values)
        done = self.controller.tick(self.now, self.now + CLOCK)
        if done.command is not None and done.command.kp.any():
            self.position = done.command.position.copy()
        return done

    def run(self, seconds: float) -> Tick:
        for _ in range(round(seconds / TICK_S)):
            done = self.tick()
        return done

    def walking(self, goal: bytes = b"1") -> Robot:
        self.tick()
        assert self.controller.safety.request("stand").accepted
        assert self.run(3.0).decision.state == "stand"
        assert self.controller.safety.request("walk").accepted
        self.goal = goal
        assert self.run(0.3).decision.state == "walk"
        return self


def applied(robot: Robot) -> np.ndarray:
    """What is carried out next."""
    while (found := robot.tick().applied) is None:
        pass
    return found


@pytest.mark.parametrize("rate", [75.0, 125.0, 20.0])
def test_a_rate_that_the_motion_cannot_be_run_at_is_refused(rate):
    with pytest.raises(RobotError, match="whole multiple of the motion's 50 Hz"):
        JointController(GO2, VELOCITIES, rate)


def test_the_motion_runs_at_its_own_rate():
    robot = Robot().walking()
    assert sum(robot.tick().applied is not None for _ in range(100)) == 50


def test_it_walks_as_the_plan_says():
    np.testing.assert_allclose(applied(Robot().walking()), [0.3, 0.0, 0.0])


def test_a_straggler_of_a_goal_that_is_over_touches_nothing():
    robot = Robot().walking(b"1")
    robot.goal, robot.values = b"2", np.array([[0.1, 0.0, 0.0]])
    robot.run(0.1)
    age = robot.controller.safety.ages(robot.now).camera
    assert not robot.plan(b"1", [[0.9, 0.0, 0.9]], observed=10.0)
    assert robot.controller.safety.ages(robot.now).camera == age
    np.testing.assert_allclose(applied(robot), [0.1, 0.0, 0.0])


def test_a_gait_walks_on_the_spot_while_no_plan_is_in_force():
    robot = Robot().walking()
    robot.goal = b""
    assert robot.plan(b"2", [[0.3, 0.0, 0.0]], start=0.2)
    robot.run(0.1)
    np.testing.assert_array_equal(applied(robot), 0.0)


def test_joints_stay_where_they_are_while_no_plan_is_in_force():
    robot = Robot(names=GO2.joint_names, values=GO2.stance("stand")[None]).walking()
    before = robot.position.copy()
    robot.goal = b""
    assert robot.plan(b"2", GO2.stance("walk")[None], start=0.2)
    for _ in range(18):
        assert robot.tick().decision.state == "walk"
    np.testing.assert_allclose(robot.position, before, atol=0.01)


def test_a_plan_of_a_frame_from_the_future_is_refused_and_ends_the_walk():
    robot = Robot().walking()
    robot.goal = b""
    assert not robot.plan(b"1", [[0.3, 0.0, 0.0]], observed=4000.0)
    decision = robot.tick().decision
    assert decision.state == "stopping"
    assert decision.reason == "a plan came from 4000.000 s in the future, the limit is 0.1 s"
    assert robot.controller.safety.counts == {"plan_from_future": 1}


@pytest.mark.parametrize("age", [0.2, -0.2])
def test_joint_states_with_an_old_or_future_header_damp_though_they_keep_coming(age):
    robot = Robot().walking()
    robot.age = age
    assert robot.run(0.1).decision.state == "walk"  # older than the newest: ignored, and so far it is late, no more
    done = robot.run(0.1)
    assert is_damping(done.command)
    assert "joint state stale" in done.decision.reason


def test_a_loop_that_stood_still_damps_when_it_comes_back_and_says_so():
    robot = Robot().walking()
    robot.now += 2.0
    done = robot.tick()
    assert is_damping(done.command)
    assert done.decision.reason == "the control loop stood still for 2.010 s, the limit is 0.15 s"
    assert robot.controller.safety.counts == {"loop_stalled": 1}


def test_a_loop_that_stood_still_before_anybody_asked_for_anything_is_no_fault():
    robot = Robot()
    robot.tick()
    robot.now += 20.0
    assert robot.tick().decision.state == "passive"
    assert robot.controller.safety.counts == {}


def test_the_goal_whose_walk_was_stopped_is_told_and_one_that_ended_is_not():
    robot = Robot().walking(b"1")
    safety = robot.controller.safety
    robot.goal = b""
    robot.controller.on_goal_end(b"1")
    robot.run(0.1)
    assert safety.stopped_goal is None
    robot.goal = b"2"
    assert robot.run(2.0).decision.state == "walk"
    safety.request("stop")
    assert safety.stopped_goal == (b"2", "stopping on request")
    assert not robot.plan(b"2", [[0.3, 0.0, 0.0]])


def test_a_plan_of_numbers_that_are_none_ends_the_walk_at_once():
    robot = Robot().walking()
    robot.values = np.array([[np.nan, 0.0, 0.0]])
    done = robot.run(0.1)
    assert done.decision.state == "stopping"
    assert np.isfinite(done.command.position).all()
    assert "not a number" in done.decision.reason
