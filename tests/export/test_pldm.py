"""PLDM, names and the vector: against PyTorch's own layers and formulas written out here; what is refused."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional

from jepa_ros.bundle.manifest import ActionSpec
from jepa_ros.errors import BundleError
from jepa_ros_export import pldm

from .tiny_pldm import ROOT, frames, made, outputs, tiny_map

pytestmark = pytest.mark.families

# Names and shapes.


def test_the_published_model_has_the_originals_names_and_shapes():
    state = pldm.random_checkpoint(pldm.Config(normalize=False))
    shapes = {name.removeprefix(ROOT): tuple(tensor.shape) for name, tensor in state.items()}
    assert all(name.startswith(ROOT) for name in state)
    expected = {
        "backbone.mlp.weight": (512, 2592),
        "backbone.mlp.bias": (512,),
        "predictor.rnn.weight_ih_l0": (1536, 2),
        "predictor.rnn.weight_hh_l0": (1536, 512),
        "predictor.rnn.bias_ih_l0": (1536,),
        "predictor.rnn.bias_hh_l0": (1536,),
    }
    for part in ("backbone", "predictor"):
        expected |= {f"{part}.final_ln.weight": (512,), f"{part}.final_ln.bias": (512,)}
    for stack, (before, width) in enumerate(((2, 16), (16, 32), (32, 32))):
        place = f"backbone.stack_blocks.{stack}"
        expected[f"{place}.initial_conv.weight"] = (width, before, 3, 3)
        expected[f"{place}.initial_conv.bias"] = (width,)
        for block in range(2):
            for conv in ("conv1", "conv2"):
                expected[f"{place}.blocks.{block}.{conv}.weight"] = (width, width, 3, 3)
                expected[f"{place}.blocks.{block}.{conv}.bias"] = (width,)
    assert shapes == expected


@pytest.mark.parametrize(
    "config",
    [pldm.tiny(), tiny_map(), tiny_map(**dict.fromkeys(["pixel_mean", "action_std", "proprio_mean"]))],
    ids=["vector", "map", "map with a normalizer"],
)
def test_every_tensor_of_a_checkpoint_counts(config):
    torch.manual_seed(0)
    state = pldm.random_checkpoint(config)
    before = outputs(pldm.build(state, config), config)
    for name, tensor in state.items():
        after = outputs(pldm.build({**state, name: tensor + 0.1 * torch.randn_like(tensor)}, config), config)
        assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True)), name


def test_names_that_training_wraps_and_what_a_checkpoint_has_beside_the_model_are_understood():
    config = pldm.tiny()
    torch.manual_seed(0)
    state = pldm.random_checkpoint(config)
    wrapped = {name.replace("dict.", "dict._orig_mod.", 1): tensor for name, tensor in state.items()}
    wrapped["optimizer_state_dict.state.0.exp_avg"] = torch.zeros(3)
    wrapped["model_state_dict._orig_mod.level2.backbone.layers.0.weight"] = torch.zeros(3)
    wrapped["model_state_dict._orig_mod.level1.backbone_ema.mlp.bias"] = torch.zeros(3)
    bare = {name.removeprefix("model_state_dict."): tensor for name, tensor in state.items()}
    expected = outputs(pldm.build(state, config), config)
    for variant in (wrapped, bare):
        for one, other in zip(expected, outputs(pldm.build(variant, config), config), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)


# The vector.


def test_the_vector_is_that_of_its_formula():
    config = pldm.tiny()
    parts, state = made(config)
    image = frames(config)
    x = image.double().permute(0, 3, 1, 2)
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    x = (x - low) / (high - low + 1e-6)
    mean, std = (torch.tensor(v).double().view(1, 2, 1, 1) for v in (config.pixel_mean, config.pixel_std))
    x = (x - mean) / (std + 1e-6)

    def conv(x, place):
        return functional.conv2d(x, state[f"{place}.weight"].double(), state[f"{place}.bias"].double(), padding=1)

    for stack in (f"backbone.stack_blocks.{index}" for index in range(2)):
        x = functional.max_pool2d(conv(x, f"{stack}.initial_conv"), 3, 2, 1)
        inner = conv(functional.relu(conv(x, f"{stack}.blocks.0.conv1")), f"{stack}.blocks.0.conv2")
        x = functional.relu(x + inner)
    x = x.flatten(1) @ state["backbone.mlp.weight"].double().T + state["backbone.mlp.bias"].double()
    x = (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    x = x * state["backbone.final_ln.weight"].double() + state["backbone.final_ln.bias"].double()
    torch.testing.assert_close(parts.encoder(image).double(), x, rtol=1e-4, atol=1e-5)


def test_a_frames_contrast_and_brightness_do_not_matter_but_its_pattern_does():
    config = pldm.tiny()
    parts, _ = made(config)
    image = torch.randint(0, 100, (2, 17, 17, 2), dtype=torch.uint8)
    latent = parts.encoder(image)
    torch.testing.assert_close(parts.encoder(image * 2 + 20), latent, rtol=1e-3, atol=1e-4)
    assert (parts.encoder(image.flip(1)) - latent).abs().max() > 0.01
    assert parts.encoder(torch.zeros_like(image)).isfinite().all()


def test_a_rollout_is_that_of_pytorchs_recurrent_layer():
    config = pldm.tiny().model_copy(update={"layer_norm": False})
    parts, state = made(config)
    reference = torch.nn.GRU(2, 16)
    reference.load_state_dict(
        {name.removeprefix("predictor.rnn."): tensor for name, tensor in state.items() if ".rnn." in name}
    )
    latent, actions = torch.randn(4, 16), torch.randn(5, 4, 2)
    scaled = (actions - torch.tensor(config.action_mean)) / (torch.tensor(config.action_std) + 1e-6)
    expected, _ = reference(scaled, latent[None])
    for step in range(5):
        latent = parts.predictor(latent[:, None], actions[step][:, None])
        torch.testing.assert_close(latent, expected[step], rtol=1e-5, atol=1e-6)


def test_every_predicted_vector_is_normalised():
    parts, state = made(pldm.tiny())
    latent = parts.predictor(100 * torch.randn(4, 1, 16), torch.randn(4, 1, 2))
    plain = (latent - state["predictor.final_ln.bias"]) / state["predictor.final_ln.weight"]
    torch.testing.assert_close(plain.mean(1), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(plain.var(1, unbiased=False), torch.ones(4), rtol=0, atol=1e-3)


def test_a_block_of_actions_is_standardised_component_by_component():
    action = ActionSpec(names=["dx", "dy"], units=["px", "px"], block=2, low=[-1.8, -1.8], high=[1.8, 1.8])
    config = pldm.tiny().model_copy(update={"action": action})
    plain = config.model_copy(update={"normalize": False, "action_mean": None, "action_std": None})
    torch.manual_seed(0)
    state = pldm.random_checkpoint(config)
    assert state[f"{ROOT}predictor.rnn.weight_ih_l0"].shape == (48, 4)
    latent, actions = torch.randn(3, 1, 16), torch.randn(3, 1, 4)
    mean, std = torch.tensor(config.action_mean * 2), torch.tensor(config.action_std * 2)
    expected = pldm.build(state, plain).predictor(latent, (actions - mean) / std)
    torch.testing.assert_close(pldm.build(state, config).predictor(latent, actions), expected, rtol=1e-4, atol=1e-5)


# What is refused.


def without(config, *names):
    return config.model_copy(update=dict.fromkeys(names))


def test_statistics_come_from_the_settings_or_from_what_the_normalizer_saved():
    config = tiny_map()
    names = [f"{kind}_{end}" for kind in ("pixel", "action", "proprio") for end in ("mean", "std")]
    torch.manual_seed(0)
    state = pldm.random_checkpoint(config)
    saved = {
        f"normalizer.{name.replace('pixel', 'state').replace('proprio', 'propio_vel')}": torch.tensor(
            getattr(config, name)
        )
        for name in names
    } | {"normalizer.location_mean": torch.zeros(2)}
    expected = outputs(pldm.build(state, config), config)
    for spelling in ("propio", "proprio"):
        given = {**state, **{name.replace("propio", spelling): tensor for name, tensor in saved.items()}}
        for one, other in zip(expected, outputs(pldm.build(given, without(config, *names)), config), strict=True):
            torch.testing.assert_close(one, other)


def test_statistics_that_nobody_gives_are_asked_for():
    config = pldm.tiny()
    state = pldm.random_checkpoint(config)
    with pytest.raises(BundleError, match="pldm: pixel_std, action_mean must be given with --config"):
        pldm.build(state, without(config, "pixel_std", "action_mean"))
    pldm.build(state, without(config, "pixel_std", "action_mean").model_copy(update={"normalize": False}))
    with pytest.raises(BundleError, match=r"normalizer\.state_std is \[3\] in the checkpoint and \[2\] in the model"):
        pldm.build({**state, "normalizer.state_std": torch.ones(3)}, without(config, "pixel_std"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({f"{ROOT}backbone.mlp.weight": None}, r"lacks backbone\.mlp\.weight \[16, 200\]"),
        ({f"{ROOT}predictor.rnn.weight_ih_l1": torch.zeros(2)}, r"has predictor\.rnn\.weight_ih_l1 \[2\]"),
        ({"model_state_dict.decoder.weight": torch.zeros(2)}, r"has model_state_dict\.decoder\.weight \[2\]"),
        ({f"{ROOT}backbone.mlp.bias": torch.zeros(15)}, r"backbone\.mlp\.bias is \[15\] .* and \[16\]"),
    ],
    ids=["missing", "second layer", "stray", "shape"],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(change, said):
    config = pldm.tiny()
    state = {**pldm.random_checkpoint(config), **change}
    with pytest.raises(BundleError, match=said):
        pldm.build({name: tensor for name, tensor in state.items() if tensor is not None}, config)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"proprio": {"names": ["v"], "units": ["m/s"]}}, "proprio goes with latent: map"),
        ({"pixel_mean": [0.1]}, "pixel_mean has 1 entries for 2 channels"),
        ({"predictor_kernel": 4}, "predictor_kernel must be odd"),
        ({"predictor_widths": [6]}, "multiples of 4"),
    ],
)
def test_settings_that_do_not_fit_one_another_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        pldm.Config(**settings)
