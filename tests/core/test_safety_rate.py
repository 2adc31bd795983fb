"""Targets at a limited rate: what moves within the limits is followed to the bit, the rest without breaking one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_ros.robots.limits import Rate
from jepa_ros.robots.model import Gains
from jepa_ros.safety.rate import RateLimiter
from jepa_ros.safety.stance import Posture, StanceChange

from .safety_rig import GO2, Rig

RATE = Rate(speed=4.0, acceleration=40.0, step=0.2, braking=20.0)
TICKS = st.sampled_from([1e-5, 0.002, 0.01, 0.02, 0.05, 0.1, 0.149])


def checked(limiter: RateLimiter, targets: np.ndarray, dt: float, rate: Rate) -> None:
    """One step, judged as it is seen from outside."""
    before, speed = limiter.position.copy(), limiter.speed.copy()
    limiter.follow(targets, dt)
    moved = limiter.position - before
    assert np.abs(moved).max() <= rate.step + 1e-12
    assert np.abs(moved / dt).max() <= rate.speed + 1e-9
    assert np.abs(moved / dt - speed).max() <= rate.acceleration * dt + 1e-9 / dt * 1e-3
    np.testing.assert_allclose(limiter.speed, moved / dt, atol=1e-8)


@settings(deadline=None)
@given(ways=st.lists(st.tuples(st.floats(-1.0, 1.0), st.lists(TICKS, min_size=1, max_size=30)), min_size=1, max_size=8))
def test_no_limit_breaks_and_the_range_is_kept_whatever_the_ticks_are(ways: list[tuple[float, list[float]]]):
    limiter = RateLimiter(RATE, np.zeros(1), np.array([-1.0]), np.array([1.0]))
    for target, ticks in ways:
        for dt in ticks:
            checked(limiter, np.array([target]), dt, RATE)
            assert abs(limiter.position.item()) <= 1.0


@settings(deadline=None)
@given(ticks=st.lists(st.sampled_from([0.002, 0.009, 0.01, 0.011, 0.03]), min_size=20, max_size=60))
def test_a_change_of_stance_is_followed_to_the_bit_though_the_loop_jitters(ticks: list[float]):
    gains = Gains(kp=60.0, kd=5.0)
    start, end = GO2.stance("sit"), GO2.stance("stand")
    rate = GO2.safety.motions.stance.rate
    change = StanceChange(Posture(start, gains), Posture(end, gains), 0.0, rate, 1.0)
    limiter, now, out = RateLimiter(rate, start, GO2.lower, GO2.upper), 0.0, np.empty(12)
    for dt in ticks * 5:
        now += dt
        checked(limiter, change.at(now, out), dt, rate)
    # A last tick that is short leaves it one tick behind.
    checked(limiter, change.at(now + 0.03, out), 0.03, rate)
    assert not change.over(now) or np.array_equal(limiter.position, end)


def test_what_takes_over_from_something_faster_brakes_first():
    fast = RateLimiter(RATE, np.zeros(1), np.array([-1.0]), np.array([1.0]))
    while fast.speed.item() < 2.5:
        fast.follow(np.ones(1), 0.01)
    slow = Rate(speed=1.0, acceleration=20.0, step=0.2)
    limiter = RateLimiter(slow, fast.position, np.array([-1.0]), np.array([1.0]))
    limiter.speed[:] = fast.speed
    rest, out = limiter.stopping_point(np.empty(1)).item(), np.empty(1)
    assert fast.position.item() < rest <= 1.0
    way = [limiter.follow(np.array([rest]), 0.01).item() for _ in range(60)]
    assert np.diff(way)[0] == pytest.approx((fast.speed.item() - 0.4) * 0.01, abs=1e-9)
    assert way[-1] == pytest.approx(rest, abs=1e-4)
    assert limiter.stopping_point(out).item() == pytest.approx(rest, abs=1e-4)


def test_a_stop_of_direct_motion_jumps_neither_in_position_nor_in_speed():
    names = GO2.joint_names
    rig = Rig(action_names=names, action=GO2.stance("stand"), raw=GO2.stance("stand"))
    rig.walking().raw = GO2.stance("sit")
    sent = [rig.tick()[1].position for _ in range(8)]
    assert rig.filter.request("stop").accepted
    sent += [rig.tick()[1].position for _ in range(150)]
    speed = np.diff(sent, axis=0) / 0.02
    assert np.abs(speed[6]).max() > 2.0  # as fast as that when it is stopped
    assert np.abs(np.diff(speed, axis=0)).max() <= 40.0 * 0.02 + 1e-6
    assert np.abs(np.diff(speed[7:], axis=0)).max() <= 20.0 * 0.02 + 1e-6
    assert rig.filter.state == "stand"
    np.testing.assert_allclose(sent[-1], GO2.stance("stand"), atol=1e-9)
