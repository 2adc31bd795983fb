"""Encoders of patch tokens: against transformers' own models, against the papers' formulas on weights in the original
spelling, and what is read of checkpoints."""

from __future__ import annotations

import math
import re

import pytest
import torch
from transformers import (
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    IJepaConfig,
    IJepaModel,
    VJEPA2Config,
    VJEPA2Model,
)

from jepa_ros.errors import BundleError
from jepa_ros_export import dinov2, dinov3, ijepa, vjepa2
from jepa_ros_export.checkpoint import read_checkpoint, under
from jepa_ros_export.encoder_names import encoder_part
from jepa_ros_export.encoders import from_original, load_tokens, tokens_encoder

from .original_vits import patch_tokens

pytestmark = pytest.mark.families

SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
SETTINGS = {
    "dinov2": {**SMALL, "image_size": 42, "patch_size": 14},
    "dinov3": {**SMALL, "image_size": 48, "patch_size": 16, "intermediate_size": 32, "num_register_tokens": 2},
    "ijepa": {**SMALL, "image_size": 42, "patch_size": 14, "intermediate_size": 32, "layer_norm_eps": 1e-6},
    "vjepa2": {**SMALL, "image_size": 48, "patch_size": 16},
}
CLASSES = {
    "dinov2": (Dinov2Config, Dinov2Model),
    "dinov3": (DINOv3ViTConfig, DINOv3ViTModel),
    "ijepa": (IJepaConfig, IJepaModel),
    "vjepa2": (VJEPA2Config, VJEPA2Model),
}
FAMILIES = {"dinov2": dinov2, "dinov3": dinov3, "ijepa": ijepa, "vjepa2": vjepa2}


def transformers_model(kind, **more):
    """transformers' own, with random weights of which none is at a neutral value, and default attention."""
    torch.manual_seed(0)
    settings = {**SETTINGS[kind], **more}
    if kind == "vjepa2":
        settings["crop_size"] = settings.pop("image_size")
        settings.update(pred_hidden_size=12, pred_num_attention_heads=2, pred_num_hidden_layers=1)
    config_class, model_class = CLASSES[kind]
    if more.get("num_register_tokens") and kind == "dinov2":
        config_class, model_class = Dinov2WithRegistersConfig, Dinov2WithRegistersModel
    model = model_class(config_class(**settings)).eval()
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    return model


def pixels_of(size, count=2):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def said_by(model, kind, pixels, prefix):
    if kind == "vjepa2":  # of a clip of one frame it makes two itself
        return model.get_vision_features(pixels[:, None])
    return model(pixels).last_hidden_state[:, prefix:]


@pytest.mark.parametrize(
    ("kind", "prefix", "more"),
    [
        ("dinov2", 1, {}),
        ("dinov2", 5, {"num_register_tokens": 4}),
        ("dinov2", 1, {"use_swiglu_ffn": True}),
        ("dinov3", 3, {}),
        ("dinov3", 3, {"use_gated_mlp": True}),
        ("ijepa", 0, {}),
        ("vjepa2", 0, {}),
    ],
)
def test_tokens_are_those_of_transformers(kind, prefix, more):
    """Patches only, after the final norm, in transformers' order, from its own names."""
    theirs = transformers_model(kind, **more)
    ours = tokens_encoder(kind, {**SETTINGS[kind], **more})
    load_tokens(ours, theirs.state_dict())
    pixels = pixels_of(SETTINGS[kind]["image_size"])
    expected = said_by(theirs, kind, pixels, prefix)
    assert expected.shape == (2, 9, 24)
    assert (expected[0] - expected[1]).abs().mean() > 0.1  # images differ
    with torch.no_grad():
        torch.testing.assert_close(ours(pixels), expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("registers", [0, 4])
def test_transformers_resize_of_positions(registers):
    """Weights in transformers' spelling, trained at another size, are resized as transformers' class does it."""
    more = {"num_register_tokens": registers} if registers else {}
    theirs = transformers_model("dinov2", **{**more, "image_size": 98})
    ours = tokens_encoder("dinov2", {**SETTINGS["dinov2"], **more})
    load_tokens(ours, theirs.state_dict())
    pixels = pixels_of(42)
    with torch.no_grad():
        torch.testing.assert_close(ours(pixels), said_by(theirs, "dinov2", pixels, 1 + registers), atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("dinov2", {}),
        ("dinov2", {"swiglu": True}),
        ("dinov3", {}),
        ("dinov3", {"swiglu": True}),
        ("dinov3", {"qkv_bias": False}),
        ("ijepa", {}),
        ("vjepa2", {}),
    ],
)
def test_original_weights_give_what_the_papers_say(kind, more):
    """Names, fused tensors and their order, position resizing, rotations, masks of biases: all at once."""
    torch.manual_seed(2)
    family = FAMILIES[kind]
    config = family.Config(**{**family.tiny().model_dump(), **more})
    state = under(family.random_checkpoint(config), "encoder.")
    original = encoder_part(state)
    for name, tensor in original.items():
        if name.endswith("bias_mask"):
            tensor[: config.hidden_size // 2] = 0.5  # q, k, v in this order; k is 0 as published
            tensor[-5:] = 0.0
    encoder = tokens_encoder(kind, family._settings(config))
    load_tokens(encoder, original)
    pixels = pixels_of(config.image_size)
    expected = patch_tokens(kind, original, pixels, config.heads, 1e-5 if kind == "dinov3" else 1e-6)
    with torch.no_grad():
        torch.testing.assert_close(encoder(pixels), expected, atol=2e-5, rtol=0)


def test_both_resizes_of_positions_differ():
    """The hub's scale of (side + 0.1) / n is visible: a predictor trained on one is not given the other."""
    torch.manual_seed(3)
    config = dinov2.tiny()
    original = under(dinov2.random_checkpoint(config), "encoder.")
    converted = from_original("dinov2", original)
    found = []
    for state in (original, converted):
        encoder = tokens_encoder("dinov2", dinov2._settings(config))
        load_tokens(encoder, state)
        found.append(encoder(pixels_of(config.image_size)))
    assert (found[0] - found[1]).abs().max() > 1e-3


def test_stored_periods_are_used():
    """DINOv3's files hold them rounded to bfloat16: not what the formula gives, but what the model was trained with."""
    torch.manual_seed(4)
    config = dinov3.tiny()
    state = under(dinov3.random_checkpoint(config), "encoder.")
    rounded = state["rope_embed.periods"].float()
    exact = 100.0 ** (torch.arange(3) / 3)
    assert 1e-4 < (rounded - exact).abs().max() < 0.05 * exact.max()
    encoder = tokens_encoder("dinov3", dinov3._settings(config))
    load_tokens(encoder, state)
    first, period = -1 + 1 / 4, rounded[1].item()  # centre of the first of four patches
    assert encoder.model.rope_embeddings.cos[0, 1] == pytest.approx(math.cos(2 * math.pi * first / period), abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("dinov2", {}),
        ("dinov2", {"num_register_tokens": 4}),
        ("dinov2", {"use_swiglu_ffn": True}),
        ("dinov3", {}),
        ("ijepa", {}),
        ("vjepa2", {}),
    ],
)
def test_a_folder_that_transformers_saved_is_read(tmp_path, kind, more):
    """Its files keep the names from before its version 5, as those on the model hub do; V-JEPA 2's has a predictor."""
    theirs = transformers_model(kind, **more)
    theirs.save_pretrained(tmp_path)
    saved = read_checkpoint(tmp_path)
    assert kind == "vjepa2" or saved.keys() != theirs.state_dict().keys()
    ours = tokens_encoder(kind, {**SETTINGS[kind], **more})
    load_tokens(ours, saved)
    loaded = theirs.encoder if kind == "vjepa2" else theirs
    for name, tensor in ours.model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name


