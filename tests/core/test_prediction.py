"""Rollouts held against their definition, written out anew for one candidate at a time in `made_bundles`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_ros import prediction
from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.manifest import PredictorSpec, StateTensor
from jepa_ros.errors import ModelError

from .linear_world import manifest as whole_manifest
from .made_bundles import MANY, Made

KINDS = [("last", True), ("last", False), ("sequence", True), ("sequence", False)]


def drawn(model, known, batch, horizon, seed=0, each=False):
    """A history, or one for each candidate, and candidates."""
    rng = np.random.default_rng(seed)
    many = (batch,) if each else ()
    latents = rng.standard_normal((*many, known, model.latent_dim), dtype=np.float32)
    past = rng.standard_normal((*many, known - 1, model.action_dim), dtype=np.float32)
    return latents, past, rng.standard_normal((batch, horizon, model.action_dim), dtype=np.float32)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """By output and sliding, with the opened model; a context of 4."""
    folder = tmp_path_factory.mktemp("made")
    found = {}
    for output, sliding in KINDS:
        one = Made(folder / f"{output}{sliding}", MANY, output=output, sliding=sliding, block=2)
        found[output, sliding] = (one, one.open())
    return found


@pytest.mark.parametrize("known", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("output", ["last", "sequence"])
def test_a_rollout_grows_to_the_context_and_then_slides(made, output, known):
    """7 steps: every history passes the context of 4 on its way."""
    bundle, model = made[output, True]
    latents, past, actions = drawn(model, known, batch=3, horizon=7)
    expected = np.stack([bundle.rolled(latents, past, one) for one in actions])
    close(model.rollout(latents, past, actions), expected)


@pytest.mark.parametrize("known", [1, 2, 4])
@pytest.mark.parametrize("output", ["last", "sequence"])
def test_a_predictor_that_does_not_slide_takes_the_newest_history_that_fits(made, output, known):
    """3 steps leave room for 2 latents of history in a context of 4."""
    bundle, model = made[output, False]
    latents, past, actions = drawn(model, known, batch=2, horizon=3)
    found = model.rollout(latents, past, actions)
    close(found, np.stack([bundle.rolled(latents, past, one) for one in actions]))
    newest = model.rollout(latents[-2:], past[len(past) - min(known, 2) + 1 :], actions)
    np.testing.assert_array_equal(found, newest)


@pytest.mark.parametrize("output", ["last", "sequence"])
def test_a_plan_too_long_for_a_predictor_that_does_not_slide(made, output):
    _, model = made[output, False]
    model.rollout(*drawn(model, 2, batch=1, horizon=4))
    with pytest.raises(ModelError, match="does not slide, so a plan has at most 4 steps, not 5; set the planner's"):
        model.rollout(*drawn(model, 2, batch=1, horizon=5))


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_not_a_number_before_is_not_seen_by_the_next(made, kind):
    """The graph multiplies what lies behind the last step by zero: NaN left there would be NaN."""
    bundle, model = made[kind]
    latents, past, actions = drawn(model, 1, batch=3, horizon=3)
    broken = (np.full((4, model.latent_dim), np.nan, np.float32), np.full((3, model.action_dim), np.nan, np.float32))
    assert np.isnan(model.rollout(*broken, np.full_like(actions, np.nan))).all()
    close(model.rollout(latents, past, actions), np.stack([bundle.rolled(latents, past, one) for one in actions]))


@pytest.mark.parametrize("kind", KINDS)
def test_one_candidate_that_is_not_a_number_leaves_the_others_alone(made, kind):
    _, model = made[kind]
    latents, past, actions = drawn(model, 2, batch=3, horizon=3)
    expected = model.rollout(latents, past, actions)
    actions[1, 0] = np.nan
    found = model.rollout(latents, past, actions)
    assert np.isnan(found[1]).all()
    close(found[[0, 2]], expected[[0, 2]])


def test_an_outcome_is_predicted_and_never_read(made):
    """Whatever stands in the history's outcome columns: the predictor has no such input."""
    _, model = made["sequence", True]
    latents, past, actions = drawn(model, 3, batch=2, horizon=2)
    expected = model.rollout(latents, past, actions)
    assert np.abs(model.layout.part(expected, "reward")).min() > 1e-4
    latents[:, model.layout.place("reward")] = np.nan
    np.testing.assert_array_equal(model.rollout(latents, past, actions), expected)


@settings(deadline=None, max_examples=40)
@given(
    kind=st.sampled_from(KINDS), known=st.integers(1, 6), batch=st.integers(1, 4), horizon=st.integers(1, 4),
    seed=st.integers(0, 2**16), each=st.booleans(),
)  # fmt: skip
def test_many_candidates_are_as_one_by_one(made, kind, known, batch, horizon, seed, each):
    """One history for all, or each its own."""
    _, model = made[kind]
    latents, past, actions = drawn(model, known, batch, horizon, seed, each)
    found = model.rollout(latents, past, actions)
    for row in range(batch):
        of_row = (latents[row], past[row]) if each else (latents, past)
        close(found[row], model.rollout(*of_row, actions[row : row + 1])[0])


