"""A bundle's graphs on ONNX Runtime, against the arithmetic that they hold."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.bundle.loader import load_bundle, write_manifest
from jepa_ros.bundle.manifest import read_manifest
from jepa_ros.errors import BundleError, ModelError
from jepa_ros.golden import relative_error, tolerance
from jepa_ros.vision import Preprocessor
from jepa_ros.world_model import OnnxWorldModel

PUSH = np.eye(3, 8, dtype=np.float32)


@pytest.fixture
def model(tiny_bundle):
    return OnnxWorldModel(load_bundle(tiny_bundle))


def test_encoding_one_and_many_agree(model):
    frames = np.random.default_rng(1).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    one_by_one = np.stack([model.encode(frame) for frame in frames])
    np.testing.assert_allclose(model.encode_batch(frames), one_by_one, atol=1e-5)


def test_a_latent_stays_what_it_was_when_the_next_is_encoded(model):
    first = model.encode(np.full((16, 16, 3), 255, np.uint8))
    kept = first.copy()
    model.encode(np.zeros((16, 16, 3), np.uint8))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("frame", [np.zeros((16, 15, 3), np.uint8), np.zeros((16, 16, 3), np.float32)])
def test_a_frame_that_does_not_fit(model, frame):
    with pytest.raises(ModelError, match=r"takes uint8 \[16, 16, 3\]"):
        model.encode(frame)


@pytest.mark.parametrize("known", [1, 2, 3, 5])
def test_a_rollout_adds_up_the_actions(model, known):
    rng = np.random.default_rng(known)
    latents = rng.standard_normal((known, 8)).astype(np.float32)
    past = rng.standard_normal((known - 1, 3)).astype(np.float32)
    actions = rng.standard_normal((7, 4, 3)).astype(np.float32)
    expected = latents[-1] + np.cumsum(actions, axis=1) @ PUSH
    np.testing.assert_allclose(model.rollout(latents, past, actions), expected, atol=1e-5)


def test_rollouts_of_many_batch_sizes_are_their_own(model):
    latents, past = np.zeros((1, 8), np.float32), np.zeros((0, 3), np.float32)
    for batch in [*range(1, 13), 1, 5]:  # more sizes than buffers are kept for
        actions = np.full((batch, 2, 3), batch, np.float32)
        np.testing.assert_allclose(model.rollout(latents, past, actions)[:, 1, 0], 2.0 * batch)


def test_a_history_for_each_candidate(model):
    latents = np.arange(2 * 3 * 8, dtype=np.float32).reshape(2, 3, 8)
    found = model.rollout(latents, np.zeros((2, 2, 3), np.float32), np.ones((2, 1, 3), np.float32))
    np.testing.assert_allclose(found[:, 0], latents[:, -1] + PUSH.sum(axis=0))


@pytest.mark.parametrize(
    ("latents", "past", "actions", "says"),
    [
        ((0, 8), (0, 3), (1, 1, 3), "do not fit"),
        ((1, 7), (0, 3), (1, 1, 3), "do not fit"),
        ((1, 8), (0, 3), (1, 1, 2), "do not fit"),
        ((3, 8), (1, 3), (1, 1, 3), "3 latents need 2 actions between them, got 1"),
    ],
)
def test_shapes_that_do_not_fit(model, latents, past, actions, says):
    arrays = (np.zeros(shape, np.float32) for shape in (latents, past, actions))
    with pytest.raises(ModelError, match=says):
        model.rollout(*arrays)


def test_a_head_that_is_not_there(model):
    with pytest.raises(ModelError, match="no value head is named 'value'; it has none"):
        model.head("value", np.zeros((1, 8), np.float32), np.zeros(8, np.float32))


def with_golden(folder, **changes):
    """The bundle's golden.npz with some arrays replaced, or left out where they are None."""
    path = folder / "golden.npz"
    with np.load(path) as found:
        arrays = {**found, **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    write_manifest(folder, read_manifest(folder))
    return load_bundle(folder)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("latent", "latent is off its golden value"),
        ("next", "next is off its golden value by .* on CPUExecutionProvider"),
        ("head_value_output", "head_value_output is off its golden value"),
    ],
)
def test_golden_values_that_another_model_gave(tiny_bundle_with_head, name, says):
    with np.load(tiny_bundle_with_head / "golden.npz") as found:
        other = found[name] + np.float32(0.01)
    with pytest.raises(BundleError, match=says):
        OnnxWorldModel(with_golden(tiny_bundle_with_head, **{name: other}))


def test_golden_values_that_lack_some(tiny_bundle):
    np.savez(tiny_bundle / "golden.npz", image=np.zeros((1, 16, 16, 3), np.uint8))
    write_manifest(tiny_bundle, read_manifest(tiny_bundle))
    with pytest.raises(BundleError, match=r"golden\.npz lacks action, context, latent, next"):
        OnnxWorldModel(load_bundle(tiny_bundle))


