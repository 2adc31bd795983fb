"""V-JEPA 2-AC against transformers' V-JEPA 2, and against the paper's formulas written out token by token."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from jepa_ros.errors import BundleError
from jepa_ros_export import vjepa2_ac
from jepa_ros_export.rope import Rope3D
from jepa_ros_export.vjepa2_ac_pose import move

pytestmark = pytest.mark.families
CONFIG = vjepa2_ac.tiny()
PATCHES, WIDTH = 9, CONFIG.encoder_width


@pytest.fixture(scope="module")
def checkpoint():
    torch.manual_seed(0)
    return vjepa2_ac.random_checkpoint(CONFIG)


@pytest.fixture(scope="module")
def parts(checkpoint):
    return vjepa2_ac.build(checkpoint, CONFIG)


@pytest.fixture
def history():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, 3, *shape, generator=generator) for shape in ((PATCHES, WIDTH), (7,), (7,))]


def of_numpy(state, prefix):
    return {key.removeprefix(prefix): value.double().numpy() for key, value in state.items() if key.startswith(prefix)}


# The encoder


def test_the_encoder_says_what_transformers_says(checkpoint, parts):
    """The published ViT is in transformers too, with queries, keys and values in layers of their own."""
    from transformers import VJEPA2Config, VJEPA2Model

    theirs = VJEPA2Model(
        VJEPA2Config(
            crop_size=CONFIG.image,
            patch_size=CONFIG.patch,
            frames_per_clip=2,
            tubelet_size=2,
            hidden_size=WIDTH,
            num_hidden_layers=CONFIG.encoder_depth,
            num_attention_heads=CONFIG.encoder_heads,
            mlp_ratio=CONFIG.encoder_mlp / WIDTH,
            pred_hidden_size=12,
            pred_num_attention_heads=1,
            pred_num_hidden_layers=1,
        )
    ).eval()
    state = {}
    for key, value in checkpoint.items():
        if not key.startswith("encoder."):
            continue
        name = key.removeprefix("encoder.module.backbone.")
        if ".attn.qkv." in name:
            for part, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                state[name.replace("blocks", "layer").replace("attn.qkv", f"attention.{part}")] = third
        elif name.startswith("patch_embed"):
            state[name.replace("patch_embed", "embeddings.patch_embeddings")] = value
        else:
            new = name.replace("blocks", "layer").replace("attn", "attention")
            state[new.replace("norm.", "layernorm.") if name.startswith("norm.") else new] = value
    theirs.encoder.load_state_dict(state)
    image = torch.randint(0, 256, (3, CONFIG.image, CONFIG.image, 3), dtype=torch.uint8)
    # As the original's transform: pixels stay in 0 to 255, and the statistics are multiplied instead.
    mean, std = (255 * torch.tensor(values) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    frame = ((image.float() - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        found = theirs(torch.stack([frame, frame], 1), skip_predictor=True).last_hidden_state
        latent, pose = parts.encoder(image, torch.full((3, 7), 0.5))
    expected = (found - found.mean(-1, keepdim=True)) / (found.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    np.testing.assert_allclose(latent, expected, atol=2e-5)
    assert (pose == 0.5).all()


# The predictor


def norm(x, weight=1.0, bias=0.0, eps=1e-5):
    return (x - x.mean()) / math.sqrt(x.var() + eps) * weight + bias


def turned(x, place):
    """`[heads, d]` of one token, turned."""
    return Rope3D(torch.tensor([place]), x.shape[-1])(torch.from_numpy(x)[:, None])[:, 0].double().numpy()


def slow_prediction(state, latent, pose, action):
    """The last step's prediction of one sequence, `[T, N, D]`, `[T, 7]`, `[T, 7]`: a token at a time, in double."""

    def linear(x, name):
        return state[f"{name}.weight"] @ x + state[f"{name}.bias"]

    def normed(x, name):
        return norm(x, state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    erf = np.vectorize(math.erf)
    heads, side = CONFIG.predictor_heads, CONFIG.side
    tokens, places = [], []
    for step in range(len(latent)):
        tokens += [linear(action[step], "action_encoder"), linear(pose[step], "state_encoder")]
        tokens += [linear(patch, "predictor_embed") for patch in latent[step]]
        places += [(step, 0, 0)] * 2 + [(step, row, column) for row in range(side) for column in range(side)]
    for layer in range(CONFIG.predictor_depth):
        block = f"predictor_blocks.{layer}"
        qkv = [linear(normed(x, f"{block}.norm1"), f"{block}.attn.qkv").reshape(3, heads, -1) for x in tokens]
        q = [turned(part[0], place) for part, place in zip(qkv, places, strict=True)]
        k = [turned(part[1], place) for part, place in zip(qkv, places, strict=True)]
        attended = []
        for row, place in enumerate(places):
            seen = [other for other, there in enumerate(places) if there[0] <= place[0]]
            heard = []
            for head in range(heads):
                score = np.array([q[row][head] @ k[other][head] for other in seen]) / math.sqrt(q[row].shape[-1])
                weight = np.exp(score - score.max())
                heard.append(sum(w * qkv[other][2][head] for w, other in zip(weight / weight.sum(), seen, strict=True)))
            attended.append(linear(np.concatenate(heard), f"{block}.attn.proj"))
        tokens = [x + y for x, y in zip(tokens, attended, strict=True)]
        for row, x in enumerate(tokens):
            hidden = linear(normed(x, f"{block}.norm2"), f"{block}.mlp.fc1")
            tokens[row] = x + linear(hidden * (1 + erf(hidden / math.sqrt(2))) / 2, f"{block}.mlp.fc2")
    return np.stack([norm(linear(normed(x, "predictor_norm"), "predictor_proj")) for x in tokens[-side * side :]])


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_predictor_is_the_papers(checkpoint, parts, history, steps):
    latent, pose, action = (tensor[:1, :steps] for tensor in history)
    with torch.no_grad():
        found, moved = parts.predictor(latent, pose, action)
    state = of_numpy(checkpoint, "predictor.module.")
    expected = slow_prediction(state, *(tensor[0].double().numpy() for tensor in (latent, pose, action)))
    np.testing.assert_allclose(found[0, -1], expected, atol=2e-5)
    np.testing.assert_allclose(moved, move(pose, action))


def test_a_step_is_predicted_from_itself_and_what_was_before_it(parts, history):
    with torch.no_grad():
        whole = parts.predictor(*history)
        for steps in (1, 2):
            grown = parts.predictor(*(tensor[:, :steps] for tensor in history))
            for part, all_of_it in zip(grown, whole, strict=True):
                np.testing.assert_allclose(part, all_of_it[:, :steps], atol=1e-6)
        for which in range(3):
            changed = [tensor.clone() for tensor in history]
            changed[which][:, 1:] += 1.0
            later = parts.predictor(*changed)
            assert torch.equal(later[0][:, 0], whole[0][:, 0])
            # … and what is before it is used: the second step changes, and the third through the second.
            assert (later[0][:, 1:] - whole[0][:, 1:]).abs().amax((0, 2, 3)).min() > 1e-3


def test_poses_and_actions_stay_in_si_units_and_are_scaled_inside(checkpoint, history):
    mean, std = [0.1 * i for i in range(7)], [1.0 + i for i in range(7)]
    scaled = vjepa2_ac.build(
        checkpoint,
        CONFIG.model_copy(update={"action_mean": mean, "action_std": std, "proprio_mean": std, "proprio_std": std}),
    )
    plain = vjepa2_ac.build(checkpoint, CONFIG)
    latent, pose, action = history
    mean, std = torch.tensor(mean), torch.tensor(std)
    with torch.no_grad():
        expected, _ = plain.predictor(latent, (pose - std) / std, (action - mean) / std)
        found, moved = scaled.predictor(latent, pose, action)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(moved, move(pose, action))


# Checkpoints and settings


def test_every_key_of_a_checkpoint_is_used_but_the_camera_pose(checkpoint, parts):
    modules = {"encoder.module.backbone.": parts.encoder, "predictor.module.": parts.predictor}
    for key, tensor in checkpoint.items():
        prefix = next(prefix for prefix in modules if key.startswith(prefix))
        name = key.removeprefix(prefix)
        if "extrinsics" not in name:
            assert torch.equal(modules[prefix].state_dict()[name], tensor), key
    assert sum("extrinsics" in key for key in checkpoint) == 2
    filled = sum(len(module.state_dict()) for module in modules.values())
    assert filled == len(checkpoint) - 2


def test_what_training_adds_to_a_checkpoint_and_wrappers_are_left_out(checkpoint, parts, history):
    extra = {"opt.state.0.exp_avg": torch.zeros(2), "encoder.module.backbone.pos_embed": torch.zeros(1, 9, WIDTH)}
    extra["target_encoder.module.backbone.norm.bias"] = torch.zeros(WIDTH)
    bare = {key.replace("module.", "").replace("backbone.", ""): tensor for key, tensor in checkpoint.items()}
    for state in ({**checkpoint, **extra}, bare):
        again = vjepa2_ac.build(state, CONFIG)
        with torch.no_grad():
            assert torch.equal(again.predictor(*history)[0], parts.predictor(*history)[0])
        assert torch.equal(again.encoder.norm.bias, parts.encoder.norm.bias)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"predictor_depth": 3}, r"predictor: the checkpoint lacks predictor_blocks\.2\.norm1\.weight \[28\]"),
        ({"encoder_depth": 1}, r"encoder: the checkpoint has blocks\.1\.norm1\.weight \[24\], which this model has no"),
        ({"encoder_mlp": 40}, r"blocks\.0\.mlp\.fc1\.weight is \[32, 24\] in the checkpoint and \[40, 24\] in the"),
        ({"tubelet": 1}, r"patch_embed\.proj\.weight is \[24, 3, 2, 8, 8\] in the checkpoint and \[24, 3, 1, 8, 8\]"),
    ],
)
def test_a_checkpoint_of_another_size_is_refused_with_both_sizes(checkpoint, change, says):
    with pytest.raises(BundleError, match=says):
        vjepa2_ac.build(checkpoint, CONFIG.model_copy(update=change))