def training_checkpoint():
    """As ijepa's and vjepa2's trainings save them: several encoders, wrapped, and an optimiser."""
    config = ijepa.tiny()
    state = {}
    for seed, part in enumerate(("encoder", "target_encoder")):
        torch.manual_seed(seed)
        encoder = under(ijepa.random_checkpoint(config), "encoder.target_encoder.")
        state |= {f"{part}.module.{name}": tensor for name, tensor in encoder.items()}
    return {**state, "opt.state.0.exp_avg": torch.ones(3), "predictor.module.mask_token": torch.ones(1, 1, 4)}


def test_the_part_asked_for_is_taken_from_a_training_checkpoint():
    state = training_checkpoint()
    for part in ("encoder", "target_encoder"):
        encoder = tokens_encoder("ijepa", ijepa._settings(ijepa.tiny()))
        load_tokens(encoder, state, part=part)
        assert torch.equal(encoder.model.layernorm.weight, state[f"{part}.module.norm.weight"])
    with pytest.raises(BundleError, match="holds encoder, target_encoder, and none of them is teacher"):
        load_tokens(tokens_encoder("ijepa", ijepa._settings(ijepa.tiny())), state, part="teacher")


def test_chunked_blocks_and_heads_of_dinov2s_training():
    """`teacher_checkpoint.pth`: blocks in chunks that count through, and heads that are not of the encoder."""
    torch.manual_seed(5)
    config = dinov2.tiny()
    plain = under(dinov2.random_checkpoint(config), "encoder.")
    chunked = {
        "teacher.backbone." + re.sub(r"^blocks\.(\d)\.", r"blocks.\1.\1.", name): tensor
        for name, tensor in plain.items()
    }
    chunked["teacher.dino_head.last_layer.weight_v"] = torch.ones(2, 2)
    first, second = (tokens_encoder("dinov2", dinov2._settings(config)) for _ in range(2))
    load_tokens(first, plain)
    load_tokens(second, chunked)
    assert torch.equal(first(pixels_of(56)), second(pixels_of(56)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("blocks.1.norm2.bias"), r"lacks blocks\.1\.norm2\.bias \[24\]"),
        (lambda s: s.update({"blocks.0.attn.qkv.weight": torch.ones(72, 20)}),
         r"blocks\.0\.attn\.qkv\.weight \(q_proj\) is \[24, 20\] in the checkpoint and \[24, 24\]"),
        (lambda s: s.update({"blocks.0.adapter.weight": torch.ones(2)}),
         r"has blocks\.0\.adapter\.weight \[2\], which this model has no place for"),
        (lambda s: s.update({"pos_embed": torch.ones(1, 12, 24)}), r"pos_embed is \[1, 12, 24\].*\[1, 17, 24\]"),
    ],
)  # fmt: skip
def test_wrong_tensors_are_named(change, message):
    state = under(dinov2.random_checkpoint(dinov2.tiny()), "encoder.")
    change(state)
    with pytest.raises(BundleError, match=message):
        load_tokens(tokens_encoder("dinov2", dinov2._settings(dinov2.tiny())), state)


def test_wrong_settings_are_named():
    with pytest.raises(BundleError, match="hiden_size is no setting of Dinov2Config"):
        tokens_encoder("dinov2", {"hiden_size": 24})
    with pytest.raises(BundleError, match="patches of 14 pixels do not fill an image of 40 pixels"):
        tokens_encoder("dinov2", {**SETTINGS["dinov2"], "image_size": 40})
