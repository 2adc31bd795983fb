"""`jepa-bundle diff`: what is not the same is named, and nothing else."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.bundle.manifest import read_manifest

from .bundle_command import copy, invoke, rehashed


def test_diff_of_a_copy_says_the_same(tiny_bundle):
    other = copy(tiny_bundle)
    (other / "README.md").write_text("another card")
    assert invoke("diff", tiny_bundle, other) == (0, "the same")


def test_diff_names_fields_by_their_path_and_both_values(tiny_bundle):
    action = read_manifest(tiny_bundle).action
    changed = action.model_copy(update={"low": [-0.5, *action.low[1:]], "norm_limit": 0.7})
    other = rehashed(copy(tiny_bundle), name="other", action=changed)
    code, text = invoke("diff", tiny_bundle, other)
    assert code == 1
    for row in ('name "tiny" "other"', "action.low.0 -0.4 -0.5", "action.norm_limit null 0.7"):
        assert row in text
    assert "low.1" not in text
    assert ".onnx" not in text


def test_diff_names_what_only_one_has(tiny_bundle, tiny_bundle_with_head):
    _, text = invoke("diff", tiny_bundle, tiny_bundle_with_head)
    digest = load_bundle(tiny_bundle_with_head).manifest.files["heads/value.onnx"][:12]
    assert f"heads/value.onnx – {digest}" in text
    assert 'heads.value.file – "heads/value.onnx"' in text
    assert "heads {} –" in text


def test_diff_looks_into_the_graphs(tiny_bundle):
    other = copy(tiny_bundle)
    path = other / "predictor.onnx"
    model = onnx.load(str(path))
    push = next(tensor for tensor in model.graph.initializer if tensor.name == "push")
    moved = numpy_helper.to_array(push).copy()
    moved[1, 2] += 0.25
    push.CopyFrom(numpy_helper.from_array(moved, "push"))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((2, 3), np.float32), "spare"))
    model.graph.node.append(onnx.helper.make_node("Identity", ["spare"], ["unused"]))
    # What it takes besides is its own affair.
    model.graph.input.append(onnx.helper.make_tensor_value_info("hint", onnx.TensorProto.FLOAT, [4, 8]))
    onnx.save(model, str(path))
    code, text = invoke("diff", tiny_bundle, rehashed(other))
    assert code == 1
    for row in (
        "predictor.onnx input hint – float32 [4, 8]",
        "predictor.onnx operator Identity – 1",
        "predictor.onnx weight spare – float [2, 3]",
        "predictor.onnx weights 1 of 2 have other values, by at most 0.25",
    ):
        assert row in text
    assert "operator Add" not in text
    assert "encoder.onnx" not in text


def test_diff_sees_weights_in_other_files(tiny_bundle):
    """The graph's own bytes are the same in both."""
    path = tiny_bundle / "predictor.onnx"
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location="data.bin", size_threshold=0)
    other = copy(rehashed(tiny_bundle))
    raw = bytearray((other / "data.bin").read_bytes())
    model = onnx.load(str(path), load_external_data=False)
    where = {e.key: e.value for t in model.graph.initializer if t.name == "push" for e in t.external_data}
    raw[int(where.get("offset", 0)) : int(where.get("offset", 0)) + 4] = np.float32(3).tobytes()
    (other / "data.bin").write_bytes(raw)
    code, text = invoke("diff", tiny_bundle, rehashed(other))
    assert code == 1
    assert "predictor.onnx weights 1 of 2 have other values, by at most 2" in text
    assert "data.bin" in text


def test_diff_of_what_does_not_open(tiny_bundle, tmp_path):
    code, text = invoke("diff", tiny_bundle, tmp_path / "nothing")
    assert code == 2
    assert "nothing: no such folder" in text
