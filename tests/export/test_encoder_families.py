"""Encoders alone with a predictor of one's own: the latent that is made of tokens, the predictor's formula, causality
and growth, scaling of action blocks, and what a checkpoint must hold."""

from __future__ import annotations

import re

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import gelu

from jepa_ros.bundle.manifest import ProprioSpec
from jepa_ros.errors import BundleError
from jepa_ros_export import dinov2, dinov3, ijepa, vjepa2
from jepa_ros_export.checkpoint import under
from jepa_ros_export.encoder_family import tiny_robot
from jepa_ros_export.own_predictor import OwnPredictor

from .original_vits import patch_tokens

pytestmark = pytest.mark.families

FAMILIES = {"dinov2": dinov2, "dinov3": dinov3, "ijepa": ijepa, "vjepa2": vjepa2}
TOKENS = {"latent": "tokens", "grid": 2}
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def made(name, seed=0, **more):
    """Settings, a checkpoint and the modules of it."""
    torch.manual_seed(seed)
    family = FAMILIES[name]
    config = family.Config(**{**family.tiny().model_dump(), **more})
    state = family.random_checkpoint(config)
    return config, state, family.build(state, config)


def images(config, count=2):
    size = (count, config.image_size, config.image_size, 3)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def sequence(parts, batch=2, steps=3, seed=2):
    """Latents on the encoder's sphere, and actions of about the size that the tiny robot's are."""
    generator = torch.Generator().manual_seed(seed)
    latent = torch.randn(batch, steps, *parts.manifest.state[0].shape, generator=generator)
    return latent, torch.randn(batch, steps, parts.manifest.action_size, generator=generator) * 0.5


def plain_norm(x, weight=1.0, bias=0.0):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * weight + bias


@pytest.mark.parametrize("name", FAMILIES)
def test_the_latent_is_made_of_the_papers_tokens(name):
    """uint8 → ImageNet's statistics → tokens → mean, or means of a grid's cells → normalised."""
    config, state, parts = made(name)
    pixels = ((images(config) / 255 - MEAN) / STD).permute(0, 3, 1, 2)
    original = under(state, "encoder.target_encoder.", "encoder.")
    original = {key.removeprefix("backbone."): tensor for key, tensor in original.items()}
    tokens = patch_tokens(name, original, pixels, config.heads, 1e-5 if name == "dinov3" else 1e-6)
    torch.testing.assert_close(parts.encoder(images(config)), plain_norm(tokens.mean(1)), atol=1e-4, rtol=0)

    grid = FAMILIES[name].Config(**{**config.model_dump(), **TOKENS})
    cells = []
    for row in (0, 1):
        for column in (0, 1):  # of four by four patches, two by two
            inside = [4 * r + c for r in (2 * row, 2 * row + 1) for c in (2 * column, 2 * column + 1)]
            cells.append(tokens[:, inside].mean(1))
    found = FAMILIES[name].build(state | place_of(state, 4), grid).encoder(images(config))
    torch.testing.assert_close(found, plain_norm(torch.stack(cells, 1)), atol=1e-4, rtol=0)


def place_of(state, tokens):
    """The predictor's positions of `tokens` tokens, in place of a vector's."""
    return {"predictor.place": torch.randn(tokens, state["predictor.place"].shape[1])}


