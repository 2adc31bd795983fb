"""The incremental predictor: new steps alone say what the full predictor says of the whole window."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_ros.bundle.flops import graph_cost
from jepa_ros.bundle.loader import PREDICTOR, PREDICTOR_CONDITION, PREDICTOR_STEP, load_bundle
from jepa_ros.bundle.manifest import PredictorSpec
from jepa_ros.bundle.model_spec import CacheSpec
from jepa_ros.errors import BundleError
from jepa_ros.golden import check_golden, relative_error
from jepa_ros.planning.factory import make_planner
from jepa_ros.runtime import Session
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_export import incremental
from jepa_ros_export.graph_form import GraphForm
from jepa_ros_export.incremental import splits
from jepa_ros_export.writer import write_bundle

from .plain_parts import plain_parts
from .tiny_models import CONTEXT, LAYERS, stepwise_parts

LATENT, ACTIONS = 8, 10


@pytest.fixture(scope="module")
def made(stepwise_lewm):
    path, report = stepwise_lewm
    return load_bundle(path), report


@pytest.fixture(scope="module")
def sessions(made):
    bundle, _ = made
    return {file: Session(bundle.file(file)) for file in (PREDICTOR, PREDICTOR_CONDITION, PREDICTOR_STEP)}


@pytest.fixture(scope="module")
def windows():
    rng = np.random.default_rng(1)
    latent = rng.standard_normal((4, CONTEXT, LATENT)).astype(np.float32)
    return latent, rng.uniform(-0.5, 0.5, (4, CONTEXT, ACTIONS)).astype(np.float32)


def nothing(rows):
    return {f"{part}_{i}": np.zeros((rows, 0, 12), np.float32) for i in range(LAYERS) for part in ("keys", "values")}


def stepped(sessions, latent, action, kept):
    """`next` and what is kept after further steps."""
    condition = sessions[PREDICTOR_CONDITION].run(action=action)["condition"]
    found = sessions[PREDICTOR_STEP].run(latent=latent, condition=condition, **kept)
    return found["next"], {name: np.concatenate([kept[name], found[f"new_{name}"]], axis=1) for name in kept}


def test_a_planner_that_uses_them_holds_them_against_their_golden_values(made, monkeypatch, tmp_path):
    """Nothing else runs them: a robot whose provider computes them otherwise would not have known."""
    bundle, _ = made
    altered = bundle.golden()
    altered = {**altered, "step_next": altered["step_next"] + 0.1}
    monkeypatch.setattr(type(bundle), "golden", lambda self: altered)
    model = OnnxWorldModel(bundle)
    make_planner(bundle.manifest, model, engine="numpy")  # calls the whole predictor
    with pytest.raises(BundleError, match="step_next is off its golden value"):
        make_planner(bundle.manifest, model, engine="graph", cache=tmp_path)


def test_there_are_as_many_splits_as_pairs():
    assert sorted(splits(3)) == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (2, 1)]


@pytest.mark.parametrize("split", list(splits(CONTEXT)), ids=str)
def test_any_split_of_a_window_says_what_the_full_predictor_says(sessions, windows, split):
    (past, new), (latent, action) = split, windows
    whole = sessions[PREDICTOR].run(latent=latent, action=action)["next"]
    kept = nothing(len(latent))
    if past:
        _, kept = stepped(sessions, latent[:, :past], action[:, :past], kept)
    end = past + new
    found, kept = stepped(sessions, latent[:, past:end], action[:, past:end], kept)
    assert relative_error(found, whole[:, end - 1]) < 1e-5
    assert {array.shape for array in kept.values()} == {(len(latent), end, 12)}


@settings(max_examples=20, deadline=None)
@given(cuts=st.sets(st.integers(1, CONTEXT - 1)), rows=st.integers(1, 4))
def test_any_number_of_steps_in_any_parts(sessions, windows, cuts, rows):
    latent, action = (array[:rows] for array in windows)
    whole = sessions[PREDICTOR].run(latent=latent, action=action)["next"]
    kept, ends = nothing(rows), [0, *sorted(cuts), CONTEXT]
    for begin, end in pairwise(ends):
        found, kept = stepped(sessions, latent[:, begin:end], action[:, begin:end], kept)
        assert relative_error(found, whole[:, end - 1]) < 1e-5


def test_the_manifest_says_so_and_golden_values_are_kept(made, sessions):
    bundle, report = made
    cache = CacheSpec(layers=LAYERS, width=12, condition=LAYERS * 6 * LATENT)
    assert bundle.manifest.predictor.cache == cache
    assert {PREDICTOR_CONDITION, PREDICTOR_STEP} <= bundle.manifest.files.keys()
    assert max(report.errors["predictor_condition"], report.errors["predictor_step"]) < 1e-5
    found = check_golden(bundle, sessions)
    assert max(found["predictor_condition"], found["predictor_step"]) < 1e-5
    golden = bundle.golden()
    assert golden["step_latent"].shape == (2, 1, LATENT)
    assert golden["step_keys_0"].shape == (2, 1, 12)


def test_less_is_computed(made):
    """One step after four against the window of five: a fifth of it, and no more than the attention's look back."""
    bundle, _ = made
    kept = dict.fromkeys(nothing(1), (1, CONTEXT - 1, 12))
    whole = graph_cost(bundle.file(PREDICTOR), {"latent": (1, CONTEXT, LATENT), "action": (1, CONTEXT, ACTIONS)}).flops
    condition = graph_cost(bundle.file(PREDICTOR_CONDITION), {"action": (1, 1, ACTIONS)}).flops
    sizes = {"latent": (1, 1, LATENT), "condition": (1, 1, LAYERS * 6 * LATENT), **kept}
    assert graph_cost(bundle.file(PREDICTOR_STEP), sizes).flops + condition < whole / 4
    # From nothing, the last block computes its last step alone.
    empty = dict.fromkeys(kept, (1, 0, 12))
    sizes = {"latent": (1, CONTEXT, LATENT), "condition": (1, CONTEXT, LAYERS * 6 * LATENT), **empty}
    conditions = graph_cost(bundle.file(PREDICTOR_CONDITION), {"action": (1, CONTEXT, ACTIONS)}).flops
    assert graph_cost(bundle.file(PREDICTOR_STEP), sizes).flops + conditions < 0.9 * whole


