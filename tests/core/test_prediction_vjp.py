"""Back through a rollout: against central differences, in float64, of a predictor that bends, written out anew."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.errors import BundleError, ModelError
from jepa_ros.planning.cost import GoalObjective
from jepa_ros.protocols import DifferentiableModel, HeadGradientModel
from jepa_ros.world_model import OnnxWorldModel

from .curved_bundles import Curved
from .fixed_batch import fix_batch
from .linear_world import term
from .made_bundles import LATENT, MANY, Made

KINDS = [("last", True), ("last", False), ("sequence", True), ("sequence", False)]


@pytest.fixture(scope="module")
def curved(tmp_path_factory):
    """By output and sliding, with the opened model; several tensors, a context of 3."""
    folder = tmp_path_factory.mktemp("curved")
    found = {}
    for output, sliding in KINDS:
        one = Curved(
            folder / f"{output}{sliding}", MANY, context=3, output=output, sliding=sliding, block=2, heads=("value",)
        )
        found[output, sliding] = (one, one.open())
    return found


def drawn(model, known, batch, horizon, seed=0, each=False):
    """A history, or one for each candidate, candidates, what they lead to, and a cotangent of that."""
    rng = np.random.default_rng(seed)
    many = (batch,) if each else ()
    latents = rng.standard_normal((*many, known, model.latent_dim), dtype=np.float32)
    past = rng.standard_normal((*many, known - 1, model.action_dim), dtype=np.float32)
    actions = rng.standard_normal((batch, horizon, model.action_dim), dtype=np.float32)
    cotangent = rng.standard_normal((batch, horizon, model.latent_dim), dtype=np.float32)
    return latents, past, actions, model.rollout(latents, past, actions), cotangent


def differences(bundle, latents, past, actions, cotangent, step=1e-5):
    """d Σ cotangent · predicted / d actions of one candidate, `[H, A]`."""
    found = np.zeros(actions.shape)
    for place in np.ndindex(actions.shape):
        above, below = actions.astype(float), actions.astype(float)
        above[place] += step
        below[place] -= step
        change = bundle.rolled(latents, past, above) - bundle.rolled(latents, past, below)
        found[place] = (cotangent * change).sum() / (2 * step)
    return found


@pytest.mark.parametrize("known", [1, 2, 3, 5])
@pytest.mark.parametrize("horizon", [1, 3, 5])
@pytest.mark.parametrize("output", ["last", "sequence"])
def test_a_pullback_through_a_growing_and_a_sliding_context(curved, output, known, horizon):
    bundle, model = curved[output, True]
    latents, past, actions, predicted, cotangent = drawn(model, known, 2, horizon)
    np.testing.assert_allclose(predicted[0], bundle.rolled(latents, past, actions[0]), rtol=1e-4, atol=1e-5)
    found = model.pullback(latents, past, actions, predicted, cotangent)
    assert (found.shape, found.dtype) == (actions.shape, np.float32)
    for row in range(2):
        expected = differences(bundle, latents, past, actions[row], cotangent[row])
        np.testing.assert_allclose(found[row], expected, rtol=1e-3, atol=1e-4)
    assert np.abs(found).min() > 0


@pytest.mark.parametrize("known", [1, 2, 3])
@pytest.mark.parametrize("output", ["last", "sequence"])
def test_a_pullback_where_the_context_does_not_slide(curved, output, known):
    """2 steps leave room for 2 latents of history."""
    bundle, model = curved[output, False]
    latents, past, actions, predicted, cotangent = drawn(model, known, 2, 2)
    found = model.pullback(latents, past, actions, predicted, cotangent)
    for row in range(2):
        expected = differences(bundle, latents, past, actions[row], cotangent[row])
        np.testing.assert_allclose(found[row], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_of_one_tensor(tmp_path, kind):
    bundle = Curved(tmp_path / "one", (LATENT,), context=2, output=kind[0], sliding=kind[1])
    model = bundle.open()
    latents, past, actions, predicted, cotangent = drawn(model, 1, 1, 2)
    found = model.pullback(latents, past, actions, predicted, cotangent)[0]
    expected = differences(bundle, latents, past, actions[0], cotangent[0])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@settings(deadline=None, max_examples=30)
@given(
    kind=st.sampled_from(KINDS), known=st.integers(1, 4), batch=st.integers(1, 4), horizon=st.integers(1, 3),
    seed=st.integers(0, 2**16), each=st.booleans(),
)  # fmt: skip
def test_many_candidates_are_as_one_by_one(curved, kind, known, batch, horizon, seed, each):
    _, model = curved[kind]
    latents, past, actions, predicted, cotangent = drawn(model, known, batch, horizon, seed, each)
    found = model.pullback(latents, past, actions, predicted, cotangent)
    for row in range(batch):
        of_row = (latents[row], past[row]) if each else (latents, past)
        one = slice(row, row + 1)
        alone = model.pullback(*of_row, actions[one], predicted[one], cotangent[one])
        np.testing.assert_allclose(found[one], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_in_parts_and_a_row_that_is_not_a_number(curved, monkeypatch, kind):
    _, model = curved[kind]
    latents, past, actions, predicted, cotangent = drawn(model, 2, 5, 3 if kind[1] else 2)
    whole = model.pullback(latents, past, actions, predicted, cotangent)
    monkeypatch.setattr(model._derivative, "_most_rows", 2)
    np.testing.assert_allclose(model.pullback(latents, past, actions, predicted, cotangent), whole, atol=1e-5)
    predicted[3] = np.nan
    cotangent[3] = np.nan
    found = model.pullback(latents, past, actions, predicted, cotangent)
    assert np.isnan(found[3]).any()
    others = [0, 1, 2, 4]
    np.testing.assert_allclose(found[others], whole[others], atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3, 4, 7])
def test_graphs_of_a_fixed_batch(tmp_path, batch):
    """Of 3 rows, as golden.npz has them."""
    free = Curved(tmp_path / "free", heads=("value",)).open()
    fixed = OnnxWorldModel(load_bundle(fix_batch(Curved(tmp_path / "fixed", heads=("value",)).folder, 3)))
    given = drawn(free, 2, batch, 3)
    np.testing.assert_allclose(fixed.pullback(*given), free.pullback(*given), rtol=1e-4, atol=1e-5)
    latents, goal, cotangent = given[3][:, 0], given[3][0, 0], given[4][:, 0, 0]
    np.testing.assert_allclose(
        fixed.head_gradient("value", latents, goal, cotangent), free.head_gradient("value", latents, goal, cotangent),
        rtol=1e-5, atol=1e-6,
    )  # fmt: skip


def test_a_cotangent_of_zeros_and_twice_a_cotangent(curved):
    _, model = curved["last", True]
    latents, past, actions, predicted, cotangent = drawn(model, 2, 2, 3)
    once = model.pullback(latents, past, actions, predicted, cotangent)
    assert not model.pullback(latents, past, actions, predicted, np.zeros_like(cotangent)).any()
    np.testing.assert_allclose(
        model.pullback(latents, past, actions, predicted, 2 * cotangent), 2 * once, rtol=1e-4, atol=1e-5
    )


def test_an_action_changes_nothing_before_it(curved):
    _, model = curved["sequence", True]
    latents, past, actions, predicted, cotangent = drawn(model, 2, 2, 4)
    cotangent[:, 2:] = 0
    found = model.pullback(latents, past, actions, predicted, cotangent)
    assert not found[:, 2:].any()
    assert found[:, :2].all()


def test_shapes_that_do_not_fit(curved):
    _, model = curved["last", True]
    latents, past, actions, predicted, cotangent = drawn(model, 2, 2, 3)
    with pytest.raises(ModelError, match=r"predicted \[2, 2, 13\] and cotangent \[2, 3, 13\] must be \[2, 3, 13\]"):
        model.pullback(latents, past, actions, predicted[:, :2], cotangent)
    with pytest.raises(ModelError, match="do not fit"):
        model.pullback(latents, past, actions[..., :1], predicted, cotangent)


def test_a_head_is_followed_backward_into_the_tensor_that_it_judges(curved):
    bundle, model = curved["last", True]
    assert isinstance(model, DifferentiableModel)
    assert isinstance(model, HeadGradientModel)
    rng = np.random.default_rng(0)
    latents, goal = rng.standard_normal((4, 13), dtype=np.float32), np.zeros(13, np.float32)
    cotangent = np.array([1, -2, 0, 0.5], np.float32)
    found = model.head_gradient("value", latents, goal, cotangent)
    expected = np.zeros((4, 13))
    expected[:, :6] = cotangent[:, None] * bundle.judge[:, 0]  # of patches [3, 2], the first tensor
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    terms = [term(source="head:value", metric="value", weight=2.0, steps="last")]
    by_latent, _ = GoalObjective(model, goal, terms, model.layout).gradient(latents[:, None], latents[:, None, :2])
    np.testing.assert_allclose(by_latent[:, 0, :6], np.tile(2 * bundle.judge[:, 0], (4, 1)), rtol=1e-6)


def test_what_a_bundle_without_derivatives_says(tmp_path):
    model = Made(tmp_path / "made", heads=("value",)).open()
    assert not model.has_derivative
    latents, past, actions, predicted, cotangent = drawn(model, 1, 1, 2)
    with pytest.raises(
        ModelError, match=r"bundle made: it has no predictor_vjp\.onnx, .* export it again with its deri"
    ):
        model.pullback(latents, past, actions, predicted, cotangent)
    with pytest.raises(ModelError, match="head 'value' has no gradient"):
        model.head_gradient("value", latents, latents[0], np.ones(1, np.float32))


@pytest.mark.parametrize("key", ["grad_action", "head_value_grad_latent"])
@pytest.mark.parametrize("ask", [OnnxWorldModel.open_derivatives, OnnxWorldModel.check_derivatives])
def test_derivatives_are_held_against_golden_values_when_they_are_opened(tmp_path, key, ask):
    bundle = Curved(tmp_path / "curved", heads=("value",))
    opened = load_bundle(bundle.folder)
    golden = {name: values.copy() for name, values in opened.golden().items()}
    golden[key] += 0.1
    object.__setattr__(opened, "golden", lambda: golden)
    model = OnnxWorldModel(opened)
    with pytest.raises(BundleError, match=f"{key} is off its golden value"):
        ask(model)
