"""What the families' commands refuse before the export, which may take minutes, begins."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from jepa_ros.errors import BundleError
from jepa_ros_export import cli, family_command
from jepa_ros_export.families import family_module
from jepa_ros_export.goals import goal_views

from ..training.synthetic_runs import write_runs

pytestmark = pytest.mark.families


@pytest.fixture
def refusal(tmp_path, monkeypatch):
    """The one line with which a command ends, without having exported anything."""

    def never(*_, **__):
        raise AssertionError("the export began")

    def command(*line):
        monkeypatch.setattr(family_command, "write_bundle", never)
        done = CliRunner().invoke(cli.app, [*map(str, line), "--out", str(tmp_path / "bundle")], env={"COLUMNS": "400"})
        assert done.exit_code == 1, done.output
        assert done.exception is None or isinstance(done.exception, SystemExit)
        (said,) = done.output.strip().splitlines()
        return said

    return command


@pytest.mark.parametrize(
    ("family", "says"),
    [
        ("lewm", "the runs' actions have 3 values"),
        ("eb-jepa", "camera.channels is 2"),
        ("vjepa2-ac", "run files hold no x, y, z"),
    ],
)
def test_recordings_that_do_not_fit(tmp_path, refusal, family, says):
    data = write_runs(tmp_path / "data", count=1, length=8)
    said = refusal(family, "--random-weights", "tiny", "--data", data)
    assert "--data: " in said
    assert says in said


@pytest.mark.parametrize("names", [("a.safetensors", "b.safetensors"), ("a.safetensors", "again")])
def test_two_checkpoints_with_a_tensor_of_the_same_name(tmp_path, refusal, names):
    module = family_module("lewm")
    state = module.random_checkpoint(module.tiny())
    (tmp_path / "again").mkdir()
    files = [tmp_path / name if name.endswith("s") else tmp_path / name / "c.safetensors" for name in names]
    safetensors.torch.save_file(state, files[0])
    safetensors.torch.save_file({"predictor.more": torch.ones(1), next(iter(state)): torch.ones(1)}, files[1])
    given = [tmp_path / name for name in names]
    said = refusal("lewm", "--checkpoint", given[0], "--checkpoint", given[1])
    assert f"checkpoint {given[1]}: holds {next(iter(state))}, and so does {given[0]};" in said


def test_a_goal_that_is_no_image_is_named(tmp_path):
    cv2.imwrite(str(tmp_path / "door.png"), np.zeros((8, 8, 3), np.uint8))
    assert [path.name for path in goal_views(tmp_path)] == ["door.png"]
    (tmp_path / "window.png").write_text("a web page")
    with pytest.raises(BundleError, match=r"--goals .*window\.png is no image"):
        goal_views(tmp_path)


def test_a_part_that_is_given_twice_is_refused(tmp_path):
    (tmp_path / "manifest.yaml").write_text("name: x\n")
    given = ["encoder=a.pt2", "encoder=b.pt2"]
    with pytest.raises(BundleError, match=r"--checkpoint encoder= is given twice: a\.pt2 and b\.pt2"):
        family_command.parts_of("generic", given, tmp_path / "manifest.yaml", None, "x")
