"""When a goal is over, and that it is over only once."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros_nodes.goals import ActiveGoal


@pytest.fixture
def goal():
    return ActiveGoal(np.zeros(2, np.float32), tolerance=1.0, time_limit=0.0)


def test_it_is_reached_after_a_second_within_the_tolerance(goal):
    goal.judge(0.9, 5.0)
    goal.judge(1.0, 5.9)
    assert not goal.ended.is_set()
    goal.judge(0.5, 6.0)
    assert goal.reached
    assert goal.reason.startswith("arrived: energy 0.5 stayed within 1 for 1 s")


def test_leaving_the_tolerance_starts_the_second_anew(goal):
    for energy, at in ((0.5, 0.0), (1.1, 0.5), (0.5, 0.6), (0.5, 1.5)):
        goal.judge(energy, at)
    assert not goal.ended.is_set()


def test_a_negative_tolerance_never_arrives():
    goal = ActiveGoal(np.zeros(2, np.float32), tolerance=-1.0, time_limit=0.0)
    goal.judge(0.0, 0.0)
    goal.judge(0.0, 9.0)
    assert not goal.ended.is_set()


def test_an_energy_that_is_not_a_number_is_not_near(goal):
    goal.judge(float("nan"), 0.0)
    goal.judge(float("nan"), 2.0)
    assert not goal.reached


def test_time_is_up():
    goal = ActiveGoal(np.zeros(2, np.float32), tolerance=1.0, time_limit=1e-6)
    goal.judge(3.0, 0.0)
    assert goal.ended.is_set()
    assert not goal.reached
    assert "time limit of 0 s reached at energy 3" in goal.reason


def test_it_says_what_it_waits_for(goal):
    assert goal.status == "waiting for a frame"
    goal.frames = 3
    assert goal.status == "frames come, but no plan yet"
    goal.plans = 1
    assert goal.status == "driving"


def test_no_time_limit(goal):
    goal.check_time()
    assert not goal.ended.is_set()
    assert goal.remaining == -1.0


def test_only_the_first_end_counts(goal):
    goal.end(True, "arrived")
    goal.end(False, "cancelled")
    assert (goal.reached, goal.reason) == (True, "arrived")


def test_two_goals_have_two_identities(goal):
    other = ActiveGoal(goal.latent, 1.0, 0.0)
    assert len(goal.identity) == 16
    assert goal.identity != other.identity
