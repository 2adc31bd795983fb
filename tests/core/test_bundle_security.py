"""Bundles from strangers: whatever their files hold, they end in one sentence, in bounded time and memory."""

from __future__ import annotations

import os
import struct
import zlib

import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from jepa_ros.bundle import loader
from jepa_ros.bundle.loader import load_bundle, write_manifest
from jepa_ros.bundle.manifest import MANIFEST_NAME, read_manifest
from jepa_ros.bundle.signing import SIGNATURE_NAME, open_trusted, signed_by
from jepa_ros.errors import BundleError, ModelError
from jepa_ros.world_model import OnnxWorldModel

from .bounded import bounded

__all__ = ["bounded"]


def rehashed(folder):
    write_manifest(folder, read_manifest(folder))
    return folder


# What is read before what.


def test_no_file_is_parsed_before_all_are_hashed(tiny_bundle, monkeypatch):
    """The last file in the list is wrong; nothing of the first ones may have been opened as what they are."""
    parsed = []
    monkeypatch.setattr(loader, "read_signature", lambda *_: parsed.append("graph"))
    monkeypatch.setattr(loader, "read_arrays", lambda *_: parsed.append("arrays"))
    last = list(read_manifest(tiny_bundle).files)[-1]
    (tiny_bundle / last).write_bytes((tiny_bundle / last).read_bytes() + b"\0")
    with pytest.raises(BundleError, match="sha256"):
        load_bundle(tiny_bundle)
    assert parsed == []


def test_no_manifest_is_parsed_before_its_signature_holds(tiny_bundle, tmp_path, monkeypatch):
    keys = pytest.importorskip("jepa_ros.bundle.keys", reason="signatures need the extra sign")
    keys.make_keys(tmp_path / "owner")
    parsed = []
    monkeypatch.setattr(loader, "read_manifest", lambda *_: parsed.append("manifest"))
    with pytest.raises(BundleError, match="is not signed"):
        open_trusted(tiny_bundle, [tmp_path / "owner.pub"])
    assert parsed == []


# The manifest.


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: &a [1]\nb: [*a, *a]", "anchor or alias"),
        ("!!python/object/apply:os.system [touch here]", "uses a tag"),
        ("[" * 50_000, "nested deeper"),
        ("schema_version: " + "1" * 5000, "5000 characters without quotes"),
        ("schema_version: 0x" + "f" * 2900, "schema_version is"),
        ("schema_version: 1\nname: " + "x" * 2**20, "larger than"),
        ("schema_version: 2024-13-45", "a value cannot be read"),
        (b"schema_version: 1\xff", "not plain YAML"),
    ],
)
@pytest.mark.usefixtures("bounded")
def test_a_manifest_that_is_no_plain_yaml(tiny_bundle, text, sentence):
    (tiny_bundle / MANIFEST_NAME).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BundleError, match=sentence):
        load_bundle(tiny_bundle)


def changed(folder, **fields):
    path = folder / MANIFEST_NAME
    found = yaml.safe_load(path.read_text())
    for dotted, value in fields.items():
        block, _, field = dotted.partition("__")
        if field:
            found[block][field] = value
        else:
            found[block] = value
    path.write_text(yaml.safe_dump(found))
    return folder


@pytest.mark.parametrize(
    "fields",
    [
        {"camera__width": 10**9}, {"camera__height": 10**400}, {"camera__frame_stack": 10**6},
        {"timing__history_max": 10**9}, {"predictor__max_context": 10**9}, {"planner__samples": 10**12},
        {"planner__horizon": 10**9}, {"planner__iterations": 10**9}, {"action__block": 10**9},
        {"state": [{"name": "latent", "kind": "map", "shape": [10**5, 10**5, 10**5]}]},
        {"timing__step_s": 10**400}, {"calibration__arrival_energy": ".inf"},
    ],
    ids=lambda fields: next(iter(fields)),
)  # fmt: skip
def test_numbers_that_would_take_all_memory(tiny_bundle, fields):
    with pytest.raises(BundleError, match=next(iter(fields)).partition("__")[0]):
        load_bundle(changed(tiny_bundle, **fields))


@pytest.mark.parametrize(
    "name",
    [
        "../outside.onnx",
        "/etc/passwd",
        "heads/../../x.onnx",
        "..\\x.onnx",
        "",
        ".",
        "x\0.onnx",
        "x\n.onnx",
        "\x1b[2J.onnx",
    ],
)
def test_a_file_outside_or_with_a_name_that_cannot_be_shown(tiny_bundle, name):
    files = {**read_manifest(tiny_bundle).files, name: "0" * 64}
    with pytest.raises(BundleError, match="files") as found:
        load_bundle(changed(tiny_bundle, files=files))
    assert str(found.value).isprintable()


# Graphs.


