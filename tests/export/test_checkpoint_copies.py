"""Checkpoints that hold one model several times: which one is read, and never by chance."""

from __future__ import annotations

import pytest
import torch
import yaml

from jepa_ros.errors import BundleError
from jepa_ros_export.checkpoint import copies, pick
from jepa_ros_export.families import FAMILIES, family_module
from jepa_ros_export.family_command import parts_of

pytestmark = pytest.mark.families
PUBLISHED = [name for name in FAMILIES if name != "generic"]


def checkpoint(family):
    module = family_module(family)
    torch.manual_seed(1)
    return module.random_checkpoint(module.tiny())


def prefixed(state, prefix, scale=1.0):
    return {prefix + name: tensor * scale for name, tensor in state.items()}


def written(folder, state, family="lewm"):
    """A file of these tensors and settings that go with it."""
    torch.save(state, folder / "c.pt")
    config = folder / "c.yaml"
    config.write_text(yaml.safe_dump(family_module(family).tiny().model_dump(mode="json")))
    return str(folder / "c.pt"), config


@pytest.mark.parametrize("family", PUBLISHED)
def test_a_published_checkpoint_holds_one(family):
    """With a target encoder, an ensemble's targets and whatever else training keeps twice."""
    assert copies(checkpoint(family), family_module(family).MARKS) == []


@pytest.mark.parametrize("family", PUBLISHED)
@pytest.mark.parametrize("prefixes", [("model.", "ema."), ("", "ema."), ("state.model.", "state.ema.", "best.")])
def test_several_are_told_apart_by_their_prefixes(family, prefixes):
    state = {}
    for prefix in prefixes:
        state |= prefixed(checkpoint(family), prefix)
    assert copies(state, family_module(family).MARKS) == list(prefixes)


@pytest.mark.parametrize("other", ["encoder", "teacher"])
def test_a_second_encoder_is_no_second_model(other):
    state = checkpoint("ijepa")
    second = prefixed(pick(state, "encoder.target_encoder"), f"encoder.{other}.")
    assert copies({**state, **second}, family_module("ijepa").MARKS) == []


@pytest.mark.parametrize(
    ("prefixes", "called", "options"),
    [
        (("model.", "ema."), r"under model\. and under ema\.", r"--prefix model\. or --prefix ema\."),
        (("", "ema."), r"under no prefix and under ema\.", r"--prefix \. or --prefix ema\."),
    ],
)
def test_both_prefixes_and_the_option_are_named(tmp_path, prefixes, called, options):
    state = {}
    for prefix in prefixes:
        state |= prefixed(checkpoint("lewm"), prefix)
    given, config = written(tmp_path, state)
    says = rf"c\.pt: holds 2 whole models of family lewm, {called}; say which with {options}$"
    with pytest.raises(BundleError, match=says):
        parts_of("lewm", [given], config, None, "x")


@pytest.mark.parametrize(
    ("begins", "prefix", "scale"),
    [("model.", "model.", 1.0), ("model.", "model", 1.0), ("model.", "ema.", 2.0), ("", ".", 1.0), ("", "ema", 2.0)],
)
def test_the_one_that_is_named_is_read(tmp_path, begins, prefix, scale):
    state = checkpoint("lewm")
    given, config = written(tmp_path, {**prefixed(state, begins), **prefixed(state, "ema.", 2.0)})
    parts = parts_of("lewm", [given], config, None, "x", prefix)
    name = "predictor.pos_embedding"
    found = dict(parts.predictor.named_parameters())[name]
    torch.testing.assert_close(found, state[name] * scale)


def test_of_several_files_the_prefix_is_that_of_those_that_have_it(tmp_path):
    """DINO-WM's own weights with an average, and DINOv2's file."""
    state = checkpoint("dino_wm")
    own = {name: tensor for name, tensor in state.items() if not name.startswith("encoder.")}
    torch.save({**prefixed(own, "model."), **prefixed(own, "ema.", 2.0)}, tmp_path / "wm.pt")
    torch.save(pick(state, "encoder"), tmp_path / "vit.pt")
    _, config = written(tmp_path, {}, "dino_wm")
    files = [str(tmp_path / "wm.pt"), f"encoder={tmp_path / 'vit.pt'}"]
    with pytest.raises(BundleError, match=r"wm\.pt: holds 2 whole models"):
        parts_of("dino_wm", files, config, None, "x")
    weight = parts_of("dino_wm", files, config, None, "x", "ema").predictor.action_encoder.patch_embed.weight
    torch.testing.assert_close(weight, 2 * state["action_encoder.patch_embed.weight"])


def test_a_prefix_that_no_name_has(tmp_path):
    given, config = written(tmp_path, prefixed(checkpoint("lewm"), "model."))
    with pytest.raises(BundleError, match=r"--prefix swa: no tensor's name begins so; they begin with model$"):
        parts_of("lewm", [given], config, None, "x", "swa")
    with pytest.raises(BundleError, match=r"--prefix ema: goes with a --checkpoint of named weights"):
        parts_of("lewm", [], None, "tiny", "x", "ema")


@pytest.mark.parametrize(("family", "name"), [("dino_wm", "dinov2"), ("jepa_wms", "dinov2"), ("jepa_wms", "dinov3")])
def test_a_world_model_is_no_encoder_alone(tmp_path, family, name):
    """Its encoder has the names that the encoder's own family looks for."""
    given, _ = written(tmp_path, checkpoint(family), family)
    _, config = written(tmp_path, checkpoint(family), name)
    with pytest.raises(BundleError, match=rf"is of family {family} \(it has .*\), not {name}$"):
        parts_of(name, [given], config, None, "x")
