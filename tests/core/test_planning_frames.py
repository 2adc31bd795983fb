"""Which frames are taken at which camera rate, and what was carried out between them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_ros.planning.frames import AppliedActions, FrameCadence

STEP_S = 0.2


def taken(stamps):
    cadence, found = FrameCadence(STEP_S), []
    for stamp in stamps:
        cadence.saw(stamp)
        if cadence.due(stamp):
            found.append((stamp, cadence.take(stamp)))
    return found


@pytest.mark.parametrize("rate", [5.0, 10.0, 10.42, 15.0, 24.0, 25.0, 30.0, 60.0])
def test_steps_are_a_model_step_long_on_average_at_any_camera_rate(rate):
    found = taken(np.arange(0, 40, 1 / rate))
    gaps = np.diff([stamp for stamp, _ in found][3:])
    assert gaps.mean() == pytest.approx(STEP_S, rel=0.02)
    assert np.abs(gaps - STEP_S).max() <= 1 / rate + 1e-9
    assert not any(why for _, why in found)


def test_a_hole_and_a_clock_that_went_back_begin_anew():
    found = taken([0.0, 0.1, 0.2, 0.7, 0.8, 0.9, 0.3, 0.5])
    assert found == [
        (0.0, ""), (0.2, ""), (0.7, "no frame for 0.50 s"), (0.9, ""), (0.3, "the camera's clock went back"), (0.5, ""),
    ]  # fmt: skip


def test_after_a_reset_the_next_frame_is_taken():
    cadence = FrameCadence(STEP_S)
    cadence.take(5.0)
    cadence.reset()
    assert cadence.previous is None
    assert cadence.due(1.0)
    assert cadence.take(1.0) == ""


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_whatever_the_stamps_taken_frames_are_in_order_or_say_why(stamps):
    found = taken(stamps)
    assert found[0][0] == stamps[0]
    for (before, _), (after, why) in pairwise(found):
        assert after >= before or why


def test_the_mean_of_what_was_applied_between_two_frames():
    applied = AppliedActions(2)
    for at, value in ((0.0, 9.0), (0.1, 1.0), (0.2, 3.0), (0.3, 9.0)):
        assert applied.put(at, np.array([value, -value]))
    np.testing.assert_allclose(applied.mean(0.0, 0.2), [2.0, -2.0])
    assert applied.mean(0.0, 0.2).dtype == np.float32
    assert applied.mean(5.0, 6.0) is None


def test_only_the_last_seconds_are_kept():
    applied = AppliedActions(1, seconds=1.0)
    for at in range(5):
        applied.put(float(at), np.array([float(at)]))
    assert applied.mean(-1.0, 2.5) is None
    np.testing.assert_allclose(applied.mean(2.5, 9.0), [3.5])


@pytest.mark.parametrize("wrong", [np.zeros(1), np.zeros(3), np.array([0.0, np.nan])])
def test_what_cannot_be_an_action_is_not_kept(wrong):
    applied = AppliedActions(2)
    assert not applied.put(0.1, wrong)
    assert applied.mean(0.0, 1.0) is None


def test_a_clock_that_went_back_forgets_what_is_in_its_future():
    applied = AppliedActions(1)
    applied.put(100.0, np.array([1.0]))
    applied.put(1.0, np.array([2.0]))
    np.testing.assert_allclose(applied.mean(0.0, 200.0), [2.0])


def test_the_parts_of_a_block():
    """Two reports in the first half of the step, one in the second."""
    applied = AppliedActions(2)
    for at, value in ((0.0, 9.0), (0.05, 1.0), (0.1, 3.0), (0.2, 5.0), (0.3, 9.0)):
        applied.put(at, np.array([value, -value]))
    found = applied.means(0.0, 0.2, 2)
    np.testing.assert_allclose(found, [2.0, -2.0, 5.0, -5.0])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(applied.means(0.0, 0.2, 1), applied.mean(0.0, 0.2))


@pytest.mark.parametrize(
    ("reported", "parts"),
    [({0.05: 4.0}, [4, 4, 4, 4]), ({0.35: 4.0}, [0, 0, 0, 4]), ({0.05: 1.0, 0.25: 4.0}, [1, 1, 4, 4])],
)
def test_a_part_without_a_report_goes_on_with_the_one_before_or_rests(reported, parts):
    applied = AppliedActions(1)
    for at, value in reported.items():
        applied.put(at, np.array([value]))
    np.testing.assert_array_equal(applied.means(0.0, 0.4, 4), parts)


@pytest.mark.parametrize("block", [1, 3])
def test_nothing_in_any_part_is_nothing(block):
    applied = AppliedActions(1)
    applied.put(1.0, np.array([1.0]))
    assert applied.means(2.0, 3.0, block) is None


@given(st.lists(st.floats(-9, 9), min_size=6, max_size=6))
def test_parts_that_are_reported_alike_have_the_mean_of_the_whole(values):
    applied = AppliedActions(1, seconds=10.0)
    for i, value in enumerate(values):
        applied.put(i + 0.5, np.array([value]))
    np.testing.assert_allclose(applied.means(0.0, 6.0, 3).mean(), applied.mean(0.0, 6.0)[0], atol=1e-5)
