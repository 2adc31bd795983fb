"""Bundles whose graphs take a fixed number of rows: whatever the runtime asks of them, it gets what any others give."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from jepa_ros.bundle.difference import bundle_differences
from jepa_ros.bundle.loader import load_bundle
from jepa_ros.bundle.manifest import PredictorSpec
from jepa_ros.bundle.plan_cost import plan_cost
from jepa_ros.bundle.signatures import expected_signatures
from jepa_ros.errors import BundleError, ModelError
from jepa_ros.golden import check_golden, golden_cases
from jepa_ros.planning.factory import make_planner
from jepa_ros.planning.mpc import LatentMPC
from jepa_ros.runtime import Session
from jepa_ros.world_model import OnnxWorldModel

from .bundle_command import invoke, rehashed
from .fixed_batch import fix_batch, fix_graph
from .linear_world import manifest
from .made_bundles import MANY, Made

BATCH = 5
# Fewer than a batch, one whole, several and a rest.
COUNTS = [1, 4, 5, 13]


@pytest.fixture(scope="module", params=["last", "sequence"])
def pair(request, tmp_path_factory):
    """A model of each kind of output, with a free batch and with a fixed one."""
    folder = tmp_path_factory.mktemp(request.param)
    made = Made(folder / "free", MANY, measured=2, output=request.param, heads=("value", "policy"))
    shutil.copytree(made.folder, folder / "fixed")
    return made.open(), OnnxWorldModel(load_bundle(fix_batch(folder / "fixed", BATCH)))


def same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("each", [False, True])
def test_rollouts(pair, count, each):
    free, fixed = pair
    rng = np.random.default_rng(count)
    many = (count,) if each else ()
    latents = rng.standard_normal((*many, 3, free.latent_dim), dtype=np.float32)
    past = rng.standard_normal((*many, 2, free.action_dim), dtype=np.float32)
    actions = rng.standard_normal((count, 6, free.action_dim), dtype=np.float32)
    same(fixed.rollout(latents, past, actions), free.rollout(latents, past, actions))


def test_what_one_candidate_gives_does_not_depend_on_those_before(pair):
    """Buffers are reused; what stands in rows that are filled up must never show, not even where it is no number."""
    _, fixed = pair
    rng = np.random.default_rng(0)
    latent, past = rng.standard_normal((1, fixed.latent_dim), dtype=np.float32), np.zeros((0, fixed.action_dim))
    actions = rng.standard_normal((1, 3, fixed.action_dim), dtype=np.float32)
    before = fixed.rollout(latent, past.astype(np.float32), actions)
    broken = np.full((BATCH, 3, fixed.action_dim), np.nan, np.float32)
    assert np.isnan(fixed.rollout(latent, past.astype(np.float32), broken)).all()
    np.testing.assert_array_equal(fixed.rollout(latent, past.astype(np.float32), actions), before)


@pytest.mark.parametrize("count", COUNTS)
def test_heads_and_encoder(pair, count):
    free, fixed = pair
    rng = np.random.default_rng(count)
    latents = rng.standard_normal((count, free.latent_dim), dtype=np.float32)
    noise = rng.standard_normal((count, free.action_dim), dtype=np.float32)
    same(fixed.head("value", latents, latents[0]), free.head("value", latents, latents[0]))
    same(fixed.policy(latents, noise), free.policy(latents, noise))
    images = rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    measured = rng.standard_normal((count, 2), dtype=np.float32)
    same(fixed.encode_batch(images, measured), free.encode_batch(images, measured))
    same(fixed.encode(images[0], measured[0]), free.encode(images[0], measured[0]))


def test_every_golden_value_is_compared(pair):
    free, fixed = pair
    errors = []
    for model in (free, fixed):
        cases = golden_cases(model.manifest)
        errors.append(check_golden(model.bundle, {c.file: Session(model.bundle.file(c.file)) for c in cases}))
    assert errors[0].keys() == errors[1].keys()
    assert max(errors[1].values()) < 1e-5


def test_plans(tmp_path):
    """16 samples in batches of 5: the same plan."""
    made = Made(tmp_path / "free")
    shutil.copytree(made.folder, tmp_path / "fixed")
    steps = []
    for model in (made.open(), OnnxWorldModel(load_bundle(fix_batch(tmp_path / "fixed", BATCH)))):
        mpc = LatentMPC(model, make_planner(model.manifest, model, seed=3), model.manifest)
        mpc.set_goal(np.ones(model.latent_dim, np.float32))
        steps.append(mpc.step(np.full((4, 4, 3), 90, np.uint8)))
    same(steps[1].plan.actions, steps[0].plan.actions)
    assert steps[1].plan.energy == pytest.approx(steps[0].plan.energy, rel=1e-5)


def test_a_graph_that_is_asked_for_inputs_of_other_lengths_says_so(pair):
    _, fixed = pair
    session = Session(fixed.bundle.file("encoder.onnx"))
    image, measured = np.zeros((3, 4, 4, 3), np.uint8), np.zeros((2, 2), np.float32)
    with pytest.raises(ModelError, match=r"encoder\.onnx"):
        session.run_rows(image=image, measured=measured)
    with pytest.raises(ModelError, match=r"encoder\.onnx"):
        session.run_rows(image=np.zeros((3, 4, 5, 3), np.uint8), measured=np.zeros((3, 2), np.float32))


def test_the_signatures_have_the_batch():
    found = manifest()
    predictor = found.predictor.model_copy(update={"batch": 7})
    signatures = expected_signatures(found.model_copy(update={"predictor": predictor}))
    firsts = {
        file: {tensor.shape[0] for part in (signature.inputs, signature.outputs) for tensor in part.values()}
        for file, signature in signatures.items()
    }
    assert firsts == {"encoder.onnx": {1}, "predictor.onnx": {7}, "heads/value.onnx": {7}}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda folder: fix_batch(folder, 5, said=6),
            r"latent is float32 \[5, 4, 5\], the manifest implies .*\[6, 4, 5\]",
        ),
        (
            lambda folder: fix_graph(folder / "predictor.onnx", 5),
            r"latent is float32 \[5, 4, 5\], the manifest implies .*\[None, 4, 5\]",
        ),
    ],
)
def test_a_batch_other_than_the_manifests_is_refused(tmp_path, change, says):
    folder = Made(tmp_path / "made").folder
    change(folder)
    with pytest.raises(BundleError, match=rf"predictor\.onnx: input {says}"):
        load_bundle(rehashed(folder))


def test_none_is_what_manifests_say_that_do_not_know_the_field():
    assert PredictorSpec(max_context=1).batch is None
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        PredictorSpec(max_context=1, batch=0)


def test_what_a_plan_costs(tmp_path):
    """16 samples make 4 batches of 5 rows; a value of 16 × 2 predicted steps makes 7."""
    made = Made(tmp_path / "made", heads=("value",), cost=[{"source": "head:value", "metric": "value"}])
    free = plan_cost(load_bundle(made.folder))
    found = plan_cost(load_bundle(fix_batch(made.folder, BATCH)))
    assert [(use.file, use.batch, use.calls) for use in found.uses] == [
        ("encoder.onnx", 1, 1), ("predictor.onnx", 5, 2 * 4), ("heads/value.onnx", 5, 7),
    ]  # fmt: skip
    assert found.rows == 5
    assert found.uses[1].flops * 16 == free.uses[1].flops * 20
    # Buffers of one part: 4 latents of 5, 4 actions of 2, the next latent.
    assert free.buffer_bytes - found.buffer_bytes == 4 * (16 - 5) * (4 * 5 + 4 * 2 + 5)


def test_show_check_and_diff(tmp_path):
    made = Made(tmp_path / "free")
    shutil.copytree(made.folder, tmp_path / "fixed")
    fixed = fix_batch(tmp_path / "fixed", BATCH)
    assert "batch 5" in invoke("show", fixed)[1]
    assert "batch" not in invoke("show", made.folder)[1].partition("predictor")[2].partition("energy")[0]
    code, said = invoke("check", fixed)
    assert (code, "the world model opens" in said) == (0, True)
    rows = {row.where: (row.first, row.second) for row in bundle_differences(*map(load_bundle, (made.folder, fixed)))}
    assert rows["predictor.batch"] == ("null", "5")
    assert rows["predictor.onnx input latent"] == ("float32 [None, 4, 5]", "float32 [5, 4, 5]")
    assert rows["encoder.onnx input image"] == ("uint8 [None, 4, 4, 3]", "uint8 [1, 4, 4, 3]")
