"""The export's command line: which camera, which runs, and what it will not guess."""

from __future__ import annotations

import math

import pytest
from typer.testing import CliRunner

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.bundle.manifest import Mount
from jepa_ros_export import cli
from jepa_ros_training.checkpoint import read_state, write_atomically

from .tiny_models import trained

SEEN_BY = {"horizontal_fov_rad": 1.2, "camera_mount": [0.3, 0.0, 0.1, 0.05]}
HELD_OUT = ("run_00000.npz", "run_00001.npz")


def command(found, *extra):
    line = ["--checkpoint", found.checkpoint, "--data", found.data, "--out", found.data.parent / "bundle", *extra]
    return CliRunner().invoke(cli.app, ["sigreg-jepa", *map(str, line)], env={"COLUMNS": "400"})


def camera_of(found):
    return load_bundle(found.data.parent / "bundle").manifest.camera


def test_runs_that_say_which_camera_saw_them_need_no_options(tmp_path):
    found = trained(tmp_path, held_out=HELD_OUT, **SEEN_BY)
    done = command(found)
    assert done.exit_code == 0, done.output
    assert (camera_of(found).horizontal_fov_rad, camera_of(found).mount) == (1.2, Mount(x=0.3, z=0.1, pitch=0.05))


def test_a_camera_that_is_given_comes_before_what_runs_say(tmp_path):
    found = trained(tmp_path, held_out=HELD_OUT, **SEEN_BY)
    done = command(found, "--fov", 62.5, "--mount", 0.2, -0.01, 0.3, -0.1)
    assert done.exit_code == 0, done.output
    assert camera_of(found).horizontal_fov_rad == pytest.approx(math.radians(62.5))
    assert camera_of(found).mount == Mount(x=0.2, y=-0.01, z=0.3, pitch=-0.1)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--mount", 0, 0, 0, 0), "--fov: the run files in"),
        (("--fov", 90), "--mount: the run files in"),
        (("--fov", 180, "--mount", 0, 0, 0, 0), "--fov: 180 degrees must lie between 0 and 180"),
        (("--fov", "nan", "--mount", 0, 0, 0, 0), "--fov: nan degrees must lie between"),
        (("--fov", 90, "--mount", 0, "inf", 0, 0), "--mount 0.0 inf 0.0 0.0: must be four finite numbers"),
    ],
)
def test_a_camera_is_never_guessed(tmp_path, given, says):
    done = command(trained(tmp_path, held_out=HELD_OUT), *given)
    assert done.exit_code == 1
    assert says in done.output
    assert not (tmp_path / "bundle").exists()


def calibrated_on(found, monkeypatch, *extra):
    """Names of the runs that an export would calibrate on."""
    names = []
    monkeypatch.setattr(cli.family, "export", lambda request, held_out: names.extend(held_out.names) or {})
    done = command(found, *extra)
    assert done.exit_code == 0, done.output
    return tuple(names)


def test_calibration_is_on_the_runs_that_the_checkpoint_names(tmp_path, monkeypatch):
    found = trained(tmp_path, held_out=HELD_OUT, **SEEN_BY)
    assert calibrated_on(found, monkeypatch) == HELD_OUT
    assert calibrated_on(found, monkeypatch, "--hold-out", 2, "--value", found.value) == HELD_OUT


def test_for_an_old_checkpoint_the_option_says(tmp_path, monkeypatch):
    found = trained(tmp_path, **SEEN_BY)
    assert calibrated_on(found, monkeypatch, "--hold-out", 1) == ("run_00002.npz",)
    refused = command(found)
    assert refused.exit_code == 1
    assert "3 run files and --hold-out 20 leaves none to train on" in refused.output


@pytest.mark.parametrize(
    ("extra", "says"), [(("--hold-out", 1), "names the 2 runs that were held out"), ((), "lacks run_00001.npz")]
)
def test_training_runs_are_not_calibrated_on(tmp_path, extra, says):
    found = trained(tmp_path, held_out=HELD_OUT, **SEEN_BY)
    if not extra:
        (found.data / "run_00001.npz").unlink()
    done = command(found, *extra)
    assert done.exit_code == 1
    assert says in done.output


def test_a_head_that_has_seen_the_held_out_runs_is_refused(tmp_path):
    found = trained(tmp_path, held_out=HELD_OUT, **SEEN_BY)
    write_atomically({**read_state(found.value), "recipe": {"held_out": ("run_00002.npz",)}}, found.value)
    done = command(found, "--value", found.value)
    assert done.exit_code == 1
    assert "the head was fitted with other runs held out" in done.output


def test_a_misspelt_folder_of_goals_is_refused(tmp_path):
    done = command(trained(tmp_path, held_out=HELD_OUT, **SEEN_BY), "--goals", tmp_path / "gaols")
    assert done.exit_code == 1
    assert "gaols is no folder" in done.output
