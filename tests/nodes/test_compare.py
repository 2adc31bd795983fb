"""The paired comparison's arithmetic, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros_nodes.compare import held, paired
from jepa_ros_simulation.records import GoalRecord


def pairs(both, first, second, neither):
    outcomes = [(True, True)] * both + [(True, False)] * first + [(False, True)] * second + [(False, False)] * neither
    return paired([a for a, _ in outcomes], [b for _, b in outcomes])


def test_equal_outcomes():
    found = pairs(30, 0, 0, 20)
    assert (found["difference"], found["ci95"], found["mcnemar_p"]) == (0.0, [0.0, 0.0], 1.0)


def test_a_difference_with_its_interval():
    found = pairs(30, 8, 2, 10)
    assert found["difference"] == pytest.approx(0.12)
    half = 1.959964 * np.sqrt(10 - 50 * 0.12**2) / 50
    np.testing.assert_allclose(found["ci95"], [0.12 - half, 0.12 + half])
    assert found["mcnemar_p"] == pytest.approx(2 * (1 + 10 + 45) / 1024)


def record(times, goal=(0.0, 0.0, 0.0), off=0.0):
    view = np.zeros((2, 2, 3), np.uint8)
    found = GoalRecord(1, (0.0, 0.0, 0.0), goal, view, view)
    found.poses = [(t, off, 0.0, 0.0) for t in times]
    return found


def test_held_needs_the_whole_last_second():
    times = np.arange(0.0, 10.01, 0.05)
    assert held(record(times))
    assert not held(record(times, off=0.3))
    late = record(times)
    late.poses = [(t, 0.0 if t > 9.5 else 0.3, 0.0, 0.0) for t in times]
    assert not held(late)


def test_a_drive_that_was_cut_short_is_none():
    assert not held(record(np.arange(0.0, 5.0, 0.05)))
    assert not held(record([0.1, 9.0, 9.5]))