def plain_predictor(w, latent, action, heads, mean, std):
    """`own_predictor.py`'s docstring, step by step and head by head; latent `[B, T, P, D]`."""
    scaled = (action - mean) / std
    x = latent @ w["embed.weight"].T + w["embed.bias"] + w["place"]
    for t in range(latent.shape[1]):
        x[:, t] += w["time"][t] + (scaled[:, t] @ w["action.weight"].T + w["action.bias"])[:, None]
    batch, steps, count, width = x.shape
    layer = 0
    while f"blocks.{layer}.norm1.weight" in w:
        b = {key.removeprefix(f"blocks.{layer}."): v for key, v in w.items() if key.startswith(f"blocks.{layer}.")}
        y = plain_norm(x, b["norm1.weight"], b["norm1.bias"]) @ b["qkv.weight"].T + b["qkv.bias"]
        mixed = torch.zeros(batch, steps, count, width)
        for t in range(steps):
            for h in range(heads):
                of = slice(h * width // heads, (h + 1) * width // heads)
                q = y[:, t, :, :width][..., of]
                k = y[:, : t + 1, :, width : 2 * width][..., of].flatten(1, 2)
                v = y[:, : t + 1, :, 2 * width :][..., of].flatten(1, 2)
                mixed[:, t, :, of] = (q @ k.mT / (width / heads) ** 0.5).softmax(-1) @ v
        x = x + mixed @ b["out.weight"].T + b["out.bias"]
        y = plain_norm(x, b["norm2.weight"], b["norm2.bias"]) @ b["fc1.weight"].T + b["fc1.bias"]
        x = x + gelu(y) @ b["fc2.weight"].T + b["fc2.bias"]
        layer += 1
    change = plain_norm(x, w["norm.weight"], w["norm.bias"]) @ w["head.weight"].T + w["head.bias"]
    return plain_norm(latent + change)


@pytest.mark.parametrize("form", [{}, TOKENS])
def test_the_predictor_is_what_its_docstring_says(form):
    config, state, parts = made("ijepa", **form, predictor_depth=2)
    latent, action = sequence(parts)
    mean, std = torch.tensor([0.1, 0.0, 0.1, 0.0]), torch.tensor([0.2, 0.5, 0.2, 0.5])
    tokens = latent if form else latent[:, :, None]
    expected = plain_predictor(under(state, "predictor."), tokens, action, config.predictor_heads, mean, std)
    expected = expected if form else expected[:, :, 0]
    assert (expected - latent).abs().mean() > 0.1  # it does predict something
    torch.testing.assert_close(parts.predictor(latent, action), expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("form", [{}, TOKENS])
def test_what_comes_later_changes_nothing_earlier(form):
    _, _, parts = made("dinov2", **form)
    latent, action = sequence(parts)
    before = parts.predictor(latent, action)
    for changed in ((latent.index_fill(1, torch.tensor([2]), 3.0), action),
                    (latent, action.index_fill(1, torch.tensor([2]), 3.0))):  # fmt: skip
        after = parts.predictor(*changed)
        assert torch.equal(after[:, :2], before[:, :2])
        assert (after[:, 2] - before[:, 2]).abs().max() > 1e-2
    earlier = parts.predictor(latent.index_fill(1, torch.tensor([0]), 3.0), action)
    assert (earlier[:, 2] - before[:, 2]).abs().max() > 1e-3  # while the history does count


@pytest.mark.parametrize("form", [{}, TOKENS])
@pytest.mark.parametrize("steps", [1, 2])
def test_a_short_history_is_the_beginning_of_a_long_one(form, steps):
    _, _, parts = made("dinov3", **form)
    latent, action = sequence(parts)
    short = parts.predictor(latent[:, :steps], action[:, :steps])
    torch.testing.assert_close(short, parts.predictor(latent, action)[:, :steps], atol=1e-5, rtol=0)


def test_actions_of_a_block_are_scaled_each_by_its_component():
    """vx, wz, vx, wz: the mean and deviation of one environment action, repeated."""
    _, state, parts = made("ijepa")
    own = under(state, "predictor.")
    bare = OwnPredictor(24, 1, 2, 3, 16, 1, 2, block=2)
    bare.load_state_dict(own)
    latent, _ = sequence(parts)
    action = torch.tensor([0.3, 1.0, -0.1, -0.5]).expand(2, 3, 4)
    by_hand = torch.tensor([1.0, 2.0, -1.0, -1.0]).expand(2, 3, 4)  # (0.3 − 0.1) / 0.2, 1.0 / 0.5, …
    torch.testing.assert_close(parts.predictor(latent, action), bare(latent, by_hand), atol=1e-5, rtol=0)
    assert (parts.predictor(latent, action) - bare(latent, action)).abs().max() > 0.01


@pytest.mark.parametrize("name", FAMILIES)
def test_each_tensor_of_a_checkpoint_is_used(name):
    """Another value of any of them is another model, except of what pre-training alone needs."""
    config, state, parts = made(name)
    latent, action = sequence(parts, batch=1)
    view = images(config, 1)
    expected = parts.encoder(view), parts.predictor(latent, action)
    for key, tensor in state.items():
        if key.startswith("encoder.") and ".blocks.1." in key:
            continue  # as blocks.0
        # A mask of biases stays 0 for the keys, as published; another one is refused.
        moved = (
            0.5 * tensor if key.endswith("mask") else tensor + torch.linspace(0.2, 1, tensor.numel()).view_as(tensor)
        )
        other = FAMILIES[name].build(state | {key: moved}, config)
        found = other.encoder(view), other.predictor(latent, action)
        changed = max((a - b).abs().max().item() for a, b in zip(found, expected, strict=True))
        if key.endswith(".mask_token"):
            assert changed == 0, key
        else:
            assert changed > 1e-5, key


@pytest.mark.parametrize("name", FAMILIES)
def test_names_are_the_original_projects(name):
    """A few of each, as their sources have them, with the shapes of the published default."""
    config = FAMILIES[name].Config(**tiny_robot())
    expected = {
        "dinov2": {"encoder.pos_embed": (1, 1370, 384), "encoder.blocks.11.ls2.gamma": (384,),
                   "encoder.mask_token": (1, 384), "encoder.patch_embed.proj.weight": (384, 3, 14, 14),
                   "encoder.blocks.0.attn.qkv.weight": (1152, 384), "encoder.blocks.0.mlp.fc1.weight": (1536, 384)},
        "dinov3": {"encoder.storage_tokens": (1, 4, 384), "encoder.rope_embed.periods": (16,),
                   "encoder.blocks.11.attn.qkv.bias_mask": (1152,)},
        "ijepa": {"encoder.target_encoder.module.pos_embed": (1, 256, 1280),
                  "encoder.target_encoder.module.blocks.31.mlp.fc2.weight": (1280, 5120)},
        "vjepa2": {"encoder.target_encoder.module.backbone.patch_embed.proj.weight": (1024, 3, 2, 16, 16),
                   "encoder.target_encoder.module.backbone.blocks.23.attn.proj.bias": (1024,)},
    }[name]  # fmt: skip
    with torch.device("meta"):
        state = FAMILIES[name].random_checkpoint(config)
    assert {key: tuple(state[key].shape) for key in expected} == expected
    millions = sum(tensor.numel() for key, tensor in state.items() if key.startswith("encoder.")) / 1e6
    # In millions, as the projects' READMEs round them: ViT-S, ViT-S, ViT-H, ViT-L.
    assert millions == pytest.approx({"dinov2": 21, "dinov3": 21, "ijepa": 630, "vjepa2": 300}[name], rel=0.06)


@pytest.mark.parametrize(
    ("name", "more", "expected"),
    [
        ("dinov2", {}, {"width": 56, "resize": "resize_center_crop", "resize_to": 64, "interpolation": "cubic"}),
        ("dinov3", {}, {"width": 64, "resize": "stretch", "resize_to": None, "interpolation": "linear"}),
        ("vjepa2", {}, {"width": 64, "resize": "resize_center_crop", "resize_to": 73, "interpolation": "linear"}),
        ("ijepa", {"camera": {"resize": "letterbox"}}, {"width": 56, "resize": "letterbox", "resize_to": None}),
    ],
)
def test_the_manifest_says_how_the_original_made_its_images(name, more, expected):
    manifest = made(name, **more)[2].manifest
    assert {field: getattr(manifest.camera, field) for field in expected} == expected
    assert (manifest.timing.step_s, manifest.timing.frame_skip, manifest.timing.history_max) == (0.4, 2, 3)
    assert (manifest.predictor.output, manifest.predictor.max_context) == ("sequence", 3)


def test_pixels_may_be_scaled_otherwise():
    """transformers' I-JEPA checkpoints come with a processor of mean and deviation 0.5."""
    config, state, _ = made("ijepa")
    half = ijepa.Config(**{**config.model_dump(), "pixel_mean": (0.5,) * 3, "pixel_std": (0.5,) * 3})
    tokens = patch_tokens(
        "ijepa", under(state, "encoder.target_encoder."), images(config).permute(0, 3, 1, 2) / 127.5 - 1, 2
    )
    found = ijepa.build(state, half).encoder(images(config))
    torch.testing.assert_close(found, plain_norm(tokens.mean(1)), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("predictor.head.bias"), r"dinov2 predictor: the checkpoint lacks head\.bias \[24\]"),
        (lambda s: [s.pop(key) for key in list(s) if key.startswith("predictor.")],
         r"dinov2 predictor: the checkpoint lacks .* has 0 tensors"),
        (lambda s: s.update({"predictor.action.weight": torch.ones(16, 6)}),
         r"action\.weight is \[16, 6\] in the checkpoint and \[16, 4\]"),
        (lambda s: s.update({"predictor.blocks.7.fc1.bias": torch.ones(64)}), r"has blocks\.7\.fc1\.bias \[64\]"),
        (lambda s: s.update({"decoder.weight": torch.ones(2)}),
         r"has decoder\.weight \[2\], which is neither of encoder\.\* nor of predictor\.\*"),
        (lambda s: s.pop("encoder.cls_token"),
         r"dinov2 encoder: the checkpoint lacks cls_token \[1, 1, 24\]"),
        # What is one tensor there and three here is named as it is there.
        (lambda s: s.pop("encoder.blocks.1.attn.qkv.bias"), r"lacks blocks\.1\.attn\.qkv\.bias \[72\]"),
        (lambda s: s.update({"encoder.blocks.0.attn.qkv.weight": torch.ones(72, 20)}),
         r"blocks\.0\.attn\.qkv\.weight is \[72, 20\] in the checkpoint and \[72, 24\] in the model"),
        (lambda s: s.update({"encoder.pos_embed": torch.ones(1, 26, 24)}),
         r"pos_embed is \[1, 26, 24\] in the checkpoint and \[1, 37, 24\] in the model; set the architecture"),
    ],
)  # fmt: skip
def test_wrong_checkpoints_are_named(change, message):
    config, state, _ = made("dinov2")
    change(state)
    with pytest.raises(BundleError, match=message):
        dinov2.build(state, config)