def test_a_tensor_of_another_model_is_refused(checkpoint):
    with pytest.raises(BundleError, match=r"decoder\.weight \[2, 3\], which belongs neither"):
        vjepa2_ac.build({**checkpoint, "decoder.weight": torch.zeros(2, 3)}, CONFIG)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"history": 3}, "history 3 must not be above max_context 2"),
        ({"image": 250}, "image 250 must be a multiple of patch 16"),
        ({"predictor_heads": 5}, "predictor_width 1024 must be an even number of channels for each of 5 heads"),
        ({"action": {"names": ["dx"], "units": ["m"], "low": [-1], "high": [1]}}, "must be the 7 numbers x, y, z"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change, says):
    with pytest.raises(ValidationError, match=says):
        vjepa2_ac.Config(**change)


def test_the_defaults_are_the_published_models():
    config = vjepa2_ac.Config()
    with torch.device("meta"):
        sizes = {"encoder": vjepa2_ac._encoder(config), "predictor": vjepa2_ac._predictor(config)}
    count = {name: sum(p.numel() for p in module.parameters()) for name, module in sizes.items()}
    # The paper: ViT-g of 1 B parameters, a predictor of about 300 M. A block of width w and MLP m has 4 w² + 2 w m
    # weights, 9 w + m biases and norms; then patches, conditions, embedding, last norm, projection.
    blocks = [40 * (4 * 1408**2 + 2 * 1408 * 6144 + 9 * 1408 + 6144), 24 * (12 * 1024**2 + 13 * 1024)]
    assert count["encoder"] == blocks[0] + 1408 * (3 * 2 * 16 * 16 + 1) + 2 * 1408
    assert count["predictor"] == blocks[1] + 2 * 1024 * 8 + 1024 * 1409 + 2 * 1024 + 1408 * 1025
    assert config.action.fixed == {"droll": 0.0, "dpitch": 0.0, "dyaw": 0.0}
    assert [*config.action.high[:3], config.action.high[6]] == [0.05, 0.05, 0.05, 0.75]


def test_the_manifest_says_what_the_model_takes(parts):
    manifest = parts.manifest
    assert [(tensor.name, tensor.shape, tensor.role) for tensor in manifest.state] == [
        ("latent", (9, 24), "latent"),
        ("pose", (7,), "proprio"),
    ]
    assert (manifest.predictor.output, manifest.predictor.max_context, manifest.timing.warm_up) == (
        "sequence",
        3,
        "grow",
    )
    assert (manifest.camera.resize, manifest.camera.interpolation, manifest.camera.antialias) == (
        "center_crop",
        "linear",
        False,
    )
