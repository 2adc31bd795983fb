"""Action bounds, histories and the shapes of a planning problem."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_ros.errors import PlanningError
from jepa_ros.planning.problem import ActionBounds, History

from .linear_world import problem

finite = st.floats(-1e3, 1e3)
anything = st.floats(width=32)


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=4), st.data())
def test_every_action_ends_within_the_bounds_as_written(pairs, data):
    low, high = [min(p) for p in pairs], [max(p) for p in pairs]
    raw = data.draw(st.lists(anything, min_size=len(low), max_size=len(low)))
    actions = ActionBounds(low, high).apply(np.array([raw], dtype=np.float32))[0].astype(np.float64)
    narrow = np.nextafter(np.float32(low), np.float32(np.inf)) > np.float32(high)
    for value, lowest, highest, is_narrow in zip(actions, low, high, narrow, strict=True):
        if is_narrow:  # no float32 need lie between: the nearest one will do
            assert value == np.float32(lowest) or lowest <= value <= highest
        else:
            assert lowest <= value <= highest


@given(st.lists(anything, min_size=4, max_size=4), st.floats(0.3, 3.0))
def test_norm_limit_holds_for_each_action_of_a_block(raw, limit):
    bounds = ActionBounds([-1, 0.2, -1, 0.2], [1, 1, 1, 1], norm_limit=limit, block=2)
    actions = bounds.apply(np.array(raw, dtype=np.float32)).astype(np.float64)
    assert (np.linalg.norm(actions.reshape(2, 2), axis=1) <= limit).all()
    assert (actions >= [-1, 0.2, -1, 0.2]).all()
    assert (actions <= 1).all()


def test_norm_limit_leaves_small_actions_alone_and_keeps_the_direction_of_large_ones():
    bounds = ActionBounds([-1, -1], [1, 1], norm_limit=0.5)
    np.testing.assert_allclose(bounds.apply(np.array([0.3, 0.4], dtype=np.float32)), [0.3, 0.4], rtol=1e-5)
    np.testing.assert_allclose(bounds.apply(np.array([0.6, 0.8], dtype=np.float32)), [0.3, 0.4], rtol=1e-5)


def test_rest_is_the_allowed_action_nearest_to_zero():
    np.testing.assert_array_equal(ActionBounds([-1, 0.5, -2], [1, 1, -1]).rest, [0, 0.5, -1])


def test_a_norm_limit_and_a_box_hold_together_to_the_last_bit():
    """3,000 sets: without its last clip, seven of them were left by rounding, by 2.4e-7 at most."""
    rng = np.random.default_rng(0)
    for _ in range(3000):
        low, high = np.sort(3 * rng.normal(size=(2, rng.integers(1, 4))), axis=0)
        limit = float(np.linalg.norm(ActionBounds(low, high).rest)) + rng.exponential() + 1e-3
        actions = ActionBounds(low, high, limit).apply((4 * rng.normal(size=(500, low.size))).astype(np.float32))
        assert (actions.astype(np.float64) >= low).all()
        assert (actions.astype(np.float64) <= high).all()
        assert np.linalg.norm(actions.astype(np.float64), axis=1).max() <= limit


@pytest.mark.parametrize(
    ("low", "high", "norm", "said"),
    [
        ([1], [0], None, "low <= high"),
        ([0], [np.inf], None, "finite"),
        ([0, 0], [1], None, "got"),
        ([2], [3], 1.0, "norm_limit 1.0"),
    ],
)
def test_impossible_bounds_are_refused(low, high, norm, said):
    with pytest.raises(PlanningError, match=said):
        ActionBounds(low, high, norm)


def test_history_keeps_the_newest():
    history = History(np.zeros((1, 2), np.float32), np.zeros((0, 1), np.float32))
    for value in (1, 2, 3):
        history = history.followed_by(np.full((1, 1), value, np.float32), np.full((1, 2), value, np.float32), 3)
    np.testing.assert_array_equal(history.latents[:, 0], [1, 2, 3])
    np.testing.assert_array_equal(history.actions[:, 0], [2, 3])


def test_history_of_one_latent_has_no_actions():
    history = History(np.zeros((1, 2), np.float32), np.zeros((0, 1), np.float32))
    history = history.followed_by(np.ones((2, 1), np.float32), np.ones((2, 2), np.float32), 1)
    assert history.latents.shape == (1, 2)
    assert history.actions.shape == (0, 1)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(PlanningError, match=r"latents \[T, D\]"):
        History(np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32))
    with pytest.raises(PlanningError, match="warm start"):
        problem(None, horizon=2, warm_start=np.zeros((3, 2), np.float32))
    with pytest.raises(PlanningError, match="horizon"):
        problem(None, horizon=0)
