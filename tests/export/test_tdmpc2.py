"""TD-MPC2: the modules and the energy against the paper's formulas."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.manifest import ActionSpec, CostTerm
from jepa_ros.planning.cost import GoalObjective
from jepa_ros.types import Float32
from jepa_ros_export import tdmpc2 as family
from jepa_ros_export.family import Parts

from .tdmpc2_formulas import (
    ACTIONS,
    CONFIG,
    LATENT,
    Array,
    Weights,
    actions,
    as_weights,
    checkpoint,
    dynamics,
    f32,
    from_unit,
    latents,
    policy,
    simplices,
    to_unit,
    values,
)

pytestmark = pytest.mark.families


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return checkpoint()


@pytest.fixture(scope="module")
def parts(state: dict[str, Tensor]) -> Parts:
    return family.build(state, CONFIG)


@pytest.fixture(scope="module")
def weights(state: dict[str, Tensor]) -> Weights:
    return as_weights(state)


def test_a_stack_of_frames_becomes_one_latent_with_the_oldest_frames_channels_first(
    parts: Parts, state: dict[str, Tensor]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 64, 64, 3), dtype=np.uint8)
    x = torch.zeros(4, 9, 64, 64)
    for frame in range(3):
        for colour in range(3):
            x[:, 3 * frame + colour] = torch.from_numpy(images[:, frame, :, :, colour].astype(np.float32)) / 255 - 0.5
    for layer, stride in ((2, 2), (4, 2), (6, 2), (8, 1)):
        name = f"model._encoder.rgb.{layer}"
        x = conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride=stride)
        x = x.relu() if layer != 8 else x
    expected = simplices(x.flatten(1).double().numpy())
    found = parts.encoder(torch.from_numpy(images))
    assert found.shape == (4, LATENT)
    assert expected.std() > 0.01
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)


def test_the_encoder_sees_the_order_of_frames_and_never_moves_them(parts: Parts) -> None:
    images = torch.randint(0, 256, (1, 3, 64, 64, 3), dtype=torch.uint8)
    once = parts.encoder(images)
    assert torch.equal(once, parts.encoder(images))
    assert (once - parts.encoder(images.flip(1))).abs().max() > 1e-3


def test_a_single_frame_has_no_axis_of_frames() -> None:
    config = CONFIG.model_copy(update={"frame_stack": 1})
    built = family.build(family.random_checkpoint(config), config)
    assert built.manifest.camera.frame_stack == 1
    assert built.encoder(torch.zeros(2, 64, 64, 3, dtype=torch.uint8)).shape == (2, LATENT)


def test_the_predictor_gives_the_next_latent_and_the_reward_of_the_step(parts: Parts, weights: Weights) -> None:
    z, a = latents(5), actions(5)
    following, reward = dynamics(z, to_unit(a), weights)
    found, earned = parts.predictor(f32(z)[:, None], f32(a)[:, None])
    np.testing.assert_allclose(found.numpy(), following, atol=2e-6)
    assert reward.std() > 0.05
    np.testing.assert_allclose(earned.numpy(), reward[:, None], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.unflatten(-1, (-1, CONFIG.simnorm_dim)).sum(-1).numpy(), 1.0, atol=1e-6)


def test_given_what_training_saw_actions_are_scaled_by_that_and_not_by_the_bounds(state: dict[str, Tensor]) -> None:
    narrow = ActionSpec(names=["vx", "wz"], units=["m/s", "rad/s"], low=[0.0, -0.2], high=[0.3, 0.2])
    wide = {"action_mean": [0.25, 0.0], "action_std": [0.75, 1.0]}
    z, a = f32(latents(3))[:, None], f32(actions(3))[:, None]
    trained = family.build(state, CONFIG)
    bounded = family.build(state, CONFIG.model_copy(update={"action": narrow, **wide}))
    assert torch.allclose(trained.predictor(z, a)[0], bounded.predictor(z, a)[0], atol=1e-7)
    assert bounded.manifest.action.high == [0.3, 0.2]
    other = family.build(state, CONFIG.model_copy(update={"action": narrow}))
    assert (trained.predictor(z, a)[0] - other.predictor(z, a)[0]).abs().max() > 1e-3


def test_the_policy_is_a_squashed_gaussian_in_the_actions_units(parts: Parts, weights: Weights) -> None:
    z, noise = latents(64), np.random.default_rng(2).normal(size=(64, ACTIONS))
    found = parts.heads["policy"](f32(z), f32(noise))
    np.testing.assert_allclose(found.numpy(), from_unit(policy(z, noise, weights)), rtol=1e-4, atol=1e-5)
    mean = parts.heads["policy"](f32(z), torch.zeros(64, ACTIONS))
    np.testing.assert_allclose(mean.numpy(), from_unit(policy(z, 0 * noise, weights)), rtol=1e-4, atol=1e-5)
    assert (found - mean).abs().mean() > 0.01
    low, high = torch.tensor(CONFIG.action.low), torch.tensor(CONFIG.action.high)
    assert (found >= low - 1e-6).all()
    assert (found <= high + 1e-6).all()


@pytest.mark.parametrize(("raw", "deviation"), [(-50.0, math.exp(-10)), (0.0, math.exp(-4)), (50.0, math.exp(2))])
def test_the_policys_deviation_is_squashed_between_its_bounds(
    state: dict[str, Tensor], raw: float, deviation: float
) -> None:
    last = torch.zeros_like(state["model._pi.2.weight"])
    bias = torch.cat([torch.zeros(ACTIONS), torch.full((ACTIONS,), raw)])
    built = family.build({**state, "model._pi.2.weight": last, "model._pi.2.bias": bias}, CONFIG)
    noise = torch.full((1, ACTIONS), 0.1)
    found = to_unit(built.heads["policy"](f32(latents(1)), noise).double().numpy())
    np.testing.assert_allclose(found, math.tanh(0.1 * deviation), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(("made", "of"), [("average", np.mean), ("minimum", np.min)])
def test_the_value_is_made_of_every_member_of_the_ensemble(
    state: dict[str, Tensor], weights: Weights, made: str, of: Callable[..., Array]
) -> None:
    z = latents(6)
    built = family.build(state, CONFIG.model_copy(update={"value": made}))
    members = values(z, weights)
    assert members.std(0).min() > 0.01
    found = built.heads["value"](f32(z))
    assert found.shape == (6,)
    np.testing.assert_allclose(found.numpy(), of(members, axis=0), rtol=1e-4, atol=1e-5)


class _Heads:
    """The value head as planning asks for it."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def head(self, name: str, latents: Float32, goal: Float32) -> Float32:
        with torch.inference_mode():
            value: Tensor = self.parts.heads[name](torch.from_numpy(latents[:, :LATENT]))
        return value.numpy()


