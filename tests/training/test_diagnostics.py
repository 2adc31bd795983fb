from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.errors import JepaRosError
from jepa_ros_training.dataset import read_runs
from jepa_ros_training.diagnostics import diagnose, effective_rank, linear_r2, rank_correlation
from jepa_ros_training.model import ModelConfig, WorldModel

from .synthetic_runs import write_runs

TINY = ModelConfig(image=16, latent=6, channels=(4, 8), hidden=16, width=16, blocks=1)


def test_effective_rank_counts_the_directions_in_use():
    rng = np.random.default_rng(0)
    latents = np.zeros((5000, 16), np.float32)
    latents[:, :4] = rng.standard_normal((5000, 4))
    assert effective_rank(latents) == pytest.approx(4, abs=0.05)


def test_linear_probe_finds_what_is_linear_and_only_that():
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((2000, 8)).astype(np.float32)
    targets = np.stack([latents @ np.arange(8.0), rng.standard_normal(2000)], 1)
    linear, noise = linear_r2(latents, targets)
    assert linear > 0.999
    assert noise < 0.05


def test_rank_correlation_ignores_monotone_changes():
    values = np.random.default_rng(0).standard_normal(500)
    assert rank_correlation(values, np.exp(values)) == pytest.approx(1)
    assert rank_correlation(values, -values) == pytest.approx(-1)


@pytest.mark.parametrize(("length", "horizon"), [(60, 8), (11, 8), (7, 4), (4, 1)])
def test_short_runs_are_looked_at_as_far_as_they_go(tmp_path, length, horizon):
    found = diagnose(WorldModel(TINY), read_runs(write_runs(tmp_path, length=length)))
    assert {name: len(errors) for name, errors in found["open_loop"].items()} == {
        "model": horizon,
        "copy_last": horizon,
    }
    assert -1 <= found["spearman"] <= 1


def test_runs_too_short_for_a_prediction_are_refused(tmp_path):
    with pytest.raises(JepaRosError, match=r"4 frames in a row are needed and the longest run, run_00000\.npz, has 3"):
        diagnose(WorldModel(TINY), read_runs(write_runs(tmp_path, length=3)))
