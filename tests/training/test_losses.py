from __future__ import annotations

import pytest
import torch

from jepa_ros_training.losses import prediction_error, sigreg, vicreg


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_sigreg_is_small_on_a_gaussian_and_large_on_a_point():
    gaussian, point = sigreg(torch.randn(4096, 8)), sigreg(torch.zeros(4096, 8))
    assert gaussian < 2e-3
    # All mass at 0: the characteristic function is 1, and the integral of (1 − g)² g over t is about 0.2.
    assert 0.15 < point < 0.25


def test_sigreg_draws_from_the_generator_that_a_checkpoint_keeps_whatever_the_device():
    """The meta device stands in for a GPU: what is drawn there leaves the CPU's generator as it was."""
    before = torch.get_rng_state()
    sigreg(torch.zeros(16, 8, device="meta"))
    assert not torch.equal(torch.get_rng_state(), before)


def test_sigreg_does_not_grow_with_the_batch():
    small, large = sigreg(0.5 * torch.randn(2000, 4)), sigreg(0.5 * torch.randn(20000, 4))
    assert small == pytest.approx(float(large), rel=0.2)


@pytest.mark.parametrize(("scale", "sign"), [(0.5, -1.0), (2.0, 1.0)])
def test_sigreg_pushes_the_spread_towards_one(scale, sign):
    latents = (scale * torch.randn(4096, 8)).requires_grad_()
    sigreg(latents).backward()
    growth = (latents.grad * latents.detach()).sum()
    assert torch.sign(growth) == sign


def test_sigreg_pushes_apart_what_has_collapsed_along_a_direction():
    flat = torch.randn(4096, 8)
    flat[:, 0] = 0.05 * torch.randn(4096)
    flat.requires_grad_()
    sigreg(flat).backward()
    assert (flat.grad[:, 0] * flat.detach()[:, 0]).sum() < 0


def test_vicreg_is_zero_for_spread_and_independent_latents():
    assert vicreg(1.5 * torch.randn(20000, 6)) < 0.01
    assert vicreg(torch.zeros(100, 6)) == pytest.approx(1 - 0.01, abs=1e-3)


def test_vicreg_pushes_correlated_dimensions_apart():
    shared = torch.randn(1000, 1)
    together, apart = shared.expand(1000, 4) + 0.01 * torch.randn(1000, 4), torch.randn(1000, 4)
    assert vicreg(together) > vicreg(apart) + 0.05


def test_prediction_error_is_the_mean_square():
    assert prediction_error(torch.zeros(2, 3, 4), torch.full((2, 3, 4), 2.0)) == 4.0
