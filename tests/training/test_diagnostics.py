from __future__ import annotations

import numpy as np
import pytest

from jepa_ros_training.diagnostics import effective_rank, linear_r2, rank_correlation


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
