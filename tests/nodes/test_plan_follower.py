"""Which action holds when, over plans that come late, twice, for another goal, or wrong."""

from __future__ import annotations

import numpy as np
import pytest
from jepa_ros_msgs.msg import ActionChunk

from jepa_ros.errors import RobotError
from jepa_ros_nodes.conversions import stamp
from jepa_ros_nodes.plan_follower import PlanFollower


def chunk(start, values, goal=1, names=("vx", "wz"), step=0.2):
    values = np.asarray(values, dtype=float)
    message = ActionChunk(names=list(names), step=step, steps=len(values), goal_id=[goal] * 16)
    message.header.stamp, message.values = stamp(start), values.reshape(-1).tolist()
    return message


@pytest.fixture
def follower():
    return PlanFollower(["vx", "wz"])


def test_rest_before_the_first_plan_takes_effect(follower):
    assert not follower.action(0.0).any()
    follower.take(chunk(10.0, [[1, 2]]))
    assert not follower.action(9.99).any()
    np.testing.assert_array_equal(follower.action(10.0), [1, 2])


def test_each_step_holds_for_its_time_and_the_last_one_on(follower):
    follower.take(chunk(10.0, [[1, 0], [2, 0], [3, 0]]))
    assert [follower.action(t)[0] for t in (10.05, 10.25, 10.45, 99.0)] == [1, 2, 3, 3]


def test_the_plan_in_force_goes_on_until_the_next_takes_effect(follower):
    follower.take(chunk(10.0, [[1, 0], [2, 0]]))
    follower.action(10.1)
    follower.take(chunk(10.2, [[5, 0]]))
    assert follower.action(10.15)[0] == 1
    assert follower.action(10.2)[0] == 5


def test_a_plan_that_was_never_asked_for_still_comes_between(follower):
    follower.take(chunk(10.0, [[1, 0]]))
    follower.take(chunk(10.2, [[5, 0]]))
    assert follower.action(10.1)[0] == 1


def test_nothing_of_the_goal_before_is_carried_out(follower):
    follower.take(chunk(10.0, [[1, 0]]))
    assert follower.action(10.1)[0] == 1
    follower.take(chunk(10.4, [[7, 0]], goal=2))
    assert follower.action(10.2)[0] == 0
    assert follower.action(10.4)[0] == 7


def test_components_are_found_by_name(follower):
    follower.take(chunk(1.0, [[3, 4]], names=("wz", "vx")))
    np.testing.assert_array_equal(follower.action(1.0), [4, 3])


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (chunk(0.0, [[1, 2]], names=("vx", "vy")), "it has the actions vx, vy, this robot takes vx, wz"),
        (chunk(0.0, [[1]], names=("vx",)), "this robot takes vx, wz"),
        (chunk(0.0, [[1, 2, 3]]), "3 values do not make 1 steps of 2 actions"),
        (chunk(0.0, [[1, 2]], step=0.0), "0.0 s each"),
        (chunk(0.0, [[1, 2]], step=float("nan")), "nan s each"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(follower, message, says):
    with pytest.raises(RobotError, match=says):
        follower.take(message)
    assert not follower.action(1.0).any()
