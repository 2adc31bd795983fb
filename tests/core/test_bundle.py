"""Opening a bundle: one changed byte is enough to refuse it."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import onnx
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from jepa_ros.bundle.loader import load_bundle, write_manifest
from jepa_ros.bundle.manifest import MANIFEST_NAME, read_manifest
from jepa_ros.errors import BundleError
from jepa_ros.world_model import OnnxWorldModel


def rehashed(folder, **changes):
    """Write the manifest again over the files as they are, with some fields changed."""
    found = read_manifest(folder)
    write_manifest(folder, found.model_copy(update=changes))
    return folder


def test_it_opens_and_lists_its_files(tiny_bundle):
    bundle = load_bundle(tiny_bundle)
    assert set(bundle.manifest.files) == {"encoder.onnx", "predictor.onnx", "golden.npz"}
    assert bundle.golden()["next"].shape == (4, 8)
    assert bundle.goal_names() == []


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    name=st.sampled_from(["encoder.onnx", "predictor.onnx", "golden.npz"]),
    where=st.integers(0, 10**6),
    flip=st.integers(1, 255),
)
def test_any_changed_byte_is_refused(tiny_bundle, name, where, flip):
    file = tiny_bundle / name
    original = file.read_bytes()
    changed = bytearray(original)
    changed[where % len(changed)] ^= flip
    file.write_bytes(bytes(changed))
    try:
        with pytest.raises(BundleError, match=f"{name} does not have the sha256"):
            load_bundle(tiny_bundle)
    finally:
        file.write_bytes(original)


def test_a_missing_file(tiny_bundle):
    (tiny_bundle / "predictor.onnx").unlink()
    with pytest.raises(BundleError, match=r"predictor\.onnx is missing"):
        load_bundle(tiny_bundle)


def test_no_folder(tmp_path):
    with pytest.raises(BundleError, match="no such folder"):
        load_bundle(tmp_path / "nothing")


def test_links_are_followed_and_hashed(tiny_bundle, tmp_path):
    """`colcon build --symlink-install` installs every file of a bundle as a link."""
    outside = tmp_path / "outside.onnx"
    shutil.move(tiny_bundle / "encoder.onnx", outside)
    (tiny_bundle / "encoder.onnx").symlink_to(outside)
    load_bundle(tiny_bundle)
    outside.write_bytes(b"changed")
    with pytest.raises(BundleError, match=r"encoder\.onnx does not have the sha256"):
        load_bundle(tiny_bundle)


def test_a_manifest_that_lists_no_golden_values(tiny_bundle):
    (tiny_bundle / "golden.npz").unlink()
    with pytest.raises(BundleError, match=r"lists no golden\.npz"):
        load_bundle(rehashed(tiny_bundle))


def test_a_graph_of_other_sizes_than_the_manifest(tiny_bundle):
    camera = read_manifest(tiny_bundle).camera.model_copy(update={"width": 32})
    with pytest.raises(BundleError, match=r"image is uint8 \[None, 16, 16, 3\], the manifest implies .*16, 32, 3"):
        load_bundle(rehashed(tiny_bundle, camera=camera))


def test_a_graph_that_is_none(tiny_bundle):
    (tiny_bundle / "encoder.onnx").write_bytes(b"not a graph")
    with pytest.raises(BundleError, match=r"encoder\.onnx (is not an ONNX graph|has no input)"):
        load_bundle(rehashed(tiny_bundle))


@pytest.mark.parametrize(
    ("file", "kind", "name"),
    [
        ("encoder.onnx", "input", "image"),
        ("encoder.onnx", "output", "latent"),
        ("predictor.onnx", "input", "latent"),
        ("predictor.onnx", "input", "action"),
        ("predictor.onnx", "output", "next"),
        ("heads/value.onnx", "input", "goal"),
        ("heads/value.onnx", "output", "value"),
    ],
)
def test_a_graph_of_other_element_types_than_the_manifest(tiny_bundle_with_head, file, kind, name):
    path = tiny_bundle_with_head / file
    model = onnx.load(str(path))
    value = next(v for v in getattr(model.graph, kind) if v.name == name)
    value.type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, str(path))
    implied = "uint8" if name == "image" else "float32"
    with pytest.raises(BundleError, match=rf"{file}: {kind} {name} is float16 .*, the manifest implies {implied}"):
        load_bundle(rehashed(tiny_bundle_with_head))


def test_an_input_is_no_output(tiny_bundle):
    path = tiny_bundle / "predictor.onnx"
    model = onnx.load(str(path))
    model.graph.input.add().CopyFrom(model.graph.output[0])
    model.graph.output[0].name = "change"
    onnx.save(model, str(path))
    with pytest.raises(BundleError, match=r"predictor\.onnx has no output 'next'; it has change"):
        load_bundle(rehashed(tiny_bundle))


def test_every_head_of_a_file_is_held_against_it(tiny_bundle_with_head):
    value = read_manifest(tiny_bundle_with_head).heads["value"]
    heads = {"safety": value.model_copy(update={"output": "safety"}), "value": value}
    with pytest.raises(BundleError, match=r"heads/value\.onnx has no output 'safety'"):
        load_bundle(rehashed(tiny_bundle_with_head, heads=heads))


def outside(location, name="outside"):
    """A tensor whose values lie in a file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[3, 8], data_location=TensorProto.EXTERNAL)
    if location is not None:
        tensor.external_data.add(key="location", value=location)
    return tensor


def as_initializer(model, tensor):
    model.graph.initializer.append(tensor)


