from __future__ import annotations

import json

import pytest
import torch

from jepa_ros.errors import JepaRosError
from jepa_ros_training.checkpoint import load_average
from jepa_ros_training.dataset import read_runs
from jepa_ros_training.model import ModelConfig
from jepa_ros_training.train import Recipe, Trainer, train

from .synthetic_runs import write_runs

TINY = ModelConfig(image=16, latent=6, channels=(4, 8), hidden=16, width=16, blocks=1)
RECIPE = Recipe(frames=10_000, batch=8, window=8, horizon=4, warm_up=5)


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
