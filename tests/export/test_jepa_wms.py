"""jepa-wms against the original's formulas written out token by token, and transformers' DINOv3."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from transformers import DINOv3ViTConfig, DINOv3ViTModel

from jepa_ros.errors import BundleError
from jepa_ros_export import jepa_wms
from jepa_ros_export.checkpoint import under
from jepa_ros_export.encoders import from_original
from jepa_ros_export.layers import IMAGENET_MEAN, IMAGENET_STD
from jepa_ros_export.patch_models import unit_deviation

from .patch_models_formulas import adaln_predictor, dinov2, without_gradient

pytestmark = pytest.mark.families


def tiny_droid():
    """The layout of `droid`: DINOv3, no proprio, raw actions of seven."""
    encoder = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
               "patch_size": 16, "num_register_tokens": 4}  # fmt: skip
    return jepa_wms.Config(preset="droid", encoder=encoder, image_size=32, width=28, depth=2, heads=2)


@pytest.fixture(scope="module", params=["sim", "droid"])
def config(request):
    return jepa_wms.tiny() if request.param == "sim" else tiny_droid()


@pytest.fixture(scope="module")
def sim():
    return jepa_wms.tiny()


@pytest.fixture(scope="module")
def state(config):
    torch.manual_seed(0)
    return jepa_wms.random_checkpoint(config)


@pytest.fixture(scope="module")
def parts(state, config):
    return jepa_wms.build(state, config)


def context(config, steps, batch=2):
    """visual, proprio where there is any, action."""
    actions = torch.tensor(config.action.high * config.action.block)
    tensors = [torch.randn(batch, steps, config.side**2, config.encoder["hidden_size"])]
    if config.proprio is not None:
        tensors.append(torch.randn(batch, steps, config.side**2, config.proprio_width))
    return [*tensors, torch.randn(batch, steps, len(actions)) * actions]


def predict(parts, given):
    with torch.no_grad():
        found = parts.predictor(*given)
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_prediction_is_the_originals(state, config, parts, steps):
    visual, *proprio, action = given = context(config, steps)
    found = predict(parts, given)
    if config.action_std is not None:
        block = config.action.block
        action = (action - torch.tensor(config.action_mean * block)) / torch.tensor(config.action_std * block)
    weights = under(state, "predictor.")
    for row in range(len(visual)):
        features = proprio[0][row] if proprio else None
        expected = adaln_predictor(weights, visual[row], features, action[row], config.heads, config.side)
        assert expected[0].std() > 0.1
        for part, truth in zip(found, expected, strict=False):
            torch.testing.assert_close(part[row], truth, rtol=1e-3, atol=1e-4)


def test_a_head_of_odd_width_turns_but_for_its_last_channel():
    """PushT's predictor: 384 + 16 channels on 16 heads are 25 each."""
    width = jepa_wms.Config().total // 16
    assert width == 25
    x = torch.randn(1, 1, 4, width)
    with torch.no_grad():
        found = jepa_wms.AdaLNPredictor(4, 34, 16, 2, 1, 2, 1.0, steps=2, side=2).rotary(x)
    assert torch.equal(found[..., 24], x[..., 24])
    assert (found[0, 0, 3, :24] - x[0, 0, 3, :24]).abs().max() > 0.1
    torch.testing.assert_close(found[0, 0, 0], x[0, 0, 0])  # the first token of the first frame stands at 0


def test_later_steps_change_nothing_before_them(config, parts):
    given = context(config, 2)
    whole = predict(parts, given)
    for found, expected in zip(predict(parts, [x[:, :1] for x in given]), whole, strict=True):
        torch.testing.assert_close(found, expected[:, :1], rtol=1e-5, atol=1e-5)
    changed = predict(parts, [torch.cat([x[:, :1], x[:, 1:] + 0.5], 1) for x in given])
    for found, expected in zip(changed, whole, strict=True):
        torch.testing.assert_close(found[:, :1], expected[:, :1], rtol=1e-5, atol=1e-5)
        assert (found[:, 1] - expected[:, 1]).abs().max() > 1e-2


