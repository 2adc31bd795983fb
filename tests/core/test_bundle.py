"""Opening a bundle: one changed byte is enough to refuse it."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jepa_ros.bundle.loader import load_bundle, write_manifest
from jepa_ros.bundle.manifest import MANIFEST_NAME, read_manifest
from jepa_ros.errors import BundleError


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
    with pytest.raises(BundleError, match=r"image has shape \[None, 16, 16, 3\], the manifest implies .*16, 32, 3"):
        load_bundle(rehashed(tiny_bundle, camera=camera))


def test_a_graph_that_is_none(tiny_bundle):
    (tiny_bundle / "encoder.onnx").write_bytes(b"not a graph")
    with pytest.raises(BundleError, match=r"encoder\.onnx (is not an ONNX graph|has no tensor)"):
        load_bundle(rehashed(tiny_bundle))


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
    with pytest.raises(BundleError, match=r"broken\.png is not an image"):
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
