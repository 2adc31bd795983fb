from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from jepa_ros.bundle.loader import sha256
from jepa_ros.errors import JepaRosError
from jepa_ros_export.cli import app
from jepa_ros_export.model_card import write_model_card

from .tiny_models import trained

HELD_OUT = {
    "std": 0.9,
    "effective_rank": 11.0,
    "probe_r2": {"x": 0.97, "y": 0.98},
    "spearman": 0.9,
    "open_loop": {"model": [0.004, 0.02], "copy_last": [0.01, 0.3]},
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("card")
    found = trained(folder)
    arguments = ["--checkpoint", found.checkpoint, "--value", found.value, "--data", found.data, "--hold-out", "1"]
    arguments += ["--fov", "90", "--mount", "0.32", "0", "0.06", "0"]
    result = CliRunner().invoke(app, ["sigreg-jepa", "--out", str(folder / "tiny"), *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return folder / "tiny"


@pytest.fixture
def folder(exported, tmp_path):
    shutil.copytree(exported, tmp_path / "tiny")
    recipe = {
        "batch": 64,
        "window": 16,
        "horizon": 8,
        "learning_rate": 1e-3,
        "ema": 0.998,
        "seed": 0,
        "regulariser": "sigreg",
        "regulariser_weight": 3.0,
    }
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    lines = [{"frames": 512, "seconds": 60.0, "iteration": 1, "held_out": HELD_OUT}, {"frames": 1024, "iteration": 2}]
    (tmp_path / "log.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return tmp_path


def test_the_card_holds_the_figures_of_the_log(folder):
    text = write_model_card(folder / "tiny", folder).read_text()
    assert "# World model `tiny`" in text
    assert "| frame passes | 512 |" in text
    assert "x 0.970, y 0.980" in text
    assert "3 × sigreg" in text
    assert "Not evaluated" in text
    assert "began with" not in text


def test_the_card_says_what_training_began_with(folder):
    path = folder / "recipe.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "start_from": "bundles/first"}))
    assert "| began with | the weights of `bundles/first` |" in write_model_card(folder / "tiny", folder).read_text()


DRIVES = {
    "episodes": 200,
    "success_rate": 0.9,
    "ci95": [0.85, 0.93],
    "baselines": {"noop": 0.0, "oracle": {"success_rate": 1.0}},
}


@pytest.mark.parametrize("kept", [True, False], ids=["says what it measured", "from before that was kept"])
def test_the_card_holds_an_evaluation(folder, kept):
    source = {"source": "drawn", "seed": 7}
    measured = {"manifest_sha256": sha256(folder / "tiny" / "manifest.yaml"), "planner": {}, "tasks": source}
    (folder / "out.json").write_text(json.dumps({**DRIVES, **(measured if kept else {})}))
    arguments = ["model-card", "--bundle", folder / "tiny", "--training", folder, "--evaluation", folder / "out.json"]
    result = CliRunner().invoke(app, [str(part) for part in arguments])
    assert result.exit_code == 0, result.output
    text = (folder / "tiny" / "README.md").read_text()
    assert "| this bundle | 0.900 | 0.850 … 0.930 |" in text
    assert "| oracle | 1.000 | |" in text


def test_a_card_needs_a_log(folder):
    (folder / "log.jsonl").write_text('{"frames": 3}')
    with pytest.raises(JepaRosError, match="no held-out figures"):
        write_model_card(folder / "tiny", folder)


def test_an_evaluation_of_something_else_is_refused(folder):
    (folder / "out.json").write_text('{"episodes": 3}')
    with pytest.raises(JepaRosError, match="the evaluation lacks 'ci95'"):
        write_model_card(folder / "tiny", folder, folder / "out.json")


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ({"manifest_sha256": "0123456789abcdef"}, r"is of another bundle \(manifest\.yaml sha256 0123456789ab, .* has"),
        ({"planner": {"samples": 4096}}, r'with planner settings \{"samples": 4096\} .* without --planner'),
        ({"tasks": {"source": "file", "file": "easy.json"}}, "is of chosen goals, not of drawn ones"),
        ({"tasks": "drawn"}, "is of chosen goals"),
    ],
)
def test_an_evaluation_that_does_not_measure_this_bundle_is_refused(folder, field, says):
    path = folder / "out.json"
    path.write_text(json.dumps({**DRIVES, **field}))
    with pytest.raises(JepaRosError, match=rf"out\.json .*{says}"):
        write_model_card(folder / "tiny", folder, path)
    assert not (folder / "tiny" / "README.md").exists()


def test_a_list_is_no_evaluation(folder):
    (folder / "out.json").write_text("[]")
    with pytest.raises(JepaRosError, match="is not an evaluation"):
        write_model_card(folder / "tiny", folder, folder / "out.json")


def test_the_card_says_how_far_short_runs_were_predicted(folder):
    text = write_model_card(folder / "tiny", folder).read_text()
    assert "prediction error at step 2, copying the last latent | 0.0200, 0.3000" in text
