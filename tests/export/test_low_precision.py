"""The parts of a conversion: single graphs, the windows of a recording, and what is said of plans."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from jepa_ros.bundle.loader import ENCODER, PREDICTOR, load_bundle
from jepa_ros.bundle.manifest import ProprioSpec, read_manifest
from jepa_ros.errors import BundleError
from jepa_ros.runtime import Session
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_export import plan_change as plan_change_module
from jepa_ros_export.frames import bounds, graph_inputs, read_windows
from jepa_ros_export.low_precision import to_fp16, to_int8
from jepa_ros_export.plan_change import plan_change

from .lowered import write_runs


def graph(path, nodes, shape, outputs, **constants):
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes,
        "graph",
        [value("x", TensorProto.FLOAT, ["B", *shape])],
        [value(name, TensorProto.FLOAT, ["B", *size]) for name, size in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def in_true_fp16(path, x):
    """By ONNX's reference, which rounds after every operation; ONNX Runtime's CPU computes fp16 in fp32."""
    model = onnx.load(str(path))
    names = [value.name for value in model.graph.output]
    with np.errstate(all="ignore"):
        return dict(zip(names, ReferenceEvaluator(model).run(names, {"x": x}), strict=True))


def test_sums_and_norms_stay_fp32_all_the_way(tmp_path):
    """300² is above 65504, its root is not. A normalisation's third output is fp32 whatever its input is."""
    nodes = [
        helper.make_node("ReduceSumSquare", ["x", "axes"], ["squared"], keepdims=1),
        helper.make_node("Sqrt", ["squared"], ["norm"]),
        helper.make_node("LayerNormalization", ["x", "scale"], ["normal", "mean", "inverse"]),
        helper.make_node("Mul", ["normal", "inverse"], ["product"]),
    ]
    constants = {"axes": np.array([1]), "scale": np.ones(4, np.float32)}
    source = graph(tmp_path / "a.onnx", nodes, [4], {"norm": [1], "product": [4]}, **constants)
    small = np.ones((1, 4), np.float32)
    to_fp16(source, tmp_path / "b.onnx", {"x": small})
    x = np.array([[300, -300, 200, 100], [1, 2, 3, 4]], np.float32)
    expected = Session(source).run(x=x)
    for found in (Session(tmp_path / "b.onnx").run(x=x), in_true_fp16(tmp_path / "b.onnx", x)):
        for name, array in expected.items():
            assert found[name].dtype == np.float32
            np.testing.assert_allclose(found[name], array, rtol=2e-3)


@pytest.mark.parametrize("far", [True, False])
def test_what_nears_the_end_of_fp16s_range_stays_fp32(tmp_path, far):
    """The values go beyond it in the middle, and come back."""
    nodes = [
        helper.make_node("MatMul", ["x", "up"], ["large"]),
        helper.make_node("MatMul", ["large", "down"], ["back"]),
        helper.make_node("MatMul", ["back", "plain"], ["out"]),
    ]
    rng = np.random.default_rng(0)
    up, down, plain = (rng.standard_normal((8, 8)).astype(np.float32) for _ in range(3))
    constants = {"up": up * 1e4, "down": down * 1e-4, "plain": plain}
    source = graph(tmp_path / "a.onnx", nodes, [8], {"out": [8]}, **constants)
    x = rng.standard_normal((16, 8)).astype(np.float32) * 3
    to_fp16(source, tmp_path / "b.onnx", {"x": x if far else x * 1e-3})
    expected, found = Session(source).run(x=x)["out"], in_true_fp16(tmp_path / "b.onnx", x)["out"]
    types = {t.name: t.data_type for t in onnx.load(str(tmp_path / "b.onnx")).graph.initializer}
    assert types["plain"] == TensorProto.FLOAT16
    if far:
        assert np.abs(found - expected).max() < 5e-3 * np.abs(expected).max()
    else:
        assert not np.isfinite(found).all(), "the inputs that are looked at decide"


@pytest.mark.parametrize("static", [False, True])
def test_a_stack_of_matrices_is_left_as_it_is(tmp_path, static):
    rng = np.random.default_rng(0)
    stack = rng.standard_normal((5, 16, 4)).astype(np.float32)
    plain = rng.standard_normal((16, 16)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "plain"], ["y"], name="first"),
        helper.make_node("Unsqueeze", ["y", "axes"], ["z"], name="apart"),
        helper.make_node("MatMul", ["z", "stack"], ["out"], name="second"),
    ]
    constants = {"stack": stack, "plain": plain, "axes": np.array([1, 2])}
    source = graph(tmp_path / "a.onnx", nodes, [16], {"out": [5, 1, 4]}, **constants)
    x = rng.standard_normal((24, 16)).astype(np.float32)
    to_int8(source, tmp_path / "b.onnx", {"x": x} if static else None)
    types = {tuple(t.dims): t.data_type for t in onnx.load(str(tmp_path / "b.onnx")).graph.initializer}
    assert types[5, 16, 4] == TensorProto.FLOAT
    assert types[16, 16] == TensorProto.UINT8
    expected, found = (Session(tmp_path / name).run(x=x)["out"] for name in ("a.onnx", "b.onnx"))
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_a_graph_that_cannot_be_converted_is_named(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleError, match=r"precision: a\.onnx cannot be converted \("):
        to_fp16(tmp_path / "a.onnx", tmp_path / "b.onnx", {})