@pytest.mark.parametrize("name", ["head_value_output", "head_value_latent", "head_value_goal"])
def test_every_head_needs_its_golden_values(tiny_bundle_with_head, name):
    with pytest.raises(BundleError, match=rf"golden\.npz lacks {name}"):
        OnnxWorldModel(with_golden(tiny_bundle_with_head, **{name: None}))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"context": np.zeros((0, 3, 8), np.float32), "next": np.zeros((0, 8), np.float32)},
            "no numbers in context, next",
        ),
        ({"image": np.zeros((0, 16, 16, 3), np.uint8), "latent": np.zeros((0, 8), np.float32)}, "in image, latent"),
        ({"next": np.full((4, 8), "x")}, "no numbers in next"),
        ({"image": np.zeros((2, 8, 8, 3), np.uint8)}, r"inputs that a graph does not take \(graph encoder\.onnx"),
        ({"action": np.zeros((4, 3, 3))}, r"inputs that a graph does not take \(graph predictor\.onnx"),
        ({"next": np.full((4, 8), np.nan, np.float32)}, "next is off its golden value by inf"),
    ],
)
def test_golden_values_that_say_nothing(tiny_bundle, changes, says):
    with pytest.raises(BundleError, match=says):
        OnnxWorldModel(with_golden(tiny_bundle, **changes))


def test_a_head_gives_what_its_graph_holds(tiny_bundle_with_head):
    model = OnnxWorldModel(load_bundle(tiny_bundle_with_head))
    latents = np.arange(16, dtype=np.float32).reshape(2, 8)
    np.testing.assert_allclose(model.head("value", latents, latents[0]), [0, 8 * 8**2])


def test_a_grey_model_runs_on_colour_images(tiny_grey_bundle):
    bundle = load_bundle(tiny_grey_bundle)
    model, prepare = OnnxWorldModel(bundle), Preprocessor(bundle.manifest.camera)
    seen = prepare(np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    np.testing.assert_allclose(model.encode(seen), model.encode_batch(seen[None])[0], atol=1e-5)


def test_heads_of_one_file_have_golden_values_each(tiny_bundle_with_head):
    """What the second says of the same inputs is compared too."""
    heads = read_manifest(tiny_bundle_with_head).heads
    with np.load(tiny_bundle_with_head / "golden.npz") as found:
        second = {f"head_second_{part}": found[f"head_value_{part}"] for part in ("latent", "goal", "output")}
    changed = read_manifest(tiny_bundle_with_head).model_copy(update={"heads": {**heads, "second": heads["value"]}})
    write_manifest(tiny_bundle_with_head, changed)
    OnnxWorldModel(with_golden(tiny_bundle_with_head, **second))
    second["head_second_output"] = second["head_second_output"] + 1
    with pytest.raises(BundleError, match="head_second_output is off its golden value"):
        OnnxWorldModel(with_golden(tiny_bundle_with_head, **second))


@pytest.mark.parametrize(
    ("precision", "provider", "allowed"),
    [("fp32", "CPUExecutionProvider", 1e-5), ("fp16", "CPUExecutionProvider", 1e-2), ("int8", "Other", 0.5)],
)
def test_the_tolerance_of_a_precision(tiny_bundle, precision, provider, allowed):
    """Where none is named for it, the widest of those that are."""
    named = {"CPUExecutionProvider:fp32": 1e-5, "CPUExecutionProvider:fp16": 1e-2, "CUDAExecutionProvider:int8": 0.5}
    manifest = read_manifest(tiny_bundle)
    calibration = manifest.calibration.model_copy(update={"tolerance": named})
    found = manifest.model_copy(update={"calibration": calibration, "precision": precision})
    assert tolerance(found, provider) == allowed


def test_golden_values_of_half_precision_are_held_to_its_tolerance(tiny_bundle):
    with np.load(tiny_bundle / "golden.npz") as found:
        other = found["next"] * np.float32(1.001)
    with pytest.raises(BundleError, match="next is off"):
        OnnxWorldModel(with_golden(tiny_bundle, next=other))
    manifest = read_manifest(tiny_bundle)
    named = {"CPUExecutionProvider:fp32": 1e-4, "CPUExecutionProvider:fp16": 1e-2}
    calibration = manifest.calibration.model_copy(update={"tolerance": named})
    write_manifest(tiny_bundle, manifest.model_copy(update={"calibration": calibration, "precision": "fp16"}))
    OnnxWorldModel(load_bundle(tiny_bundle))


@pytest.mark.parametrize(
    ("found", "expected", "error"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([0.0, 3.0], [0.0, 2.0], 1 / np.sqrt(2)),
        ([0.5], [0.0], 0.5),
        ([1.0], [1.0, 1.0], np.inf),
    ],
)
def test_relative_error(found, expected, error):
    assert relative_error(np.array(found), np.array(expected, float)) == pytest.approx(error)
