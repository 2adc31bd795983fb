from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
import typer
from typer.testing import CliRunner

from jepa_ros.errors import JepaRosError
from jepa_ros_training import train as module
from jepa_ros_training.checkpoint import load_average
from jepa_ros_training.dataset import read_runs
from jepa_ros_training.model import ModelConfig
from jepa_ros_training.recipe import Recipe, held_out_of
from jepa_ros_training.train import Trainer, main, train

from .synthetic_runs import write_runs

TINY = ModelConfig(image=16, latent=6, channels=(4, 8), hidden=16, width=16, blocks=1)
RECIPE = Recipe(frames=10_000, batch=8, window=8, horizon=4, warm_up=5)
TRAIN = typer.Typer()
TRAIN.command()(main)


@pytest.fixture
def runs(tmp_path):
    return read_runs(write_runs(tmp_path / "data", length=60))


def weights(model):
    return torch.cat([value.flatten() for value in model.state_dict().values()])


def test_resumed_training_equals_uninterrupted(runs, tmp_path):
    whole = Trainer(runs, TINY, RECIPE, "cpu")
    for _ in range(6):
        whole.step()
    half = Trainer(runs, TINY, RECIPE, "cpu")
    for _ in range(3):
        half.step()
    half.save(tmp_path / "checkpoint.pt")
    resumed = Trainer(runs, TINY, RECIPE, "cpu")
    resumed.restore(tmp_path / "checkpoint.pt")
    assert resumed.iteration == 3
    for _ in range(3):
        resumed.step()
    torch.testing.assert_close(weights(resumed.model), weights(whole.model), rtol=0, atol=0)
    torch.testing.assert_close(weights(resumed.average), weights(whole.average), rtol=0, atol=0)


def test_prediction_gets_better_than_copying_without_collapse(runs):
    trainer = Trainer(
        runs, TINY, Recipe(frames=200_000, batch=32, window=8, horizon=4, warm_up=5, learning_rate=3e-3), "cpu"
    )
    first = trainer.step()
    for _ in range(150):
        last = trainer.step()
    assert last["prediction"] < 0.7 * first["prediction"]
    images, _ = runs.batch(runs.starts(1), 1)
    assert trainer.model.encoder(images.flatten(0, 1)).std(0).mean() > 0.3


def test_training_leaves_a_log_and_a_checkpoint_that_loads(runs, tmp_path):
    trainer = Trainer(runs, TINY, Recipe(frames=3 * 8 * 8, batch=8, window=8, horizon=4), "cpu")
    train(trainer, tmp_path, runs)
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert last["frames"] == 3 * 8 * 8
    assert len(last["held_out"]["open_loop"]["model"]) == 8
    assert set(last["held_out"]["probe_r2"]) == {"x", "y", "sin_yaw", "cos_yaw"}
    assert not list(tmp_path.glob("*.partial"))
    torch.testing.assert_close(weights(load_average(tmp_path / "checkpoint.pt")), weights(trainer.average))


def test_a_schedule_needs_one_length(runs):
    for recipe in (Recipe(), Recipe(minutes=1.0, frames=10)):
        with pytest.raises(JepaRosError, match="either in minutes or in frames"):
            Trainer(runs, TINY, recipe, "cpu")


def test_a_checkpoint_of_other_sizes_is_refused(runs, tmp_path):
    Trainer(runs, TINY, RECIPE, "cpu").save(tmp_path / "checkpoint.pt")
    other = Trainer(
        runs, ModelConfig(image=16, latent=8, channels=(4, 8), hidden=16, width=16, blocks=1), RECIPE, "cpu"
    )
    with pytest.raises(JepaRosError, match="other sizes"):
        other.restore(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_damaged_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(JepaRosError, match=r"checkpoint\.pt: not a readable checkpoint"):
        load_average(path)


def test_a_missing_checkpoint_says_how_to_make_one(tmp_path):
    with pytest.raises(JepaRosError, match=r"no such file; train with"):
        load_average(tmp_path / "checkpoint.pt")


def test_a_checkpoint_with_code_inside_is_refused(tmp_path):
    torch.save({"config": json.loads}, tmp_path / "checkpoint.pt")
    with pytest.raises(JepaRosError, match="not a readable checkpoint"):
        load_average(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"batch": 4}, "batch 8, not 4"),
        ({"regulariser": "vicreg"}, "regulariser sigreg, not vicreg"),
        ({"regulariser_weight": 1.0}, "regulariser_weight 3.0, not 1.0"),
        ({"learning_rate": 1e-4}, "learning_rate 0.001, not 0.0001"),
        ({"start_from": "bundles/other"}, "start_from None, not bundles/other"),
        ({"data": "3 runs"}, "data None, not 3 runs"),
        ({"held_out": ("run_00008.npz", "run_00009.npz")}, r"held_out no runs, not 2 runs \(run_00008"),
    ],
)
def test_another_recipe_is_refused_by_its_field(runs, tmp_path, changed, says):
    Trainer(runs, TINY, RECIPE, "cpu").save(tmp_path / "checkpoint.pt")
    other = Trainer(runs, TINY, replace(RECIPE, **changed), "cpu")
    with pytest.raises(JepaRosError, match=rf"checkpoint\.pt: its recipe has {says}.*another --out"):
        other.restore(tmp_path / "checkpoint.pt")


