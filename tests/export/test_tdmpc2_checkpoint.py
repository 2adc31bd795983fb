"""TD-MPC2: what its checkpoints are called, in every layout, and which are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from jepa_ros.bundle.manifest import ActionSpec, ProprioSpec
from jepa_ros.errors import BundleError
from jepa_ros_export import tdmpc2 as family
from jepa_ros_export.checkpoint import read_checkpoint
from jepa_ros_export.family import Parts

from .tdmpc2_formulas import ACTIONS, CONFIG, actions, checkpoint, f32, latents

pytestmark = pytest.mark.families

PARTS_OF_A_LAYER = ("weight", "bias", "ln.weight", "ln.bias")


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return checkpoint()


@pytest.fixture(scope="module")
def parts(state: dict[str, Tensor]) -> Parts:
    return family.build(state, CONFIG)


def test_the_published_architecture_has_the_originals_names_and_shapes() -> None:
    found = {name: list(tensor.shape) for name, tensor in family.networks(family.Config()).state_dict().items()}
    expected = {
        "_encoder.rgb.2.weight": [32, 9, 7, 7],
        "_encoder.rgb.4.weight": [32, 32, 5, 5],
        "_encoder.rgb.6.weight": [32, 32, 3, 3],
        "_encoder.rgb.8.weight": [32, 32, 3, 3],
        "_dynamics.0.weight": [512, 518],
        "_dynamics.0.ln.weight": [512],
        "_dynamics.2.weight": [512, 512],
        "_dynamics.2.ln.bias": [512],
        "_reward.2.weight": [101, 512],
        "_pi.0.weight": [512, 512],
        "_pi.2.bias": [12],
        "_Qs.params.0.weight": [5, 512, 518],
        "_Qs.params.1.ln.weight": [5, 512],
        "_Qs.params.2.bias": [5, 101],
        "log_std_min": [],
        "log_std_dif": [],
    }
    assert {name: found[name] for name in expected} == expected
    assert len(found) == 8 + 12 + 10 + 10 + 10 + 2
    assert "_reward.2.ln.weight" not in found


def _older(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As checkpoints were before November 2024: Q functions by number, their targets beside them, no buffers."""
    older = {name: tensor for name, tensor in state.items() if "_Qs" not in name and "log_std" not in name}
    for index in range(10):
        tensor = state[f"model._Qs.params.{index // 4}.{PARTS_OF_A_LAYER[index % 4]}"]
        older[f"model._Qs.params.{index}"] = tensor
        older[f"model._target_Qs.params.{index}"] = torch.zeros_like(tensor)
    return older


