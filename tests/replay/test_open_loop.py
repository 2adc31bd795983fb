"""Errors over a horizon, of a model whose errors are known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.manifest import StateTensor
from jepa_ros_replay.open_loop import open_loop_error

VECTOR = [StateTensor(name="latent", kind="vector", shape=(2,))]


class Counting:
    """Adds the actions up, and 100 for each latent of history below its context: short histories must be used short."""

    action_dim = 2

    def __init__(self, context=3, sliding=True, state=VECTOR, bias=0.0):
        self.context, self.layout, self.bias = context, StateLayout(state), bias
        self.manifest = SimpleNamespace(predictor=SimpleNamespace(sliding=sliding))
        self.calls = []

    def rollout(self, latents, past_actions, actions):
        assert past_actions.shape == (len(latents), latents.shape[1] - 1, 2)
        for seen, done in zip(latents, past_actions, strict=True):
            np.testing.assert_allclose(np.diff(seen[:, :2], axis=0), done, atol=1e-5)
        self.calls.append((latents.copy(), actions.copy()))
        moved = np.cumsum(actions, axis=1)
        found = np.repeat(latents[:, -1:], actions.shape[1], axis=1)
        found[..., :2] += moved
        return found + self.bias


def run(length, seed=0, width=2):
    """Positions that actions lead through, and columns besides that jump about."""
    rng = np.random.default_rng(seed)
    actions = rng.standard_normal((length - 1, 2)).astype(np.float32)
    latents = rng.standard_normal((length, width)).astype(np.float32)
    latents[:, :2] = np.concatenate([np.zeros((1, 2), np.float32), np.cumsum(actions, axis=0)])
    return list(latents), list(actions)


def test_a_model_that_is_right_is_off_by_nothing_and_copying_by_what_was_done():
    latents, actions = run(12)
    found = open_loop_error(Counting(), [(latents, actions)], horizon=4)
    assert [(steps, windows) for steps, _, _, windows in found] == [(h, 8) for h in (1, 2, 3, 4)]
    for steps, model, copied, _ in found:
        assert model == pytest.approx(0, abs=1e-10)
        moved = [np.square(latents[i + steps] - latents[i]).mean() for i in range(8)]
        assert copied == pytest.approx(np.mean(moved), rel=1e-5)


def test_a_model_that_is_off_by_a_half():
    found = open_loop_error(Counting(bias=0.5), [run(6), run(9, seed=1)], horizon=2)
    assert [row[1] for row in found] == pytest.approx([0.25, 0.25], rel=1e-4)
    assert found[0][3] == 4 + 7


def test_windows_at_a_runs_begin_have_what_history_there_is():
    """Never filled, and never from another run; the others have the whole context."""
    model, runs = Counting(context=3), [run(6), run(5, seed=1)]
    open_loop_error(model, runs, horizon=2)
    assert [latents.shape[:2] for latents, _ in model.calls] == [(2, 1), (2, 2), (3, 3)]
    begun = np.stack([latents[0] for latents, _ in runs])
    np.testing.assert_array_equal(model.calls[0][0][:, 0], begun)
    np.testing.assert_array_equal(model.calls[2][1][0], runs[0][1][2:4])


def test_many_windows_are_cut_into_batches():
    model, runs = Counting(context=1, bias=1.0), [run(150)]
    found = open_loop_error(model, runs, horizon=1)
    assert [len(latents) for latents, _ in model.calls] == [64, 64, 21]
    assert found[0][3] == 149
    assert found[0][1] == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_runs_too_short_say_nothing(length):
    assert open_loop_error(Counting(), [run(length)], horizon=3) == []
    assert open_loop_error(Counting(), [], horizon=3) == []


def test_a_model_that_does_not_slide_is_asked_as_far_as_it_goes():
    found = open_loop_error(Counting(context=3, sliding=False), [run(12)], horizon=8)
    assert [row[0] for row in found] == [1, 2, 3]
    assert len(open_loop_error(Counting(context=3), [run(12)], horizon=8)) == 8


def test_the_error_is_of_the_latent_tensors_alone():
    """A reward is never seen: that what is predicted of it is not zero is no error."""
    state = [*VECTOR, StateTensor(name="reward", kind="vector", shape=(1,), role="outcome"),
             StateTensor(name="joints", kind="vector", shape=(3,), role="proprio")]  # fmt: skip
    wide, narrow = run(9, width=6), run(9)
    found = open_loop_error(Counting(state=state), [wide], horizon=3)
    expected = open_loop_error(Counting(), [(narrow[0], wide[1])], horizon=3)
    assert [row[1] for row in found] == pytest.approx([0, 0, 0], abs=1e-10)
    moved = [np.square(np.array(wide[0][i + 1])[:2] - wide[0][i][:2]).mean() for i in range(6)]
    assert found[0][2] == pytest.approx(np.mean(moved), rel=1e-5)
    assert expected[0][3] == found[0][3]
