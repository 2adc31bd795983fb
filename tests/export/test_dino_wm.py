"""DINO-WM against torch-world's class, PIL's resize and the original's formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import nn
from torch.nn import functional

from jepa_ros.errors import BundleError
from jepa_ros_export import dino_wm
from jepa_ros_export.checkpoint import under
from jepa_ros_export.dino_wm_layers import SquareResize
from jepa_ros_export.patch_models import unit_deviation

from .patch_models_formulas import dinov2, without_gradient

pytestmark = pytest.mark.families


@pytest.fixture(scope="module")
def config():
    return dino_wm.tiny()


@pytest.fixture(scope="module")
def state(config):
    torch.manual_seed(0)
    return dino_wm.random_checkpoint(config)


@pytest.fixture(scope="module")
def parts(state, config):
    return dino_wm.build(state, config)


def reference(state, config):
    """torch-world's class with the same weights; it takes actions and proprio z-scored."""
    torch_world = pytest.importorskip("torch_world.models.jepa._dinowm", reason="torch-world is for tests only")
    model = torch_world.DINOWM(
        nn.Identity(), config.side**2, config.encoder["hidden_size"], len(config.action.names) * config.action.block,
        len(config.proprio.names), config.action_width, config.proprio_width, config.history, config.depth,
        config.heads, config.head_width, config.mlp_width,
    )  # fmt: skip
    names = {"pos_embed": "predictor.pos_embedding"}
    for part in ("action_encoder", "proprio_encoder"):
        names |= {f"{part}.{end}": f"{part}.patch_embed.{end}" for end in ("weight", "bias")}
    for layer in range(config.depth):
        own, theirs = f"predictor.blocks.{layer}.", f"predictor.transformer.layers.{layer}."
        names |= {f"{own}attn.qkv.weight": f"{theirs}0.to_qkv.weight"}
        for end in ("weight", "bias"):
            names |= {f"{own}norm1.{end}": f"{theirs}0.norm.{end}", f"{own}norm2.{end}": f"{theirs}1.net.0.{end}"}
            names |= {f"{own}attn.proj.{end}": f"{theirs}0.to_out.0.{end}"}
            names |= {f"{own}mlp.0.{end}": f"{theirs}1.net.1.{end}", f"{own}mlp.3.{end}": f"{theirs}1.net.4.{end}"}
    names |= {f"predictor.norm.{end}": f"predictor.transformer.norm.{end}" for end in ("weight", "bias")}
    model.load_state_dict({own: state[name].reshape(model.get_parameter(own).shape) for own, name in names.items()})
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-5  # torch-world writes 1e-6; the original leaves PyTorch's default
    return model.eval()


def scaled(action, config):
    block = config.action.block
    return (action - torch.tensor(config.action_mean * block)) / torch.tensor(config.action_std * block)


def context(config, steps, batch=2):
    """visual, proprio, proprio_rest, action."""
    tokens, width = config.side**2, config.proprio_width
    return [
        torch.randn(batch, steps, tokens, config.encoder["hidden_size"]),
        torch.randn(batch, steps, width),
        torch.randn(batch, steps, tokens - 1, width),
        torch.randn(batch, steps, len(config.action.names) * config.action.block),
    ]


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_prediction_is_torch_worlds(state, config, parts, steps):
    visual, proprio, rest, action = context(config, steps)
    with torch.no_grad():
        found = parts.predictor(visual, proprio, rest, action)
        tokens = torch.cat([visual, torch.cat([proprio[:, :, None], rest], 2)], -1)
        expected = reference(state, config).predict(tokens, scaled(action, config))
    whole = torch.cat([found[0], torch.cat([found[1][:, :, None], found[2]], 2)], -1)
    assert expected.std() > 0.1
    torch.testing.assert_close(whole, expected, rtol=1e-4, atol=1e-5)