def _newer(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """With everything that training keeps beside, skeletons without data among it, and bounds as integers."""
    newer = dict(state)
    for name, tensor in state.items():
        if "_Qs.params." in name:
            rest = name.removeprefix("model._Qs.params.")
            newer[f"model._detach_Qs_params.{rest}"] = newer[f"model._detach_Qs.params.{rest}"] = tensor
            newer[f"model._target_Qs_params.{rest}"] = torch.zeros_like(tensor)
            newer[f"model._Qs.module.{rest}"] = torch.empty(tensor.shape[1:], device="meta")
            newer[f"model._target_Qs.module.{rest}"] = torch.empty(tensor.shape, device="meta")
    newer["model.log_std_min"], newer["model.log_std_dif"] = torch.tensor(-10), torch.tensor(12)
    return newer


@pytest.mark.parametrize("layout", [_older, _newer])
def test_both_layouts_give_the_same_model_and_targets_are_not_read(
    parts: Parts, state: dict[str, Tensor], layout: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> None:
    built = family.build(layout(state), CONFIG)
    z, noise = f32(latents(4)), torch.randn(4, ACTIONS)
    assert torch.equal(built.heads["value"](z), parts.heads["value"](z))
    assert torch.equal(built.heads["policy"](z, noise), parts.heads["policy"](z, noise))
    assert parts.heads["value"](z).std() > 0.01


def test_a_file_as_the_original_saves_it_is_read_without_unpickling(
    tmp_path: Path, parts: Parts, state: dict[str, Tensor]
) -> None:
    inner: dict[str, object] = {name.removeprefix("model."): tensor for name, tensor in _newer(state).items()}
    inner |= {"_Qs.params.__batch_size": torch.Size([3]), "_Qs.params.__device": torch.device("cuda:0")}
    path = tmp_path / "walker.pt"
    torch.save({"model": inner}, path)
    built = family.build(read_checkpoint(path), CONFIG)
    z = f32(latents(4))
    assert torch.equal(built.heads["value"](z), parts.heads["value"](z))


def test_the_contents_of_model_alone_are_enough(parts: Parts, state: dict[str, Tensor]) -> None:
    built = family.build({name.removeprefix("model."): tensor for name, tensor in state.items()}, CONFIG)
    z = f32(latents(2))
    assert torch.equal(built.heads["value"](z), parts.heads["value"](z))


def test_a_newer_checkpoints_own_bounds_of_the_deviation_count(state: dict[str, Tensor]) -> None:
    narrow = {**state, "model.log_std_min": torch.tensor(-3.0), "model.log_std_dif": torch.tensor(1.0)}
    policies = [family.build(given, CONFIG).heads["policy"] for given in (state, narrow)]
    z, noise = f32(latents(4)), torch.ones(4, ACTIONS)
    assert (policies[0](z, noise) - policies[1](z, noise)).abs().max() > 0.01


def test_every_tensor_of_a_checkpoint_enters(parts: Parts, state: dict[str, Tensor]) -> None:
    z, a, noise = f32(latents(2)), f32(actions(2)), torch.ones(2, ACTIONS)
    images = torch.randint(0, 256, (2, 3, 64, 64, 3), dtype=torch.uint8)

    def outputs(built: Parts) -> Tensor:
        found = [built.encoder(images), *built.predictor(z[:, None], a[:, None])]
        found += [built.heads["value"](z)[:, None], built.heads["policy"](z, noise)]
        return torch.cat(found, -1)

    before = outputs(parts)
    for name, tensor in state.items():
        changed = tensor + torch.linspace(0.2, 0.9, max(tensor.numel(), 1))[: tensor.numel()].view(tensor.shape)
        assert not torch.equal(outputs(family.build({**state, name: changed}, CONFIG)), before), name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("model._task_emb.weight", "many tasks"),
        ("model._encoder.state.0.weight", "state observations"),
        ("model._termination.0.weight", "episode ends"),
    ],
)
def test_what_a_bundle_cannot_hold_is_refused_by_name(state: dict[str, Tensor], name: str, why: str) -> None:
    with pytest.raises(BundleError, match=rf"{name.removeprefix('model.')} \[4, 2\].*{why}") as refused:
        family.build({**state, name: torch.zeros(4, 2)}, CONFIG)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model._reward.1.ln.weight": None}, r"lacks _reward\.1\.ln\.weight \[16\]"),
        ({"model._Qs.params.2.bias": None}, r"lacks _Qs\.params\.2\.bias \[3, 101\]"),
        ({"model._pi.3.weight": (2, 2)}, r"has _pi\.3\.weight \[2, 2\], which this model has no place for"),
        ({"model._Qs.params.0.weight": (5, 16, 34)}, r"_Qs\.params\.0\.weight is \[5, 16, 34\].* \[3, 16, 34\]"),
        ({"model._encoder.rgb.2.weight": (2, 3, 7, 7)}, r"rgb\.2\.weight is \[2, 3, 7, 7\].* \[2, 9, 7, 7\]"),
    ],
)
def test_keys_that_do_not_fit_are_named_with_their_shapes(
    state: dict[str, Tensor], change: dict[str, tuple[int, ...] | None], sentence: str
) -> None:
    given = {name: tensor for name, tensor in state.items() if name not in change}
    given |= {name: torch.zeros(shape) for name, shape in change.items() if shape is not None}
    with pytest.raises(BundleError, match=sentence):
        family.build(given, CONFIG)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"proprio": ProprioSpec(names=["x"], units=["m"])}, "proprio"),
        ({"action": ActionSpec(names=["v"], units=["m/s"], low=[0.0], high=[1.0], block=2)}, "block"),
        ({"action": ActionSpec(names=["v"], units=["m/s"], low=[0.0], high=[0.0], fixed={"v": 0.0})}, "action_mean"),
        ({"action_mean": [0.0] * 6}, "together"),
        ({"action_mean": [0.0], "action_std": [1.0] * 6}, "action_mean has .* entries, action.names 6"),
        ({"simnorm_dim": 7}, "512"),
    ],
)
def test_settings_that_this_family_has_no_use_for_are_refused(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        family.Config(**change)
