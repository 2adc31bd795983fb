"""The manifest: what it refuses, and that the message names the field."""

from __future__ import annotations

import pytest
import yaml

from jepa_ros.bundle.manifest import MANIFEST_NAME, Manifest, read_manifest
from jepa_ros.errors import BundleError

from .linear_world import manifest


def written(folder, change=lambda fields: None):
    fields = manifest().model_dump(mode="json")
    change(fields)
    (folder / MANIFEST_NAME).write_text(yaml.safe_dump(fields))
    return folder


def test_what_is_written_is_what_is_read(tmp_path):
    assert read_manifest(written(tmp_path)) == manifest()


def test_the_latent_is_the_first_state_tensor_that_is_one(tmp_path):
    def add(fields):
        fields["state"].insert(0, {"name": "joints", "kind": "vector", "shape": [12], "role": "proprio"})

    assert read_manifest(written(tmp_path, add)).latent.name == "latent"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.update(licence_="MIT"), "licence_"),
        (lambda m: m.update(schema_version=2), "schema_version is 2, this jepa_ros reads 1; export it again"),
        (lambda m: m.pop("camera"), "camera"),
        (lambda m: m["camera"].update(width=0), "camera.width"),
        (lambda m: m["camera"].update(crop=[0.5, 0.5, 0, 0]), "camera.crop: shares must not be negative"),
        (lambda m: m["camera"].update(crop=[-0.1, 0, 0, 0]), "camera.crop"),
        (lambda m: m["timing"].update(step_s=float("nan")), "timing.step_s"),
        (lambda m: m["timing"].update(history_min=3, history_max=2), "history_min must not be above history_max"),
        (lambda m: m["timing"].update(history_max=9), "history_max must not be above predictor.max_context"),
        (lambda m: m["action"].update(units=["m"]), "units must have 2 entries, one for each of x, y"),
        (lambda m: m["action"].update(low=[1.0, -1.0]), "low must be below high for x"),
        (lambda m: m["action"].update(names=["x", "x"]), "names must differ"),
        (lambda m: m["action"].update(fixed={"z": 0.0}), "fixed names z, which is no component"),
        (lambda m: m["cost"].append({"source": "head:safety"}), "source 'head:safety' is none of head:value, latent"),
        (lambda m: m.update(cost=[]), "cost"),
        (lambda m: m["state"].append(m["state"][0]), "state: names must differ"),
        (lambda m: m["state"][0].update(role="proprio"), "state: one tensor at least must have the role latent"),
        (lambda m: m["heads"]["value"].update(file="heads/value.ort"), "heads.value.file"),
        (lambda m: m.update(files={"../encoder.onnx": "0"}), "points outside the bundle's folder"),
        (lambda m: m.update(files={"/etc/passwd": "0"}), "points outside the bundle's folder"),
    ],
)
def test_a_field_that_does_not_fit_is_named(tmp_path, change, says):
    with pytest.raises(BundleError) as caught:
        read_manifest(written(tmp_path, change))
    assert says in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_fixed_component_needs_no_range():
    fixed = manifest(low=(-1.0, 0.0), high=(1.0, 0.0), action={"fixed": {"y": 0.0}})
    assert isinstance(fixed, Manifest)


@pytest.mark.parametrize(
    ("text", "says"), [("a: [", "is not YAML"), ("- 1", "must be a mapping"), ("", "must be a mapping")]
)
def test_a_file_that_is_no_manifest(tmp_path, text, says):
    (tmp_path / MANIFEST_NAME).write_text(text)
    with pytest.raises(BundleError, match=says):
        read_manifest(tmp_path)


def test_a_binary_file_is_no_manifest(tmp_path):
    (tmp_path / MANIFEST_NAME).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BundleError, match="is not YAML"):
        read_manifest(tmp_path)


def test_no_manifest(tmp_path):
    with pytest.raises(BundleError, match="is this a bundle"):
        read_manifest(tmp_path)
