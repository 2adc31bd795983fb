"""PLDM's map: against formulas written out here and autograd; the published maps; its bundle."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import yaml
from torch.nn import functional

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.planning.factory import make_planner
from jepa_ros.planning.mpc import LatentMPC
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_export import pldm
from jepa_ros_export.writer import write_bundle

from .tiny_pldm import ROOT, frames, made, tiny_map

pytestmark = pytest.mark.families

PAGE = Path(__file__).resolve().parents[2] / "docs" / "families" / "pldm.md"


def test_the_mazes_settings_of_the_page_give_the_published_maps():
    config = pldm.Config(**yaml.safe_load(re.search(r"```yaml\n(latent: map.*?)```", PAGE.read_text(), re.DOTALL)[1]))
    parts, state = made(config)
    assert [(tensor.name, tensor.shape, tensor.role) for tensor in parts.manifest.state] == [
        ("latent", (16, 26, 26), "latent"),
        ("proprio", (2, 26, 26), "proprio"),
    ]
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items() if tensor.ndim == 4}
    assert shapes == {
        "backbone.layers.1.0.weight": (16, 3, 5, 5),
        "backbone.layers.1.3.weight": (32, 16, 5, 5),
        "backbone.layers.1.6.weight": (32, 32, 3, 3),
        "backbone.layers.1.9.weight": (32, 32, 3, 3),
        "backbone.layers.1.12.weight": (16, 32, 1, 1),
        "predictor.layers.0.weight": (32, 20, 3, 3),
        "predictor.layers.3.weight": (32, 32, 3, 3),
        "predictor.layers.6.weight": (18, 32, 3, 3),
    }
    assert [term.source for term in parts.manifest.cost] == ["latent"]
    assert parts.encoder(frames(config, 1), torch.zeros(1, 2))[0].shape == (1, 16, 26, 26)


def group_norm(x, groups, weight, bias):
    parts = x.unflatten(1, (groups, -1))
    middle = parts.mean((2, 3, 4), keepdim=True)
    spread = parts.var((2, 3, 4), unbiased=False, keepdim=True)
    return ((parts - middle) / (spread + 1e-5).sqrt()).flatten(1, 2) * weight.view(-1, 1, 1) + bias.view(-1, 1, 1)


def test_the_map_is_that_of_its_formula_and_velocities_fill_planes():
    config = tiny_map()
    parts, state = made(config)
    image, measured = frames(config), torch.randn(3, 2)
    layer = {name.removeprefix("backbone.layers.1."): tensor for name, tensor in state.items() if "backbone" in name}
    x = image.permute(0, 3, 1, 2).float()
    x = (x - torch.tensor(config.pixel_mean).view(3, 1, 1)) / torch.tensor(config.pixel_std).view(3, 1, 1)
    x = functional.conv2d(x, layer["0.weight"], layer["0.bias"])
    x = functional.relu(group_norm(x, 2, layer["1.weight"], layer["1.bias"]))
    x = functional.conv2d(x, layer["3.weight"], layer["3.bias"], stride=2, padding=1)
    x = functional.relu(group_norm(x, 3, layer["4.weight"], layer["4.bias"]))
    x = functional.conv2d(x, layer["6.weight"], layer["6.bias"])
    latent, proprio = parts.encoder(image, measured)
    torch.testing.assert_close(latent, x, rtol=1e-4, atol=1e-4)
    assert tuple(proprio.shape[1:]) == parts.manifest.state[1].shape == (2, 7, 7)
    for component, (mean, std) in enumerate(((0.1, 1.4), (0.0, 1.3))):
        expected = ((measured[:, component] - mean) / std)[:, None, None].expand(3, 7, 7)
        torch.testing.assert_close(proprio[:, component], expected, rtol=1e-5, atol=1e-6)


def test_the_maps_predictor_sees_map_velocities_and_action_and_gives_the_change():
    config = tiny_map()
    parts, state = made(config)
    latent, proprio, action = torch.randn(3, 1, 6, 7, 7), torch.randn(3, 1, 2, 7, 7), torch.randn(3, 1, 2)
    layer = {name.removeprefix("predictor.layers."): tensor for name, tensor in state.items() if "predictor" in name}
    scaled = (action[:, 0] - torch.tensor([0.0, 0.1])) / torch.tensor([0.4, 0.5])
    before = torch.cat([latent[:, 0], proprio[:, 0]], 1)
    x = torch.cat([before, scaled[:, :, None, None].repeat(1, 1, 7, 7)], 1)
    for index in (0, 3):
        x = functional.conv2d(x, layer[f"{index}.weight"], layer[f"{index}.bias"], padding=1)
        x = functional.relu(group_norm(x, 4, layer[f"{index + 1}.weight"], layer[f"{index + 1}.bias"]))
    change = functional.conv2d(x, layer["6.weight"], layer["6.bias"], padding=1)
    after = torch.cat(parts.predictor(latent, proprio, action), 1)
    torch.testing.assert_close(after, before + change, rtol=1e-4, atol=1e-4)
    whole = pldm.build({ROOT + name: tensor for name, tensor in state.items()}, tiny_map(residual=False))
    torch.testing.assert_close(torch.cat(whole.predictor(latent, proprio, action), 1), change, rtol=1e-4, atol=1e-4)


def test_the_maps_bundle_plans_toward_a_frame_whatever_velocity_the_goal_is_encoded_with(tmp_path):
    config = tiny_map(planner={"name": "mppi", "horizon": 3, "knot": 1, "temperature": 0.0025})
    parts, _ = made(config)
    report = write_bundle(parts, tmp_path / "bundle")
    assert set(report.errors) == {"encoder", "predictor", "predictor_vjp", "rollout"}
    assert max(report.errors.values()) < 1e-5
    bundle = load_bundle(tmp_path / "bundle")
    model = OnnxWorldModel(bundle)
    rng = np.random.default_rng(0)
    view, goal = rng.integers(0, 256, (2, 20, 20, 3), dtype=np.uint8)
    plans = []
    for velocity in ([0.0, 0.0], [3.0, -2.0]):
        planner = make_planner(bundle.manifest, model, {"samples": 16, "iterations": 2, "elites": 8}, seed=5)
        mpc = LatentMPC(model, planner, bundle.manifest, delay_steps=0)
        mpc.set_goal(model.encode_goal(goal, np.array(velocity, np.float32)))
        plans.append(mpc.step(view, measured=np.array([0.5, 0.1], np.float32)).plan)
    assert plans[0].energy == plans[1].energy
    np.testing.assert_array_equal(plans[0].actions, plans[1].actions)
    # The energy is the sum over steps of the mean squared distance of the map alone, re-done here in PyTorch.
    with torch.no_grad():
        state = parts.encoder(torch.from_numpy(view[None]), torch.tensor([[0.5, 0.1]]))
        target, _ = parts.encoder(torch.from_numpy(goal[None]), torch.zeros(1, 2))
        energy = 0.0
        for action in torch.from_numpy(plans[0].actions):
            state = parts.predictor(*(tensor[:, None] for tensor in state), action[None, None])
            energy += float((state[0] - target).square().mean())
    assert plans[0].energy == pytest.approx(energy, rel=1e-4)