def with_tensor(folder, **external):
    """A predictor with one more tensor, kept in a file."""
    path = folder / "predictor.onnx"
    model = onnx.load(str(path))
    tensor = TensorProto(name="outside", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in external.items():
        tensor.external_data.add(key=key, value=value)
    model.graph.initializer.append(tensor)
    path.write_bytes(model.SerializeToString())
    return folder


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_a_link_to_a_file_outside_is_not_read_as_tensors(tiny_bundle, tmp_path, link):
    """Under a name that is not listed it is refused; under one that is, its bytes must be those that were hashed."""
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(16))
    link(secret, tiny_bundle / "data.bin")
    with_tensor(tiny_bundle, location="data.bin")
    files = read_manifest(tiny_bundle).files
    graph = loader.sha256(tiny_bundle / "predictor.onnx")
    with pytest.raises(BundleError, match=r"keeps tensor 'outside' in 'data\.bin', which the manifest's files"):
        load_bundle(changed(tiny_bundle, files={**files, "predictor.onnx": graph}))
    listed = {**files, "predictor.onnx": graph, "data.bin": "0" * 64}
    with pytest.raises(BundleError, match=r"data\.bin does not have the sha256"):
        load_bundle(changed(tiny_bundle, files=listed))


@pytest.mark.parametrize(
    ("offset", "length"), [("0", "17"), ("16", "1"), ("-4", "16"), ("0", "-1"), (str(10**30), "4"), ("x", "4")]
)
def test_tensors_outside_the_bytes_of_their_file(tiny_bundle, offset, length):
    (tiny_bundle / "data.bin").write_bytes(bytes(16))
    with_tensor(tiny_bundle, location="data.bin", offset=offset, length=length)
    with pytest.raises(BundleError, match=r"keeps tensor 'outside' outside the bytes of data\.bin"):
        load_bundle(rehashed(tiny_bundle))


@pytest.mark.parametrize("deep", [False, True], ids=["in the graph", "in a branch"])
def test_a_compiled_part_is_refused(tiny_bundle, deep):
    path = tiny_bundle / "predictor.onnx"
    model = onnx.load(str(path))
    node = helper.make_node("EPContext", [], ["unused"], domain="com.microsoft", ep_cache_context="/tmp/engine")
    if deep:
        body = helper.make_graph([node], "body", [], [])
        node = helper.make_node("If", ["condition"], ["unused"], then_branch=body, else_branch=body)
    model.graph.node.append(node)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match=r"predictor\.onnx holds a compiled part"):
        load_bundle(rehashed(tiny_bundle))


@pytest.mark.usefixtures("bounded")
def test_a_graph_nested_a_thousand_deep(tiny_bundle):
    """Longer than protobuf's own limit of 100; made by hand, since protobuf does not write it either."""
    body = b""
    for _ in range(1000):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # AttributeProto.g, NodeProto.attribute, GraphProto.node
            size = len(body)
            length = b""
            while size > 127:
                length, size = length + bytes([size & 127 | 128]), size >> 7
            body = tag + length + bytes([size]) + body
    (tiny_bundle / "predictor.onnx").write_bytes(onnx.ModelProto(ir_version=8).SerializeToString() + b"\x3a" + body)
    with pytest.raises(BundleError, match=r"predictor\.onnx is not an ONNX graph"):
        load_bundle(rehashed(tiny_bundle))


@pytest.mark.usefixtures("bounded")
def test_a_weight_of_a_giant_shape_without_bytes(tiny_bundle):
    path = tiny_bundle / "predictor.onnx"
    model = onnx.load(str(path))
    model.graph.initializer.append(TensorProto(name="giant", data_type=TensorProto.FLOAT, dims=[2**31, 2**31]))
    last = model.graph.node[-1]
    model.graph.node.append(helper.make_node("Sum", ["changed", "giant"], [last.output[0]]))
    last.output[0] = "changed"
    path.write_bytes(model.SerializeToString())
    bundle = load_bundle(rehashed(tiny_bundle))
    with pytest.raises((BundleError, ModelError)):
        OnnxWorldModel(bundle)


# Images and signatures.


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("side", [30_000, 2**31 - 1])
def test_a_goal_image_of_a_giant_size(tiny_bundle, side):
    (tiny_bundle / "goals").mkdir()
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(header))
    (tiny_bundle / "goals" / "wall.png").write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + crc)
    with pytest.raises(BundleError, match=r"goals/wall\.png is not a PNG image of 33554432 pixels at most"):
        load_bundle(rehashed(tiny_bundle)).goal_image("wall")


def test_a_goal_in_another_format_than_its_name_says(tiny_bundle):
    """One decoder can be reached, not all that OpenCV was built with."""
    (tiny_bundle / "goals").mkdir()
    (tiny_bundle / "goals" / "wall.png").write_bytes(b"P6 2 2 255\n" + bytes(12))
    with pytest.raises(BundleError, match="is not a PNG image"):
        load_bundle(rehashed(tiny_bundle)).goal_image("wall")


@pytest.mark.usefixtures("bounded")
def test_a_signature_file_of_any_size(tiny_bundle):
    with (tiny_bundle / SIGNATURE_NAME).open("wb") as file:
        file.truncate(2**33)  # sparse
    with pytest.raises(BundleError, match=r"manifest\.yaml\.sig is damaged"):
        signed_by(tiny_bundle)