def as_sparse_initializer(model, tensor):
    model.graph.sparse_initializer.add().values.CopyFrom(tensor)


def as_attribute(model, tensor):
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], value=tensor))


def in_a_subgraph(model, tensor):
    body = helper.make_graph([helper.make_node("Constant", [], ["unused"], value=tensor)], "body", [], [])
    model.graph.node.append(helper.make_node("If", ["condition"], ["unused"], then_branch=body, else_branch=body))


def in_a_function(model, tensor):
    nodes = [helper.make_node("Constant", [], ["unused"], value=tensor)]
    model.functions.append(helper.make_function("local", "f", [], ["unused"], nodes, [helper.make_opsetid("", 17)]))


@pytest.mark.parametrize("put", [as_initializer, as_sparse_initializer, as_attribute, in_a_subgraph, in_a_function])
@pytest.mark.parametrize(
    "location", ["../passwd", "/etc/passwd", "data/../golden.npz", "..\\passwd", "unlisted.bin", "", None]
)
def test_tensors_in_files_that_nobody_hashed(tiny_bundle, put, location):
    path = tiny_bundle / "predictor.onnx"
    model = onnx.load(str(path))
    put(model, outside(location))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(
        BundleError, match=r"predictor\.onnx keeps tensor 'outside' in '.*', which the manifest's files"
    ):
        load_bundle(rehashed(tiny_bundle))


def test_a_second_location_is_looked_at_too(tiny_bundle):
    path = tiny_bundle / "predictor.onnx"
    model = onnx.load(str(path))
    tensor = outside("golden.npz")
    tensor.external_data.add(key="location", value="/etc/passwd")
    as_initializer(model, tensor)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match=r"in '/etc/passwd'"):
        load_bundle(rehashed(tiny_bundle))


def test_a_name_that_onnx_runtime_reads_as_a_memory_address(tiny_bundle):
    place = "*/_ORT_MEM_ADDR_/*"
    (tiny_bundle / place).parent.mkdir(parents=True)
    (tiny_bundle / place).write_bytes(bytes(96))
    path = tiny_bundle / "predictor.onnx"
    model = onnx.load(str(path))
    as_initializer(model, outside(place))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match=r"keeps tensor 'outside' in '\*/_ORT_MEM_ADDR_/\*'"):
        load_bundle(rehashed(tiny_bundle))


@pytest.mark.parametrize("folder", ["", "heads/"])
def test_tensors_in_a_listed_file_beside_the_graph(tiny_bundle_with_head, folder):
    """The place is relative to the graph; the file is hashed like any other."""
    file = f"{folder}{'value' if folder else 'predictor'}.onnx"
    path = tiny_bundle_with_head / file
    model = onnx.load(str(path))
    nodes, one = model.graph.node, numpy_helper.from_array(np.ones(8, np.float32), "one")
    # A factor of one, kept outside, on the last node's first input.
    model.graph.initializer.append(one)
    scaled = helper.make_node("Mul", [nodes[-1].input[0], "one"], ["scaled"])
    nodes[-1].input[0] = "scaled"
    nodes.insert(len(nodes) - 1, scaled)
    onnx.save(model, str(path), save_as_external_data=True, location="graph.data", size_threshold=0)
    OnnxWorldModel(load_bundle(rehashed(tiny_bundle_with_head)))
    data = path.parent / "graph.data"
    data.write_bytes(bytes(len(data.read_bytes())))
    with pytest.raises(BundleError, match=rf"{folder}graph\.data does not have the sha256"):
        load_bundle(tiny_bundle_with_head)


def test_damaged_golden_values(tiny_bundle):
    (tiny_bundle / "golden.npz").write_bytes(b"PK nothing")
    with pytest.raises(BundleError, match=r"golden\.npz: cannot be read"):
        load_bundle(rehashed(tiny_bundle)).golden()


def test_goals_by_name(tiny_bundle):
    view = np.zeros((16, 16, 3), np.uint8)
    view[..., 0] = 200  # red in RGB
    (tiny_bundle / "goals").mkdir()
    cv2.imwrite(str(tiny_bundle / "goals" / "sofa.png"), view[..., ::-1])
    (tiny_bundle / "goals" / "broken.png").write_bytes(b"no image")
    bundle = load_bundle(rehashed(tiny_bundle))
    assert bundle.goal_names() == ["broken", "sofa"]
    np.testing.assert_array_equal(bundle.goal_image("sofa"), view)
    with pytest.raises(BundleError, match="no goal is named 'kitchen'; there are: broken, sofa"):
        bundle.goal_image("kitchen")
    with pytest.raises(BundleError, match=r"broken\.png is not a PNG image"):
        bundle.goal_image("broken")


def test_a_file_that_the_manifest_does_not_list(tiny_bundle):
    with pytest.raises(BundleError, match=r"lists no file heads/other\.onnx"):
        load_bundle(tiny_bundle).file("heads/other.onnx")


def test_the_model_card_may_change(tiny_bundle):
    (tiny_bundle / "README.md").write_text("about it")
    rehashed(tiny_bundle)
    (tiny_bundle / "README.md").write_text("more about it")
    assert "README.md" not in load_bundle(tiny_bundle).manifest.files


def test_a_hash_changed_in_the_manifest(tiny_bundle):
    path = tiny_bundle / MANIFEST_NAME
    fields = yaml.safe_load(path.read_text())
    fields["files"]["encoder.onnx"] = "0" * 64
    path.write_text(yaml.safe_dump(fields))
    with pytest.raises(BundleError, match="sha256"):
        load_bundle(tiny_bundle)
