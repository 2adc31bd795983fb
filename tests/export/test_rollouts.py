"""The comparison of whole horizons: what is near enough, and that it would notice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.errors import BundleError
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_export.family import Parts
from jepa_ros_export.rollouts import RolloutError, rollout_error, torch_rollout
from jepa_ros_export.writer import write_bundle

from .plain_parts import Predictor, plain_parts


class Push(nn.Module):
    """The tiny bundle's predictor: the last latent plus a projection of the last action."""

    def __init__(self, strength: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("push", strength * torch.eye(3, 8))

    def forward(self, latent, action):
        return latent[:, -1] + action[:, -1] @ self.push


def parts(bundle, strength=1.0):
    return Parts(nn.Identity(), Push(strength), load_bundle(bundle).manifest)


def test_a_rollout_is_the_sum_of_its_pushes(tiny_bundle):
    history = np.zeros((1, 8), np.float32)
    actions = np.full((2, 4, 3), 0.5, np.float32)
    found = torch_rollout(parts(tiny_bundle), history, np.zeros((0, 3), np.float32), actions)
    assert found.shape == (2, 4, 8)
    np.testing.assert_allclose(found[:, :, 0], [[0.5, 1.0, 1.5, 2.0]] * 2)
    np.testing.assert_allclose(found[:, :, 3:], 0)


@pytest.mark.parametrize(("strength", "holds"), [(1.0, True), (1.001, False)])
def test_another_predictor_is_noticed(tiny_bundle, strength, holds):
    model = OnnxWorldModel(load_bundle(tiny_bundle))
    latents = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    error = rollout_error(parts(tiny_bundle, strength), model, latents, np.random.default_rng(1))
    assert error.within(1e-4) is holds


@pytest.mark.parametrize(
    ("found", "rounding", "holds"),
    [
        (9e-5, 0.0, True),
        (2e-4, 0.0, False),
        (2e-4, 3e-5, True),
        (4e-4, 3e-5, False),
        (2e-2, 1.0, False),
        (float("inf"), 1.0, False),
    ],
)
def test_rounding_over_a_long_horizon_is_allowed_for(found, rounding, holds):
    assert RolloutError(found, rounding).within(1e-4) is holds


def test_a_rollout_that_overflows_is_refused(tmp_path):
    class Growing(Predictor):
        def forward(self, latent, action):
            return 1e15 * super().forward(latent, action)

    plain = plain_parts()
    growing = Parts(plain.encoder, Growing().eval().requires_grad_(False), plain.manifest)
    with pytest.raises(BundleError, match="rollout differs from PyTorch by inf"):
        write_bundle(growing, tmp_path / "bundle", with_derivative=False)