def test_a_step_that_differs_is_refused_with_its_split(tmp_path, monkeypatch):
    truth = incremental.run_step

    def run_step(model, spec, latent, action, past):
        inputs, found = truth(model, spec, latent, action, past)
        return inputs, {name: array + (past == 2 and name == "new_keys_1") for name, array in found.items()}

    monkeypatch.setattr(incremental, "run_step", run_step)
    with pytest.raises(BundleError, match=r"predictor_step\.onnx differs .* with 1 new steps after 2, .* not written"):
        write_bundle(stepwise_parts(3, 2), tmp_path / "bundle", with_derivative=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("context", "form"), [(1, GraphForm()), (3, GraphForm(batch="static", batch_size=4))])
def test_nothing_is_kept_of_one_step_or_in_a_fixed_batch(tmp_path, context, form):
    write_bundle(stepwise_parts(context, 1), tmp_path / "bundle", with_derivative=False, form=form)
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.manifest.predictor.cache is None
    assert PREDICTOR_STEP not in bundle.manifest.files


def test_a_manifest_that_promises_what_the_family_has_not(tmp_path):
    plain = plain_parts()
    predictor = PredictorSpec(
        max_context=2, causal=True, output="sequence", cache=CacheSpec(layers=1, width=2, condition=3)
    )
    asked = replace(plain, manifest=plain.manifest.model_copy(update={"predictor": predictor}))
    with pytest.raises(BundleError, match=r"predictor\.cache: there is no incremental predictor"):
        write_bundle(asked, tmp_path / "bundle")
