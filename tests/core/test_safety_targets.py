"""Limits on joint targets and actions: what holds for any finite input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jepa_ros.errors import RobotError
from jepa_ros.robots.limits import Rate
from jepa_ros.robots.model import Gains
from jepa_ros.safety.hold import TargetHold
from jepa_ros.safety.rate import RateLimiter
from jepa_ros.safety.stance import Posture, StanceChange
from jepa_ros.safety.velocity import ActionLimiter
from jepa_ros.types import JointState

from .safety_rig import GO2, VELOCITIES, Rig, is_damping

FINITE = st.floats(-1e6, 1e6)


def hold_to_limits(targets: np.ndarray, joints: JointState, kp: float, kd: float, move: bool = True) -> TargetHold:
    hold = TargetHold(GO2)
    hold.hold(targets, joints, kp, kd, move)
    return hold


def joints(position: np.ndarray, velocity: np.ndarray) -> JointState:
    return JointState(position, velocity, np.zeros_like(position))


@given(
    targets=hnp.arrays(np.float64, 12, elements=FINITE),
    position=hnp.arrays(np.float64, 12, elements=st.floats(-6, 6)),
    velocity=hnp.arrays(np.float64, 12, elements=st.floats(-200, 200)),
    gains=st.sampled_from([(20.0, 0.5), (60.0, 5.0), (1.0, 0.0)]),
    move=st.booleans(),
)
def test_held_targets_are_in_range_and_within_the_torque_estimate(
    targets: np.ndarray, position: np.ndarray, velocity: np.ndarray, gains: tuple[float, float], move: bool
):
    held = hold_to_limits(targets, joints(position, velocity), *gains, move)
    assert (held.position >= GO2.lower).all()
    assert (held.position <= GO2.upper).all()
    torque = np.abs(held.kp * (held.position - position) - held.kd * velocity)
    assert (torque <= GO2.effort_limits * (1 + 1e-9)).all()
    assert (held.kp <= gains[0]).all()


def test_ordinary_targets_pass_unchanged():
    targets = GO2.stance("walk") + 0.1
    held = hold_to_limits(targets, joints(GO2.stance("walk"), np.zeros(12)), 20.0, 0.5)
    np.testing.assert_array_equal(held.position, targets)
    assert (held.kp == 20.0).all()
    assert not held.past_range
    assert not held.past_effort


def test_effort_is_held_by_moving_the_target():
    hip = GO2.joint_names.index("FL_hip_joint")
    targets = GO2.stance("stand")
    targets[hip] = 1.0
    held = hold_to_limits(targets, joints(GO2.stance("stand"), np.zeros(12)), 60.0, 5.0)
    assert held.position[hip] == pytest.approx(23.7 / 60.0)
    assert held.past_effort
    assert (held.kp == 60.0).all()


def test_gains_give_way_where_no_target_fits():
    calf = GO2.joint_names.index("FL_calf_joint")
    position, velocity = GO2.stance("sit"), np.zeros(12)
    velocity[calf] = -15.0  # thrown towards its stop: braking it needs more than the motor has
    held = hold_to_limits(position, joints(position, velocity), 60.0, 5.0)
    assert held.kp[calf] < 60.0
    torque = held.kp[calf] * (held.position[calf] - position[calf]) - held.kd[calf] * velocity[calf]
    assert torque == pytest.approx(35.55)


@given(
    goals=st.lists(st.tuples(st.floats(-3, 3), st.integers(1, 40)), min_size=1, max_size=8),
    tick=st.sampled_from([0.002, 0.02]),
)
def test_rate_limited_targets_keep_speed_and_acceleration(goals: list[tuple[float, int]], tick: float):
    rate = Rate(speed=4.0, acceleration=40.0)
    limiter = RateLimiter(rate, np.zeros(1))
    way = np.array(
        [0.0, *(limiter.follow(np.array([goal]), tick).item() for goal, count in goals for _ in range(count))]
    )
    speed = np.diff(way) / tick
    assert np.abs(speed).max() <= 4.0 + 1e-9
    assert np.abs(np.diff(speed)).max(initial=0.0) <= 40.0 * tick + 1e-6


def test_rate_limited_targets_arrive_without_overshoot():
    limiter = RateLimiter(Rate(speed=4.0, acceleration=40.0), np.zeros(1))
    way = np.array([limiter.follow(np.array([1.0]), 0.002).item() for _ in range(400)])
    assert way.max() <= 1.0 + 1e-3
    assert way[-1] == pytest.approx(1.0, abs=1e-3)
    assert np.argmax(way > 0.99) * 0.002 < 0.5  # 1 rad at 4 rad/s and 40 rad/s² takes 0.35 s at best


@pytest.mark.parametrize("dt", [-1.0, 0.0])
def test_a_clock_that_stands_or_runs_back_moves_no_target(dt: float):
    limiter = RateLimiter(Rate(speed=4.0, acceleration=40.0), np.zeros(1))
    assert limiter.follow(np.ones(1), dt) == 0.0


def test_a_clock_that_leaps_moves_a_target_by_a_tick_at_most():
    limiter = RateLimiter(Rate(speed=4.0, acceleration=40.0), np.zeros(1))
    assert abs(limiter.follow(np.ones(1), 1e300)[0]) <= 0.4


@given(distance=st.floats(-4, 4), rate=st.sampled_from([(3.0, 20.0), (0.5, 1.0)]))
def test_stance_changes_keep_their_rate_and_never_take_less_than_a_second(distance: float, rate: tuple[float, float]):
    stand, walk = Gains(kp=60.0, kd=5.0), Gains(kp=20.0, kd=0.5)
    limits = Rate(speed=rate[0], acceleration=rate[1])
    change = StanceChange(Posture(np.zeros(2), walk), Posture(np.array([distance, 0.1]), stand), 5.0, limits, 1.0)
    assert change.duration >= 1.0
    times = np.linspace(5.0, 5.0 + change.duration, 400)
    way = np.array([change.at(float(t), np.empty(2)) for t in times])
    speed = np.diff(way, axis=0) / (times[1] - times[0])
    assert np.abs(speed).max() <= rate[0] * (1 + 1e-6)
    assert np.abs(np.diff(speed, axis=0)).max() / (times[1] - times[0]) <= rate[1] * 1.01
    for t, gains in ((4.0, walk), (times[-1] + 1.0, stand)):
        change.at(t, np.empty(2))
        assert (change.kp, change.kd) == (gains.kp, gains.kd)
    assert not change.over(times[-1] - 0.01)
    assert change.over(times[-1] + 0.01)


@given(
    actions=st.lists(hnp.arrays(np.float64, 3, elements=FINITE), min_size=2, max_size=10),
    scale=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_actions_stay_in_bounds_and_change_no_faster_than_the_slew(actions: list[np.ndarray], scale: float):
    limiter = ActionLimiter(GO2, VELOCITIES, GO2.safety.slew)
    applied = np.array([limiter.limit(0.02 * i, action, scale).copy() for i, action in enumerate(actions)])
    assert (applied >= np.array(GO2.locomotion.command_low)).all()
    assert (applied <= np.array(GO2.locomotion.command_high)).all()
    assert (np.abs(np.diff(applied, axis=0)) <= np.array([10.0, 10.0, 30.0]) * 0.02 + 1e-9).all()


def test_a_stop_is_not_slewed():
    limiter = ActionLimiter(GO2, VELOCITIES, GO2.safety.slew)
    for i in range(20):
        moving = limiter.limit(0.02 * i, np.array([1.0, 0.0, 1.0]), 1.0).copy()
    np.testing.assert_array_equal(moving, [1.0, 0.0, 1.0])
    assert (limiter.limit(0.4, np.array([1.0, 0.0, 1.0]), 0.0) == 0).all()


def test_bounds_follow_the_order_of_the_names():
    limiter = ActionLimiter(GO2, ("wz", "vx"), GO2.safety.slew)
    for i in range(50):
        applied = limiter.limit(0.02 * i, np.array([9.0, 9.0]), 1.0)
    np.testing.assert_array_equal(applied, [1.2, 1.0])


def test_joint_actions_are_held_to_the_joints_range():
    limiter = ActionLimiter(GO2, ("FL_calf_joint",), GO2.safety.slew)
    assert limiter.limit(0.0, np.array([0.0]), 1.0) == pytest.approx(-0.83776)


def test_a_velocity_without_a_slew_limit_is_refused():
    with pytest.raises(RobotError, match=r"safety\.slew lacks wz"):
        ActionLimiter(GO2, VELOCITIES, {"vx": 1.0, "vy": 1.0})


def test_a_gait_may_ask_past_the_range_for_ever_but_direct_motion_may_not():
    beyond = GO2.upper + 0.2
    rig = Rig(raw=beyond).walking()
    assert rig.run(3.0) == ["walk"]

    names = ("FL_hip_joint",)
    direct = Rig(action_names=names, action=np.zeros(1), raw=GO2.stance("stand")).walking()
    direct.raw = beyond
    # The rate limiter takes a while to the end of the range; then the clock of half a second starts.
    assert direct.run(2.5)[-1] == "damp"
    assert direct.filter.counts == {"joint_range": 1}
    assert is_damping(direct.tick()[1])


def test_a_gait_that_is_not_ours_is_held_to_the_bounds_of_the_output_that_commands_it():
    limiter = ActionLimiter(GO2.with_output("cmd_vel"), VELOCITIES, GO2.safety.slew)
    for i in range(50):
        applied = limiter.limit(0.02 * i, np.array([9.0, -9.0, 9.0]), 1.0)
    np.testing.assert_array_equal(applied, [0.4, -0.2, 0.6])
