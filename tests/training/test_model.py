from __future__ import annotations

import pytest
import torch

from jepa_ros_training.model import ModelConfig, WorldModel

TINY = ModelConfig(image=16, latent=6, channels=(4, 8), hidden=16, width=16, blocks=1)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = WorldModel(TINY)
    # Past the first state, in which the predictor says that nothing changes.
    torch.nn.init.normal_(model.predictor.leave.weight, std=0.1)
    for block in model.predictor.blocks:
        torch.nn.init.normal_(block.modulation.weight, std=0.1)
    return model.eval()


def test_an_untrained_predictor_says_that_nothing_changes():
    latents = torch.randn(3, 3, 6)
    following = WorldModel(TINY).predictor(latents, torch.rand(3, 3, 3))
    torch.testing.assert_close(following, latents[:, -1])


def test_the_encoder_takes_pixels_as_they_come(model):
    image = torch.randint(0, 256, (5, 16, 16, 3), dtype=torch.uint8)
    assert model.encoder(image).shape == (5, 6)


def test_actions_are_scaled_inside_the_predictor(model):
    low, high = torch.tensor(TINY.action_low), torch.tensor(TINY.action_high)
    seen = []
    hook = model.predictor.action.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model.predictor(torch.zeros(2, 3, 6), torch.stack([low, high])[:, None].expand(2, 3, 3))
    hook.remove()
    torch.testing.assert_close(seen[0], torch.tensor([[-1.0] * 9, [1.0] * 9]))


def test_spreading_gives_latents_mean_zero_and_deviation_one():
    torch.manual_seed(0)
    model = WorldModel(TINY)
    images = torch.randint(0, 256, (256, 16, 16, 3), dtype=torch.uint8)
    model.spread_latents(images)
    latents = model.encoder(images)
    torch.testing.assert_close(latents.mean(0), torch.zeros(6), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.std(0), torch.ones(6), atol=1e-3, rtol=0)


def test_a_rollout_feeds_predictions_back(model):
    latents, actions = torch.randn(2, 3, 6), torch.rand(2, 2 + 4, 3)
    rolled = model.rollout(latents, actions)
    assert rolled.shape == (2, 4, 6)
    first = model.predictor(latents, actions[:, :3])
    second = model.predictor(torch.cat([latents[:, 1:], first[:, None]], 1), actions[:, 1:4])
    torch.testing.assert_close(rolled[:, 0], first)
    torch.testing.assert_close(rolled[:, 1], second)


def test_gradients_reach_the_encoder_through_targets_and_contexts(model):
    images = torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8)
    latents = model.encoder(images)[None]
    latents.retain_grad()
    error = ((model.rollout(latents[:, :3], torch.rand(1, 3, 3)) - latents[:, 3:]) ** 2).mean()
    error.backward()
    assert (latents.grad.abs().sum((0, 2)) > 0).all()