def test_the_energy_of_a_plan_is_less_its_discounted_return(parts: Parts, weights: Weights) -> None:
    plans, horizon = 7, 3
    z, steps = latents(plans), [actions(plans, seed) for seed in range(horizon)]
    gain, current = np.zeros(plans), z
    for h, step in enumerate(steps):
        current, reward = dynamics(current, to_unit(step), weights)
        gain += 0.99**h * reward
    gain += 0.99**horizon * values(current, weights).mean(0)

    rolled, latent = [], f32(z)
    for step in steps:
        latent, reward = parts.predictor(latent[:, None], f32(step)[:, None])
        rolled.append(torch.cat([latent, reward], -1))
    layout = StateLayout(parts.manifest.state)
    objective = GoalObjective(_Heads(parts), np.zeros(layout.size, np.float32), parts.manifest.cost, layout)
    energy = objective(torch.stack(rolled, 1).numpy(), np.stack(steps, 1).astype(np.float32))
    np.testing.assert_allclose(energy, -gain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("length", "discount"), [(25, 0.95), (100, 0.95), (250, 0.98), (500, 0.99), (10_000, 0.995)])
def test_the_discount_follows_from_the_length_of_an_episode(length: int, discount: float) -> None:
    assert family.Config(episode_length=length).discount == pytest.approx(discount)


def test_the_planner_is_the_originals(parts: Parts) -> None:
    planner = parts.manifest.planner
    assert (planner.name, planner.samples, planner.iterations, planner.elites) == ("mppi", 512, 6, 64)
    assert (planner.horizon, planner.std, planner.min_std, planner.policy_samples) == (3, 2.0, 0.05, 24)
    assert planner.temperature == pytest.approx(1 / 0.5)


def test_energies_toward_a_goal_can_be_asked_for_instead(state: dict[str, Tensor]) -> None:
    term = CostTerm(source="latent", metric="l2", steps="last")
    assert family.build(state, CONFIG.model_copy(update={"cost": [term]})).manifest.cost == [term]