def test_the_encoder_is_the_frozen_one_on_imagenets_scale(state, config, parts):
    size = config.image_size
    image = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)
    pixels = (image.double().permute(0, 3, 1, 2) / 255 - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(
        IMAGENET_STD
    ).view(3, 1, 1)
    own = under(state, "encoder.")
    with torch.no_grad():
        if config.proprio is None:
            visual = parts.encoder(image)
            model = DINOv3ViTModel(DINOv3ViTConfig(**config.encoder, image_size=size)).eval()
            model.load_state_dict(from_original("dinov3", own), strict=False)
            model.rope_embeddings.inv_freq = 1 / own["rope_embed.periods"].float()
            expected = model(pixels.float()).last_hidden_state[:, 5:]
        else:
            measured = torch.tensor([[0.3, -0.2, 1.0], [0.1, 0.0, 0.0]])
            visual, proprio = parts.encoder(image, measured)
            expected = dinov2(own, pixels.float(), heads=2)
            z = (measured - torch.tensor([0.1, 0.0, 0.0])) / torch.tensor([0.2, 0.1, 0.5])
            weight = state["proprio_encoder.module.patch_embed.weight"][:, :, 0]
            embedded = z @ weight.T + state["proprio_encoder.module.patch_embed.bias"]
            torch.testing.assert_close(proprio, embedded[:, None].expand_as(proprio), rtol=1e-5, atol=1e-5)
            assert proprio.shape == (2, config.side**2, config.proprio_width)
    assert visual.shape == (2, config.side**2, 16)
    torch.testing.assert_close(visual, expected, rtol=1e-4, atol=1e-4)


def test_every_weight_has_its_say(config, state):
    parts = jepa_wms.build(state, config)
    for module in (parts.encoder, parts.predictor):
        module.requires_grad_(True)
    size = config.image_size
    measured = [torch.randn(1, 3)] if config.proprio is not None else []
    seen = parts.encoder(torch.randint(0, 256, (1, size, size, 3), dtype=torch.uint8), *measured)
    seen, following = (x if isinstance(x, tuple) else (x,) for x in (seen, parts.predictor(*context(config, 2))))
    silent = [name for name in without_gradient(parts.encoder, seen) if not name.endswith("k_proj.bias")]
    assert silent + without_gradient(parts.predictor, following) == []


def test_each_name_of_the_checkpoint_is_asked_for(config, state):
    for name in state:
        if name.startswith("encoder."):
            continue  # its names have tests of their own
        with pytest.raises(BundleError, match=r"jepa-wms.*lacks"):
            jepa_wms.build({key: tensor for key, tensor in state.items() if key != name}, config)


def test_wrong_checkpoints_are_named(config, state, parts):
    saved = {**state, "opt.state.0.exp_avg": torch.zeros(2), "scaler.scale": torch.zeros(1)}
    given = context(config, 2)
    again = predict(jepa_wms.build(saved, config), given)
    for found, expected in zip(again, predict(parts, given), strict=True):
        assert torch.equal(found, expected)
    own = {name: tensor for name, tensor in state.items() if not name.startswith("encoder.")}
    with pytest.raises(BundleError, match=r"--checkpoint encoder=dinov[23]_vit[sl]1[46]_pretrain"):
        jepa_wms.build(own, config)
    with pytest.raises(BundleError, match=r"reward\.weight \[7\], which this model has no place for"):
        jepa_wms.build({**state, "reward.weight": torch.zeros(7)}, config)
    actions = state["predictor.module.action_encoder.weight"].shape[1]
    wider = {**state, "predictor.module.action_encoder.weight": torch.zeros(config.total, actions + 1)}
    with pytest.raises(BundleError, match=rf"action_encoder\.weight is \[{config.total}, {actions + 1}\]"):
        jepa_wms.build(wider, config)


def test_the_published_models_and_planners():
    shapes = {}
    for preset in ("sim", "droid"):
        config = jepa_wms.Config(preset=preset)
        with torch.device("meta"):
            model = jepa_wms.Predictor(config).predictor
        shapes[preset] = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    assert shapes["sim"]["action_encoder.weight"] == (400, 10)
    assert shapes["sim"]["predictor_blocks.5.adaLN_modulation.1.weight"] == (2400, 400)
    assert shapes["sim"]["predictor_embed.weight"] == (384, 384)
    assert shapes["droid"]["action_encoder.weight"] == (1024, 7)
    assert shapes["droid"]["predictor_blocks.11.attn.qkv.weight"] == (3072, 1024)
    sim, droid = (unit_deviation(jepa_wms.Config(preset=preset)) for preset in ("sim", "droid"))
    assert (sim.samples, sim.iterations, sim.elites, sim.horizon) == (300, 30, 10, 6)
    assert sim.std == pytest.approx(0.20105)  # one deviation of PushT's actions, of half of [-1, 1]
    assert (droid.samples, droid.iterations, droid.elites, droid.horizon, droid.std) == (300, 15, 10, 3, 1.0)


def test_a_preset_gives_what_is_not_given(sim):
    config = tiny_droid()
    assert (config.step_s, config.proprio, config.action_mean, len(config.action.names)) == (0.25, None, None, 7)
    assert [term.source for term in config.cost] == ["visual"]
    assert [(term.source, term.weight) for term in sim.cost] == [("visual", 1.0), ("proprio", 0.1)]
    assert [term.source for term in jepa_wms.Config(proprio=None).cost] == ["visual"]
    assert jepa_wms.Config(proprio=None).proprio_std is None


def test_settings_that_would_be_silently_wrong_are_refused(sim):
    for given, message in (
        ({"preset": "real"}, "preset"),
        ({"action": sim.action}, "action_mean is missing"),
        ({"proprio": sim.proprio}, "proprio_mean is missing"),
        ({"proprio_std": [1.0]}, "proprio_std has 1 entries"),
        ({"observed": 3}, "observed 3 must not be above context 2"),
        ({"heads": 3}, "heads 3 must divide the predictor's width with proprio, 400"),
        ({"context": 5}, "context"),
        ({"encoder": {"hidden_size": 384}}, "encoder lacks num_hidden_layers"),
        ({"encoder_kind": "dinov3"}, "encoder lacks num_register_tokens"),
    ):
        with pytest.raises(ValidationError, match=message):
            jepa_wms.Config(**given)


def test_the_manifest_says_how_it_is_used(config, parts):
    manifest = parts.manifest
    names = ["visual"] if config.proprio is None else ["visual", "proprio"]
    assert [tensor.name for tensor in manifest.state] == names
    assert all(tensor.kind == "tokens" and tensor.shape[0] == config.side**2 for tensor in manifest.state)
    assert (manifest.camera.resize, manifest.camera.antialias, manifest.camera.width) == (
        "center_crop", False, config.image_size
    )  # fmt: skip
    assert (manifest.timing.history_max, manifest.timing.warm_up) == (2, "grow")
    assert (manifest.predictor.max_context, manifest.predictor.output, manifest.predictor.sliding) == (
        2, "sequence", True
    )  # fmt: skip