@pytest.mark.parametrize("name", FAMILIES)
def test_another_familys_checkpoint_is_refused(name):
    config = FAMILIES[name].tiny()
    for other in FAMILIES.keys() - {name}:
        with pytest.raises(BundleError, match=rf"^{name} encoder: .*\["):
            FAMILIES[name].build(made(other)[1], config)


@pytest.mark.parametrize("name", FAMILIES)
def test_marks_are_on_ones_own_checkpoints_only(name):
    """In the original spelling and in transformers'; `families.check_family` refuses what has none of them."""
    _, state, parts = made(name)

    def marked(family, keys):
        return any(re.search(mark, key) for mark in family.MARKS for key in keys)

    # transformers' V-JEPA 2 has the encoder beside a predictor, under its name.
    inner = "encoder.encoder." if name == "vjepa2" else "encoder."
    converted = [inner + key for key in parts.encoder.encoder.model.state_dict()]
    for keys in (state, converted):
        assert [other for other in FAMILIES if marked(FAMILIES[other], keys)] == [name]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"latent": "tokens", "grid": 3}, "grid 3 must divide the 4 patches"),
        ({"heads": 5}, "hidden_size 24 must be a multiple of heads 5"),
        ({"predictor_heads": 3}, "predictor_width 16 must be a multiple of predictor_heads 3"),
        ({"action_mean": [0.0]}, "action_mean has 1 entries"),
        ({"proprio": ProprioSpec(names=["vx"], units=["m/s"])}, "proprio is not taken by this predictor"),
        ({"mlp_size": 100}, "mlp_size 100 must be a multiple of hidden_size 24"),
        ({"step_s": None}, "step_s"),
    ],
)
def test_settings_that_do_not_fit_are_named(more, message):
    with pytest.raises(ValidationError, match=message):
        dinov2.Config(**{**dinov2.tiny().model_dump(), **more})


