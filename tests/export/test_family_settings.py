"""Settings of the families: defaults that can be shown and used, and files that cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from jepa_ros.errors import BundleError
from jepa_ros_export.families import FAMILIES, family_module
from jepa_ros_export.family_settings import default_config, read_config

pytestmark = pytest.mark.families
PUBLISHED = [name for name in FAMILIES if name != "generic"]
NOTHING_PUBLISHED = ("ijepa", "vjepa2", "dinov2", "dinov3")  # encoders alone: the predictor is the user's


@pytest.mark.parametrize("family", PUBLISHED)
def test_the_settings_that_are_shown_can_be_given(tmp_path, family):
    path = tmp_path / "settings.yaml"
    path.write_text(default_config(family))
    module = family_module(family)
    assert read_config(module, path) == read_config(module, None, "full")
    first = path.read_text().splitlines()[0]
    assert first.startswith("# an example") == (family in NOTHING_PUBLISHED)
    if family in NOTHING_PUBLISHED:
        assert "action" in first


def test_generic_has_no_settings_of_its_own():
    with pytest.raises(BundleError, match="--config is the whole manifest"):
        default_config("generic")


@pytest.mark.parametrize("family", PUBLISHED)
def test_a_file_changes_what_it_names_and_nothing_else(tmp_path, family):
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump({"licence": "MIT"}))
    module = family_module(family)
    assert read_config(module, path, "tiny") == module.tiny().model_copy(update={"licence": "MIT"})


@pytest.mark.parametrize(
    ("family", "text", "whose", "changed"),
    [
        ("tdmpc2", "planner: {iterations: 8}", {}, {"iterations": 8}),
        ("eb_jepa", "planner: {name: cem, std: 0.61}", {}, {"name": "cem", "std": 0.61}),
        ("vjepa2_ac", "planner: {horizon: 1, momentum: null}", {}, {"horizon": 1, "momentum": None}),
        ("jepa_wms", "planner: {samples: 64}", {}, {"samples": 64}),
        ("jepa_wms", "preset: droid\nplanner: {samples: 64}", {"preset": "droid"}, {"samples": 64}),
        ("dino_wm", "planner: {samples: 64}", {}, {"samples": 64}),
    ],
)
def test_a_part_of_the_planner_leaves_the_rest_of_it(tmp_path, family, text, whose, changed):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    module = family_module(family)
    expected = module.Config(**whose)
    planner = expected.planner.model_copy(update=changed)
    assert read_config(module, path) == expected.model_copy(update={"planner": planner})


def test_a_part_of_the_planner_and_the_mount_of_a_tiny_model(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("planner: {samples: 7}\nmount: {z: 0.2}\n")
    module = family_module("pldm")
    found, tiny = read_config(module, path, "tiny"), module.tiny()
    assert found.planner == tiny.planner.model_copy(update={"samples": 7})
    assert found.mount == tiny.mount.model_copy(update={"z": 0.2})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lisence: MIT\n", r"settings\.yaml: lisence: Extra inputs"),
        ("step_s: soon\n", r"settings\.yaml: step_s: Input should be a valid number"),
        ("planner: {iteration: 8}\n", r"settings\.yaml: planner\.iteration: Extra inputs"),
        ("planner: mppi\n", r"settings\.yaml: planner: Input should be a valid dictionary"),
        ("- 1\n", r"settings\.yaml: must be a mapping of fields"),
        ("a: [\n", r"settings\.yaml: is not YAML"),
        ("action_mean: [1.0]\n", r"settings\.yaml: .*action_mean has 1 entries, action\.names \d"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, text, says):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(BundleError, match=says):
        read_config(family_module("tdmpc2"), path)


def test_a_file_that_is_not_there():
    with pytest.raises(BundleError, match=r"config none\.yaml: cannot be read \(No such file"):
        read_config(family_module("tdmpc2"), Path("none.yaml"))