def test_a_run_may_go_on_for_longer(runs, tmp_path):
    Trainer(runs, TINY, RECIPE, "cpu").save(tmp_path / "checkpoint.pt")
    for length in ({"frames": 20_000}, {"frames": None, "minutes": 3.0}):
        Trainer(runs, TINY, replace(RECIPE, **length), "cpu").restore(tmp_path / "checkpoint.pt")


def test_a_checkpoint_from_before_recipes_goes_on(runs, tmp_path):
    trainer = Trainer(runs, TINY, RECIPE, "cpu")
    trainer.step()
    trainer.save(tmp_path / "checkpoint.pt")
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    del state["recipe"]
    torch.save(state, tmp_path / "checkpoint.pt")
    resumed = Trainer(runs, TINY, replace(RECIPE, batch=4), "cpu")
    resumed.restore(tmp_path / "checkpoint.pt")
    assert resumed.iteration == 1
    assert held_out_of(tmp_path / "checkpoint.pt", None) == 20
    assert held_out_of(tmp_path / "checkpoint.pt", 3) == 3


def test_runs_shorter_than_the_window_are_refused_before_training(tmp_path):
    short = read_runs(write_runs(tmp_path / "short", length=7))
    with pytest.raises(JepaRosError, match=r"training runs: 8 frames .* run_00000\.npz, has 7; collect longer runs"):
        Trainer(short, TINY, RECIPE, "cpu")


def test_short_held_out_runs_do_not_end_training(runs, tmp_path):
    held_out = read_runs(write_runs(tmp_path / "short", length=6))
    train(Trainer(runs, TINY, replace(RECIPE, frames=64), "cpu"), tmp_path, held_out)
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert len(last["held_out"]["open_loop"]["model"]) == 3


def test_held_out_runs_without_a_prediction_are_refused_before_training(runs, tmp_path):
    held_out = read_runs(write_runs(tmp_path / "short", length=3))
    trainer = Trainer(runs, TINY, RECIPE, "cpu")
    with pytest.raises(JepaRosError, match=r"held-out runs: 4 frames"):
        train(trainer, tmp_path, held_out)
    assert trainer.iteration == 0


def command(*arguments, **options):
    line = [*arguments, *(word for name, value in options.items() for word in (f"--{name}", str(value)))]
    return CliRunner().invoke(TRAIN, line, env={"COLUMNS": "400"})


def test_the_command_remembers_its_recipe_and_the_runs_held_out(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ModelConfig", lambda: TINY)
    data = write_runs(tmp_path / "data", count=4, length=20)
    options = {"data": data, "out": tmp_path / "out", "batch": 2, "threads": 1, "hold-out": 2}
    done = command(**options, frames=64)
    assert done.exit_code == 0, done.output
    checkpoint = tmp_path / "out" / "checkpoint.pt"
    names = ("run_00002.npz", "run_00003.npz")
    assert held_out_of(checkpoint, None) == held_out_of(checkpoint, 2) == names
    with pytest.raises(JepaRosError, match=r"--hold-out 3: .* names the 2 runs"):
        held_out_of(checkpoint, 3)
    recipe = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert recipe["held_out"] == list(names)
    assert recipe["data"].startswith("2 runs, 40 frames")
    longer = command(**options, frames=128)
    assert longer.exit_code == 0, longer.output
    assert "resuming at iteration 2" in longer.output
    for changed, field in (({"seed": 3}, "seed 0, not 3"), ({"hold-out": 1}, "its recipe has data")):
        refused = command(**(options | changed), frames=256)
        assert refused.exit_code == 1
        assert field in refused.output
    assert json.loads((tmp_path / "out" / "recipe.json").read_text())["seed"] == 0


def test_the_command_says_that_there_are_too_few_runs(tmp_path):
    done = command(data=write_runs(tmp_path / "data", count=3), out=tmp_path / "out")
    assert done.exit_code == 1
    assert "3 run files and --hold-out 20 leaves none" in done.output
