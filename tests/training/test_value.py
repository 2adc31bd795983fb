from __future__ import annotations

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from jepa_ros.errors import JepaRosError
from jepa_ros_training.checkpoint import read_state
from jepa_ros_training.value import Transitions, ValueConfig, ValueHead, ValueRecipe, draw, fit_value, load_value, main

from ..export.tiny_models import trained
from .synthetic_runs import write_runs

CONFIG = ValueConfig(latent=4, width=32, embedding=8)
VALUE = typer.Typer()
VALUE.command()(main)


def line_world(runs=6, length=60):
    """Runs along a line, one unit a step, there and back; the latent holds the place."""
    there = np.concatenate([np.arange(length // 2), np.arange(length // 2, 0, -1)]).astype(np.float32) / 10
    latents = np.zeros((runs * length, 4), np.float32)
    latents[:, 0] = np.tile(there, runs)
    last = np.repeat(np.arange(runs) * length + length - 1, length)
    seen = torch.from_numpy(latents)
    return Transitions(seen, seen, last)


def test_more_steps_away_is_more_to_go():
    head = fit_value(line_world(), CONFIG, ValueRecipe(iterations=400, batch=256))
    places = torch.zeros(4, 4)
    places[:, 0] = torch.tensor([0.0, 0.3, 0.8, 2.0])
    with torch.no_grad():
        steps = head(places, torch.zeros(4, 4))
    assert steps[0] < 0.01
    assert (steps.diff() > 0).all()
    assert float(steps[1]) == pytest.approx(3, abs=1.5)


def test_a_batch_stays_inside_its_runs():
    data = line_world(runs=3, length=10)
    state, following, goal, arrived = draw(data, ValueRecipe(batch=2000, own_share=1.0), np.random.default_rng(0))
    assert ((following[:, 0] - state[:, 0]).abs() < 0.11).all()
    assert torch.equal(state[arrived], goal[arrived])


def test_imagined_states_are_drawn_in_their_share():
    data = line_world()
    marked = Transitions(data.seen, data.seen + 100, data.last)
    state, *_ = draw(marked, ValueRecipe(batch=4000, imagined_share=0.25), np.random.default_rng(0))
    assert (state[:, 0] > 50).float().mean() == pytest.approx(0.25, abs=0.03)


def test_the_head_is_zero_at_the_goal_and_nowhere_negative():
    torch.manual_seed(0)
    head, latents = ValueHead(CONFIG), torch.randn(20, 4)
    assert head(latents, latents).max() < 0.01
    assert head(latents, torch.randn(20, 4)).min() >= 0


def test_a_file_of_something_else_is_refused(tmp_path):
    torch.save({"config": {"latent": 4}}, tmp_path / "value.pt")
    with pytest.raises(JepaRosError, match=r"value\.pt: not one that jepa_ros_training\.value wrote"):
        load_value(tmp_path / "value.pt")


def test_a_run_of_one_frame_does_not_lead_into_the_next():
    latents = torch.arange(6.0)[:, None].expand(-1, 4)
    data = Transitions(latents, latents, np.array([0, 5, 5, 5, 5, 5]))
    state, following, *_ = draw(data, ValueRecipe(batch=500), np.random.default_rng(0))
    stayed = state[:, 0] == 0
    assert stayed.any()
    assert torch.equal(following[stayed], state[stayed])
    assert torch.equal(following[~stayed, 0], state[~stayed, 0] + 1)


def fit(folder, found, *extra):
    line = ["--checkpoint", found.checkpoint, "--data", found.data, "--iterations", 2, *extra]
    return CliRunner().invoke(VALUE, [str(word) for word in line], env={"COLUMNS": "400"})


def test_the_command_holds_out_what_training_held_out(tmp_path):
    found = trained(tmp_path, held_out=("run_00000.npz",))
    done = fit(tmp_path, found)
    assert done.exit_code == 0, done.output
    assert read_state(tmp_path / "value.pt")["recipe"]["held_out"] == ("run_00000.npz",)
    refused = fit(tmp_path, found, "--hold-out", 2)
    assert refused.exit_code == 1
    assert "--hold-out 2: checkpoint" in refused.output


def test_the_command_fits_on_short_runs(tmp_path):
    found = trained(tmp_path)
    write_runs(found.data, count=3, length=5)
    done = fit(tmp_path, found, "--hold-out", 1)
    assert done.exit_code == 0, done.output


def test_the_command_refuses_runs_of_single_frames(tmp_path):
    found = trained(tmp_path)
    write_runs(found.data, count=3, length=1)
    done = fit(tmp_path, found, "--hold-out", 1)
    assert done.exit_code == 1
    assert "training runs: 2 frames in a row are needed" in done.output


def test_the_command_says_that_there_are_too_few_runs(tmp_path):
    done = fit(tmp_path, trained(tmp_path))
    assert done.exit_code == 1
    assert "3 run files and --hold-out 20 leaves none" in done.output
