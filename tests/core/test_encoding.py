"""Stacks of frames, measurements, states of several tensors and heads, against the arithmetic of their graphs."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.errors import ModelError

from .made_bundles import MANY, Made


def images(*shape, seed=2):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 4, 4, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A stack of 3 frames, 2 measurements, two latent tensors, a measured one and an outcome; both heads."""
    folder = tmp_path_factory.mktemp("made") / "made"
    return Made(folder, MANY, stack=3, measured=2, output="sequence", block=2, heads=["value", "policy"])


@pytest.fixture(scope="module")
def model(made):
    return made.open()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("made") / "plain").open()


def test_a_stack_and_measurements_make_a_latent_end_to_end(made, model):
    frames, measured = images(5, 3), np.random.default_rng(3).standard_normal((5, 2)).astype(np.float32)
    expected = made.encoded(frames, measured)
    one_by_one = np.stack([model.encode(*row) for row in zip(frames, measured, strict=True)])
    np.testing.assert_allclose(one_by_one, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.encode_batch(frames, measured), expected, rtol=1e-4, atol=1e-5)
    assert (one_by_one[:, model.layout.place("reward")] == 0).all()
    assert (model.latent_dim, model.action_dim) == (13, 4)


def test_the_order_of_frames_matters(model):
    frames, measured = images(3), np.zeros(2, np.float32)
    assert np.abs(model.encode(frames, measured) - model.encode(frames[::-1], measured)).max() > 1e-3


def test_a_goal_is_seen_in_every_frame(model):
    view, measured = images(), np.array([0.5, -1.0], np.float32)
    expected = model.encode(np.stack([view] * 3), measured)
    np.testing.assert_array_equal(model.encode_goal(view, measured), expected)


def test_a_goal_of_a_model_without_a_stack(plain):
    np.testing.assert_array_equal(plain.encode_goal(images()), plain.encode(images()))


@pytest.mark.parametrize("shape", [(), (2,), (4,)])
def test_a_stack_of_another_size(model, shape):
    with pytest.raises(ModelError, match=r"takes uint8 \[3, 4, 4, 3\]"):
        model.encode(images(*shape), np.zeros(2, np.float32))


@pytest.mark.parametrize(
    "measured", [None, np.zeros(1), np.zeros((1, 2)), np.array([0.0, np.nan]), np.array([np.inf, 0])]
)
def test_measurements_that_do_not_fit(model, measured):
    with pytest.raises(ModelError, match=r"takes 2 finite measurements \(m0, m1\), got"):
        model.encode(images(3), measured)


def test_measurements_for_a_model_that_takes_none(plain):
    with pytest.raises(ModelError, match=r"takes 0 finite measurements \(nothing\), got \[2\]"):
        plain.encode(images(), np.zeros(2, np.float32))
    plain.encode(images(), np.zeros(0, np.float32))


def test_many_frames_without_the_measurements_they_need(model):
    with pytest.raises(ModelError, match=r"encoder\.onnx"):
        model.encode_batch(images(2, 3))


def test_heads_judge_the_first_latent_tensor_alone(made, model):
    """`patches` are the first 6 of 13 columns."""
    rng = np.random.default_rng(4)
    latents, goal = rng.standard_normal((3, 13), dtype=np.float32), rng.standard_normal(13, dtype=np.float32)
    expected = (latents[:, :6] + goal[:6]) @ made.judge[:, 0]
    np.testing.assert_allclose(model.head("value", latents, goal), expected, rtol=1e-4, atol=1e-5)
    latents[:, 6:], goal[6:] = np.nan, np.nan
    np.testing.assert_allclose(model.head("value", latents, goal), expected, rtol=1e-4, atol=1e-5)


def test_a_policy_is_its_mean_and_noise(made, model):
    rng = np.random.default_rng(5)
    latents, noise = rng.standard_normal((3, 13), dtype=np.float32), rng.standard_normal((3, 4), dtype=np.float32)
    expected = latents[:, :6] @ made.act
    np.testing.assert_allclose(model.policy(latents, np.zeros_like(noise)), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.policy(latents, noise), expected + noise, rtol=1e-4, atol=1e-5)
    assert model.has_policy


def test_a_policy_that_acts_by_a_goal(tmp_path):
    made = Made(tmp_path / "made", heads=["led"])
    model = made.open()
    rng = np.random.default_rng(6)
    latents, noise = rng.standard_normal((3, 5), dtype=np.float32), rng.standard_normal((3, 2), dtype=np.float32)
    goal = rng.standard_normal(5, dtype=np.float32)
    assert model.has_policy
    assert model.policy_needs_goal
    np.testing.assert_allclose(
        model.policy(latents, noise, goal), (goal - latents) @ made.act + noise, rtol=1e-4, atol=1e-5
    )
    with pytest.raises(ModelError, match="head 'led' acts by a goal; give it one"):
        model.policy(latents, noise)


def test_a_policy_is_no_value_and_a_value_no_policy(model, plain):
    latents = np.zeros((1, 13), np.float32)
    with pytest.raises(ModelError, match="no value head is named 'policy'; it has value"):
        model.head("policy", latents, latents[0])
    assert not plain.has_policy
    with pytest.raises(ModelError, match="no policy head is named 'policy'; it has none"):
        plain.policy(np.zeros((1, 5), np.float32), np.zeros((1, 2), np.float32))
