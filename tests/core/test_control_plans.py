"""Which action holds when, over plans that come late, early, twice, for another goal, or wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jepa_ros.control import PlanFollower
from jepa_ros.errors import RobotError
from jepa_ros.types import PlanChunk


def chunk(start, values, goal=b"1", names=("vx", "wz"), step=0.2, valid=1.0):
    return PlanChunk(names, start, step, np.asarray(values, dtype=float), start - 0.2, start + valid, goal)


@pytest.fixture
def follower():
    return PlanFollower(["vx", "wz"])


def test_nothing_holds_before_the_first_plan_takes_effect(follower):
    assert follower.action(0.0) is None
    follower.take(chunk(10.0, [[1, 2]]))
    assert follower.action(9.99) is None
    np.testing.assert_array_equal(follower.action(10.0), [1, 2])


def test_each_step_holds_for_its_time_and_the_last_one_on_until_the_validity_ends(follower):
    follower.take(chunk(10.0, [[1, 0], [2, 0], [3, 0]]))
    assert [follower.action(t)[0] for t in (10.05, 10.25, 10.45, 10.99)] == [1, 2, 3, 3]
    assert follower.action(11.01) is None


def test_the_plan_in_force_goes_on_until_the_next_takes_effect(follower):
    follower.take(chunk(10.0, [[1, 0], [2, 0]]))
    follower.take(chunk(10.2, [[5, 0]]))
    assert follower.action(10.15)[0] == 1
    assert follower.action(10.2)[0] == 5


def test_with_a_longer_delay_no_plan_begins_early(follower):
    """Plans come two steps before they take effect: each holds for its own step all the same."""
    for k in range(5):
        follower.take(chunk(10.0 + 0.2 * k, [[k, 0]]))
        now = 10.0 + 0.2 * (k - 2) + 0.05
        held = follower.action(now)
        assert (None if held is None else held[0]) == (k - 2 if k >= 2 else None)


def test_an_expired_plan_does_not_hold_until_the_next_takes_effect(follower):
    follower.take(chunk(10.0, [[1, 0]], valid=0.4))
    follower.take(chunk(70.0, [[5, 0]]))
    assert follower.action(69.9) is None


def test_a_plan_made_anew_for_the_same_time_replaces_what_was_to_come(follower):
    follower.take(chunk(10.0, [[1, 0]]))
    follower.take(chunk(10.4, [[7, 0]]))
    follower.take(chunk(10.2, [[5, 0]]))
    assert follower.action(10.5)[0] == 5


def test_nothing_of_the_goal_before_is_carried_out(follower):
    follower.take(chunk(10.0, [[1, 0]]))
    assert follower.action(10.1)[0] == 1
    follower.take(chunk(10.4, [[7, 0]], goal=b"2"))
    assert follower.action(10.2) is None
    assert follower.action(10.4)[0] == 7


def test_components_are_found_by_name(follower):
    follower.take(follower.ordered(chunk(1.0, [[3, 4]], names=("wz", "vx"))))
    np.testing.assert_array_equal(follower.action(1.0), [4, 3])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"names": ("vx", "vy")}, "it has the actions vx, vy, this robot takes vx, wz"),
        ({"names": ("vx",)}, "this robot takes vx, wz"),
        ({"values": np.zeros((1, 3))}, r"its values are \[1, 3\]"),
        ({"values": np.zeros((0, 2))}, r"its values are \[0, 2\]"),
        ({"step": 0.0}, "its step is 0.0 s"),
        ({"step": 1e-310}, "its step is 1e-310 s"),
        ({"step": float("nan")}, "its step is nan s"),
        ({"valid_until": float("inf")}, "one of its times is not a number"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(follower, wrong, says):
    with pytest.raises(RobotError, match=says):
        follower.ordered(replace(chunk(0.0, [[1, 2]]), **wrong))