def test_a_rollout_is_the_originals(state, config, parts):
    """From one frame on: the window grows to three and slides, and each token's own proprio is fed back."""
    torch.manual_seed(1)
    model = reference(state, config)
    visual, proprio, _, _ = context(config, 1)
    actions = torch.randn(2, 5, 4)
    rest = proprio[:, :, None].expand(-1, -1, config.side**2 - 1, -1)
    ours = [visual, proprio, rest]
    tokens = torch.cat([visual, proprio[:, :, None].expand(-1, -1, config.side**2, -1)], -1)
    with torch.no_grad():
        for step in range(actions.shape[1]):
            window = scaled(actions[:, max(0, step - 2) : step + 1], config)
            tokens = torch.cat([tokens, model.predict(tokens[:, -3:], window)[:, -1:]], 1)
            found = parts.predictor(*(part[:, -3:] for part in ours), actions[:, max(0, step - 2) : step + 1])
            ours = [torch.cat([part, new[:, -1:]], 1) for part, new in zip(ours, found, strict=True)]
    width = config.encoder["hidden_size"]
    torch.testing.assert_close(ours[0], tokens[..., :width], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(ours[1], tokens[:, :, 0, width:], rtol=1e-3, atol=1e-4)
    assert (tokens[:, 1:, 0, width:] - tokens[:, 1:, 1, width:]).abs().max() > 0.1  # copies part from one another


def test_later_steps_change_nothing_before_them(config, parts):
    given = context(config, 3)
    with torch.no_grad():
        whole = parts.predictor(*given)
        for steps in (1, 2):
            for found, expected in zip(parts.predictor(*(x[:, :steps] for x in given)), whole, strict=True):
                torch.testing.assert_close(found, expected[:, :steps], rtol=1e-5, atol=1e-5)
        changed = parts.predictor(*(torch.cat([x[:, :2], x[:, 2:] + 1], 1) for x in given))
    for found, expected in zip(changed, whole, strict=True):
        torch.testing.assert_close(found[:, :2], expected[:, :2], rtol=1e-5, atol=1e-5)
        assert (found[:, 2] - expected[:, 2]).abs().max() > 1e-2


def test_the_resize_inside_is_torchs_and_pils():
    image = np.random.default_rng(0).normal(size=(224, 224)).astype(np.float32)
    found = SquareResize(224, 196)(torch.from_numpy(image))
    torchs = functional.interpolate(torch.from_numpy(image)[None, None], size=196, mode="bilinear", antialias=True)
    torch.testing.assert_close(found, torchs[0, 0], rtol=0, atol=1e-5)
    pils = np.asarray(Image.fromarray(image).resize((196, 196), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(found.numpy(), pils, atol=2e-4)  # its weights are in double precision


def test_the_encoder_is_dinov2_on_the_resized_image(state, config, parts):
    size = config.image_size
    image = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    measured = torch.tensor([[0.3, -0.2, 1.0], [0.1, 0.0, 0.0]])
    with torch.no_grad():
        visual, proprio, rest = parts.encoder(torch.from_numpy(image), measured)
    to = config.side * 14
    planes = [
        [np.asarray(Image.fromarray(frame[..., c] / np.float32(127.5) - 1).resize((to, to), Image.Resampling.BILINEAR))
         for c in range(3)]
        for frame in image
    ]  # fmt: skip
    expected = dinov2(under(state, "encoder."), torch.from_numpy(np.array(planes)), heads=2)
    assert visual.shape == (2, config.side**2, 16)
    torch.testing.assert_close(visual, expected, rtol=1e-4, atol=1e-4)
    weight, bias = state["proprio_encoder.patch_embed.weight"][:, :, 0], state["proprio_encoder.patch_embed.bias"]
    z = (measured - torch.tensor([0.1, 0.0, 0.0])) / torch.tensor([0.2, 0.1, 0.5])
    torch.testing.assert_close(proprio, z @ weight.T + bias, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(rest, proprio[:, None].expand_as(rest))


def test_every_weight_has_its_say(config, state):
    parts = dino_wm.build(state, config)
    for module in (parts.encoder, parts.predictor):
        module.requires_grad_(True)
    size = config.image_size
    seen = parts.encoder(torch.randint(0, 256, (1, size, size, 3), dtype=torch.uint8), torch.randn(1, 3))
    silent = [name for name in without_gradient(parts.encoder, seen) if not name.endswith("k_proj.bias")]
    silent += without_gradient(parts.predictor, parts.predictor(*context(config, 3)))
    assert silent == []


def test_each_name_of_the_checkpoint_is_asked_for(config, state):
    for name in state:
        if name.startswith("encoder.") and not name.startswith("encoder.blocks.1."):
            continue  # the image encoder's names have tests of their own
        lacking = {key: tensor for key, tensor in state.items() if key != name}
        with pytest.raises(BundleError, match=r"dino-wm.*lacks"):
            dino_wm.build(lacking, config)


def test_a_pickled_models_names_are_read_too(config, state, parts):
    """An encoder that was saved with the model, wrappers of training, optimisers, a decoder."""
    spelt = {name.replace("encoder.", "encoder.base_model.", 1) if name.startswith("encoder.") else name: tensor
             for name, tensor in state.items()}  # fmt: skip
    spelt = {name.replace("predictor.", "predictor.module.", 1) if name.startswith("predictor.") else name: tensor
             for name, tensor in spelt.items()}  # fmt: skip
    spelt |= {"predictor_optimizer.state.0.step": torch.zeros(1), "decoder.conv.weight": torch.zeros(1)}
    again = dino_wm.build(spelt, config)
    given = context(config, 3)
    with torch.no_grad():
        torch.testing.assert_close(again.predictor(*given), parts.predictor(*given))
    assert torch.equal(again.encoder.tokens.model.layernorm.weight, parts.encoder.tokens.model.layernorm.weight)


def test_wrong_checkpoints_are_named(config, state):
    own = {name: tensor for name, tensor in state.items() if not name.startswith("encoder.")}
    with pytest.raises(BundleError, match=r"--checkpoint encoder=dinov2_vits14_pretrain\.pth"):
        dino_wm.build(own, config)
    with pytest.raises(BundleError, match=r"reward\.weight \[7\], which this model has no place for"):
        dino_wm.build({**state, "reward.weight": torch.zeros(7)}, config)
    short = {**state, "encoder.pos_embed": state["encoder.pos_embed"][:, :1000]}
    with pytest.raises(BundleError, match=r"pos_embed is \[1, 1000, 16\] in the checkpoint and \[1, 1370, 16\]"):
        dino_wm.build(short, config)
    fewer = {name: tensor for name, tensor in state.items() if name != "encoder.blocks.1.attn.qkv.weight"}
    with pytest.raises(BundleError, match=r"encoder: the checkpoint lacks blocks\.1\.attn\.qkv\.weight \[48, 16\]"):
        dino_wm.build(fewer, config)
    longer = config.model_copy(update={"history": 4})
    with pytest.raises(BundleError, match=r"predictor\.pos_embedding is \[1, 12, 23\] .* \[1, 16, 23\] in the model"):
        dino_wm.build(state, longer)


def test_a_model_without_proprio(config):
    given = config.model_dump(exclude={"proprio_mean", "proprio_std", "cost"})
    alone = dino_wm.Config(**{**given, "proprio": None})
    state = dino_wm.random_checkpoint(alone)
    assert not any(name.startswith("proprio_encoder.") for name in state)
    parts = dino_wm.build(state, alone)
    assert [tensor.name for tensor in parts.manifest.state] == ["visual"]
    assert [term.source for term in parts.manifest.cost] == ["visual"]
    visual, _, _, action = context(alone, 2)
    assert parts.predictor(visual, action).shape == visual.shape
    embedding = {"proprio_encoder.patch_embed.bias": torch.zeros(3)}
    with pytest.raises(BundleError, match=r"proprio_encoder\.patch_embed\.bias"):
        dino_wm.build({**state, **embedding}, alone)


def test_settings_that_would_be_silently_wrong_are_refused(config):
    """An action of one's own with PushT's scaling, for one."""
    with pytest.raises(ValidationError, match="action_mean is missing"):
        dino_wm.Config(action=config.action)
    with pytest.raises(ValidationError, match="proprio_mean is missing"):
        dino_wm.Config(proprio=config.proprio)
    with pytest.raises(ValidationError, match=r"action_std has 1 entries"):
        dino_wm.Config(action_std=[0.2])
    with pytest.raises(ValidationError, match="encoder lacks patch_size"):
        dino_wm.Config(encoder={name: size for name, size in config.encoder.items() if name != "patch_size"})
    with pytest.raises(ValidationError, match="observed 4 must not be above history 3"):
        dino_wm.Config(observed=4)


def test_the_published_model_and_planner():
    config = dino_wm.Config()
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in dino_wm.ProprioPredictor(config).named_parameters()}
    assert shapes["predictor.pos_embedding"] == (1, 588, 404)
    assert shapes["predictor.transformer.layers.5.0.to_qkv.weight"] == (3072, 404)
    assert shapes["predictor.transformer.layers.5.1.net.1.weight"] == (2048, 404)
    assert shapes["action_encoder.patch_embed.weight"] == (10, 10, 1)
    planner = unit_deviation(config)
    assert (planner.samples, planner.elites, planner.iterations, planner.horizon) == (300, 30, 10, 5)
    assert planner.std == pytest.approx(0.20105)  # one deviation of PushT's actions, of half of [-1, 1]


def test_the_manifest_says_how_it_is_used(config, parts):
    manifest = parts.manifest
    assert [(t.name, t.shape, t.role) for t in manifest.state] == [
        ("visual", (4, 16), "latent"), ("proprio", (3,), "proprio"), ("proprio_rest", (3, 3), "proprio")
    ]  # fmt: skip
    assert (manifest.camera.resize, manifest.camera.resize_to, manifest.camera.antialias) == (
        "resize_center_crop", config.image_size, True
    )  # fmt: skip
    assert (manifest.timing.history_max, manifest.timing.warm_up, manifest.timing.frame_skip) == (3, "grow", 2)
    assert (manifest.predictor.max_context, manifest.predictor.output) == (3, "sequence")
    assert [(term.source, term.steps, term.weight) for term in manifest.cost] == [
        ("visual", "last", 1.0), ("proprio", "last", 1.0)
    ]  # fmt: skip