def test_heads_that_cannot_be_turned_are_refused():
    with pytest.raises(ValidationError, match=r"multiple of 4 · heads, 12"):
        dinov3.Config(**{**dinov3.tiny().model_dump(), "hidden_size": 30, "heads": 3})
    with pytest.raises(ValidationError, match="heads 8 leave fewer than the 6 values"):
        vjepa2.Config(**{**vjepa2.tiny().model_dump(), "heads": 8})


def test_a_predictor_can_be_trained():
    """As the docs say: on frozen latents, with the modules that the graphs are made of, in a few steps."""
    config, _, parts = made("dinov2")
    torch.manual_seed(6)
    encoder, predictor = dinov2.modules(config)
    encoder.load_state_dict(parts.encoder.state_dict())
    latents = encoder(images(config, 8)).detach()
    z, action = latents.reshape(2, 4, -1), torch.randn(2, 4, 4) * 0.5
    optimiser = torch.optim.AdamW(predictor.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = (predictor(z[:, :-1], action[:, :-1]) - z[:, 1:]).pow(2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    state = {f"encoder.{key}": value for key, value in encoder.encoder.model.state_dict().items()}
    state |= {f"predictor.{key}": value.detach() for key, value in predictor.state_dict().items()}
    again = dinov2.build(state, config)
    with torch.no_grad():
        assert torch.equal(again.encoder(images(config, 8)), latents)
        torch.testing.assert_close(again.predictor(z[:, :3], action[:, :3]), predictor(z[:, :3], action[:, :3]))