# ---- recordings


def test_windows_hold_stacks_and_blocks_as_a_robot_would(tmp_path, tiny_bundle):
    manifest = read_manifest(tiny_bundle)
    camera = manifest.camera.model_copy(update={"frame_stack": 2})
    action = manifest.action.model_copy(update={"block": 2})
    windows = read_windows(
        write_runs(tmp_path / "runs", frames=12, step_s=0.1),
        manifest.model_copy(update={"camera": camera, "action": action}),
    )
    # (2 − 1 + 3) blocks of 2 frames and the last: 9 frames; four such windows in each of two runs of 12.
    assert windows.images.shape == (8, 4, 2, 16, 16, 3)
    assert windows.actions.shape == (8, 3, 6)
    assert windows.images[1, :, :, 0, 0, 0].tolist() == [[1, 3], [3, 5], [5, 7], [7, 9]]
    with np.load(tmp_path / "runs" / "run_00000.npz") as run:
        np.testing.assert_array_equal(windows.actions[1], run["actions"][3:9].reshape(3, 6))


def test_many_frames_are_thinned_evenly(tmp_path, tiny_bundle):
    windows = read_windows(write_runs(tmp_path / "runs", frames=250), read_manifest(tiny_bundle))
    assert len(windows.images) == 96
    begins = windows.images[:48, 0, 0, 0, 0]
    assert set(np.diff(begins.astype(int))) <= {5, 6}


def test_graphs_are_given_what_was_seen_done_and_drawn(tmp_path, tiny_bundle_with_head):
    model = OnnxWorldModel(load_bundle(tiny_bundle_with_head))
    windows = read_windows(write_runs(tmp_path / "runs"), model.manifest)
    found = graph_inputs(model, windows, np.random.default_rng(0))
    count = len(windows.images)
    golden = model.bundle.golden()
    assert found[ENCODER]["image"].shape == (count * 4 + len(golden["image"]), 16, 16, 3)
    np.testing.assert_array_equal(found[ENCODER]["image"][count * 4 :], golden["image"])
    context, action = (found[PREDICTOR][part][: 2 * count] for part in ("latent", "action"))
    np.testing.assert_array_equal(context[0, 0], model.encode_batch(windows.images[0, :1])[0])
    np.testing.assert_array_equal(context[:count], context[count:])
    np.testing.assert_array_equal(action[:count], windows.actions)
    low, high = bounds(model.manifest)
    assert (action[count:] >= low).all()
    assert (action[count:] <= high).all()
    assert action[count:, :, 0].max() > 0.5, "all of the bounds, not what was driven"
    head = found["heads/value.onnx"]
    assert head["latent"].shape == head["goal"].shape == (count * 4 + 2 * count + len(golden["head_value_goal"]), 8)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"actions": None}, "has no actions"),
        ({"images": np.zeros((24, 16, 16), np.uint8)}, r"images must be uint8 \[N, h, w, 3\] with N actions"),
        ({"actions": np.zeros((23, 3), np.float32)}, "with N actions"),
        ({"step_s": np.zeros(2)}, "is damaged"),
    ],
)
def test_a_run_file_that_is_none_is_named(tmp_path, tiny_bundle, change, says):
    path = write_runs(tmp_path / "runs") / "run_00001.npz"
    with np.load(path) as run:
        fields = {name: array for name, array in {**run, **change}.items() if array is not None}
    np.savez(path, **fields)
    with pytest.raises(BundleError, match=rf"run file .*run_00001\.npz: .*{says}"):
        read_windows(path.parent, read_manifest(tiny_bundle))


def test_recordings_have_no_measurements(tmp_path, tiny_bundle):
    manifest = read_manifest(tiny_bundle)
    manifest = manifest.model_copy(update={"proprio": ProprioSpec(names=["x"], units=["m"])})
    with pytest.raises(BundleError, match="recordings hold no x, which the encoder takes"):
        read_windows(write_runs(tmp_path / "runs"), manifest)


# ---- plans


def test_a_model_beside_itself_changes_nothing(tmp_path, tiny_bundle_with_head):
    first, second = (OnnxWorldModel(load_bundle(tiny_bundle_with_head)) for _ in range(2))
    windows = read_windows(write_runs(tmp_path / "runs"), first.manifest)
    for given in (None, windows):
        found = plan_change(first, second, 3, given)
        assert (found.energy, found.rank, found.elites) == (0.0, pytest.approx(1.0), 1.0)
        assert found.lowered == found.original
        assert found.reseeded != found.original
        assert found.elite_count == 6
    assert found.surprise[0] == found.surprise[1] > 0
    assert [len(found.lines("fp16")), len(plan_change(first, second, 1).lines("fp16"))] == [3, 2]


def test_slow_plans_are_compared_on_fewer_pairs(tiny_bundle, monkeypatch):
    monkeypatch.setattr(plan_change_module, "_MOST_S", 0.0)
    model = OnnxWorldModel(load_bundle(tiny_bundle))
    assert plan_change(model, model, 5).pairs == 1