@settings(deadline=None, max_examples=20)
@given(known=st.integers(1, 6), cut=st.integers(1, 5), seed=st.integers(0, 2**16))
def test_to_go_on_from_what_was_predicted_is_to_have_gone_all_the_way(made, known, cut, seed):
    """For a sequence, history and prediction are one; the outcomes, which are not read, among them."""
    _, model = made["sequence", True]
    latents, past, actions = drawn(model, known, 1, 6, seed)
    whole = model.rollout(latents, past, actions)
    on = (np.concatenate([latents, whole[0, :cut]]), np.concatenate([past, actions[0, :cut]]))
    close(model.rollout(*on, actions[:, cut:]), whole[:, cut:])


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("output", ["last", "sequence"])
def test_a_batch_cut_into_parts_gives_the_same(made, monkeypatch, output, each):
    bundle, whole = made[output, True]
    latents, past, actions = drawn(whole, 3, batch=7, horizon=3, each=each)
    expected = whole.rollout(latents, past, actions)
    row_bytes = 4 * 4 * whole.latent_dim
    for most, parts in ((3 * row_bytes, [3, 3, 1]), (1, [1] * 7)):
        monkeypatch.setattr(prediction, "_MOST_BYTES", most)
        model, ran = bundle.open(), []
        roll = model._predictor._roll
        monkeypatch.setattr(
            model._predictor, "_roll", lambda *rows, roll=roll, ran=ran: ran.append(rows) or roll(*rows)
        )
        close(model.rollout(latents, past, actions), expected)
        assert [len(rows[0]) for rows in ran] == parts


def rows_of(state, context):
    """Activations a row, and rows at once."""
    made = whole_manifest().model_copy(update={"state": state, "predictor": PredictorSpec(max_context=context)})
    return prediction.activation_bytes(made, StateLayout(state)), prediction.most_rows(made, StateLayout(state))


def test_what_attention_takes_cuts_a_batch():
    """DINO-WM was measured at 0.113 GB a row: 18 of its samples fit 2 GiB; context alone would let 282 through."""
    row, rows = rows_of([StateTensor(name="latent", kind="tokens", shape=(196, 404))], 3)
    assert 0.113e9 <= row < 0.13e9
    assert rows == 18
    ground = StateTensor(name="ground", kind="tokens", shape=(196, 404))
    # What stands at the same places is in the same tokens. One row always runs.
    beside = StateTensor(name="beside", kind="tokens", shape=(195, 10), role="proprio")
    assert row < rows_of([ground, beside], 3)[0] < 1.01 * row
    assert rows_of([StateTensor(name="latent", kind="tokens", shape=(1568, 1408))], 8)[1] == 1


def test_vectors_and_maps_are_hardly_cut():
    """The default bundle's, a wide one with a long history, and PLDM's maps, which are convolved."""
    pldm = StateTensor(name="latent", kind="map", shape=(18, 26, 26))
    assert rows_of([pldm], 1)[1] > 2000
    assert rows_of([StateTensor(name="latent", kind="vector", shape=(128,))], 3)[1] > 10_000
    assert rows_of([StateTensor(name="latent", kind="vector", shape=(2048,))], 16)[1] > 512


def test_a_batch_is_cut_by_what_the_graph_takes(made, monkeypatch):
    bundle, whole = made["last", True]
    layout = StateLayout(MANY)
    monkeypatch.setattr(prediction, "_MOST_ACTIVATION_BYTES", 2 * prediction.activation_bytes(whole.manifest, layout))
    model, ran = bundle.open(), []
    roll = model._predictor._roll
    monkeypatch.setattr(model._predictor, "_roll", lambda *rows: ran.append(len(rows[0])) or roll(*rows))
    latents, past, actions = drawn(model, 3, batch=5, horizon=3)
    close(model.rollout(latents, past, actions), whole.rollout(latents, past, actions))
    assert ran == [2, 2, 1]


@pytest.mark.parametrize(
    ("latents", "past", "says"),
    [((2, 1, 13), (0, 4), "3 candidates need one history or 3"), ((2, 13), (1, 1, 4), "3 candidates need one history")],
)
def test_histories_that_are_not_as_many_as_candidates(made, latents, past, says):
    _, model = made["last", True]
    with pytest.raises(ModelError, match=says):
        model.rollout(np.zeros(latents, np.float32), np.zeros(past, np.float32), np.zeros((3, 1, 4), np.float32))
