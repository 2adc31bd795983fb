"""A bundle's graphs on ONNX Runtime, against the arithmetic that they hold."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.bundle.loader import load_bundle, write_manifest
from jepa_ros.bundle.manifest import read_manifest
from jepa_ros.errors import BundleError, ModelError
from jepa_ros.runtime import Session, choose_providers
from jepa_ros.world_model import OnnxWorldModel, relative_error

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


def test_a_prediction_uses_the_last_of_its_context(model):
    context = np.arange(2 * 3 * 8, dtype=np.float32).reshape(2, 3, 8)
    action = np.ones((2, 3, 3), np.float32)
    np.testing.assert_allclose(model.predict(context, action), context[:, -1] + PUSH.sum(axis=0))


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
    with pytest.raises(ModelError, match="no head is named 'value'; it has none"):
        model.head("value", np.zeros((1, 8), np.float32), np.zeros(8, np.float32))


def test_golden_values_that_another_model_gave(tiny_bundle):
    path = tiny_bundle / "golden.npz"
    with np.load(path) as found:
        arrays = dict(found)
    arrays["next"] = arrays["next"] + 0.01
    np.savez(path, **arrays)
    write_manifest(tiny_bundle, read_manifest(tiny_bundle))
    with pytest.raises(BundleError, match=r"next is off its golden value by .* on CPUExecutionProvider"):
        OnnxWorldModel(load_bundle(tiny_bundle))


def test_golden_values_that_lack_one(tiny_bundle):
    np.savez(tiny_bundle / "golden.npz", image=np.zeros((1, 16, 16, 3), np.uint8))
    write_manifest(tiny_bundle, read_manifest(tiny_bundle))
    with pytest.raises(BundleError, match=r"golden\.npz lacks action, context, latent, next"):
        OnnxWorldModel(load_bundle(tiny_bundle))


def test_a_state_that_this_version_does_not_run(tiny_bundle):
    bundle = load_bundle(tiny_bundle)
    tokens = bundle.manifest.state[0].model_copy(update={"kind": "tokens"})
    object.__setattr__(bundle, "manifest", bundle.manifest.model_copy(update={"state": [tokens]}))
    with pytest.raises(BundleError, match=r"its state is latent \(tokens\)"):
        OnnxWorldModel(bundle)


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


def test_the_cpu_can_always_be_asked_for():
    assert choose_providers(("CPUExecutionProvider",)) == ("CPUExecutionProvider",)
    assert choose_providers()[-1] == "CPUExecutionProvider"


def test_a_provider_that_is_not_installed():
    with pytest.raises(ModelError, match=r"NoneExecutionProvider is not installed; this ONNX Runtime has .*CPU"):
        choose_providers(("NoneExecutionProvider",))


def test_a_graph_that_cannot_be_opened(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        Session(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"\x00\x01")
    with pytest.raises(ModelError, match="cannot be opened"):
        Session(tmp_path / "bad.onnx")


def test_a_graph_that_is_given_what_it_does_not_take(tiny_bundle):
    session = Session(tiny_bundle / "encoder.onnx")
    assert session.inputs["image"][1] == "tensor(uint8)"
    with pytest.raises(ModelError, match=r"encoder\.onnx"):
        session.run(image=np.zeros((1, 2, 2, 3), np.uint8))


def test_bound_buffers_are_read_and_written_in_place(tiny_bundle):
    session = Session(tiny_bundle / "encoder.onnx")
    image, latent = np.zeros((1, 16, 16, 3), np.uint8), np.ones((1, 8), np.float32)
    run = session.bind({"image": image}, {"latent": latent})
    run()
    assert not latent.any()
    image[:] = 255
    run()
    np.testing.assert_allclose(latent, session.run(image=image)["latent"])
