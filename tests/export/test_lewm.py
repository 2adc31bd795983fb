"""LeWM against slow rewritings of its paper and, where it is installed, torch-world's class; names both ways."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F  # noqa: N812 (torch's own name for it)

from jepa_ros.errors import BundleError
from jepa_ros_export import lewm

pytestmark = pytest.mark.families


@pytest.fixture(scope="module")
def config():
    return lewm.tiny()


@pytest.fixture(scope="module")
def state(config):
    torch.manual_seed(0)
    return lewm.random_checkpoint(config)


@pytest.fixture(scope="module")
def parts(state, config):
    return lewm.build(state, config)


def blocks(config, batch, steps, seed=1):
    """Latents and action blocks within the bounds."""
    generator = torch.Generator().manual_seed(seed)
    low, high = (torch.tensor(bound).repeat(config.action.block) for bound in (config.action.low, config.action.high))
    share = torch.rand(batch, steps, len(low), generator=generator)
    return torch.randn(batch, steps, config.latent, generator=generator), low + share * (high - low)


def projected(state, name, x):
    """Linear, batch normalisation by the formula, GELU, linear."""
    part = {key.removeprefix(f"{name}.net."): value for key, value in state.items() if key.startswith(name)}
    x = x @ part["0.weight"].T + part["0.bias"]
    x = (x - part["1.running_mean"]) / (part["1.running_var"] + 1e-5).sqrt() * part["1.weight"] + part["1.bias"]
    return F.gelu(x) @ part["3.weight"].T + part["3.bias"]


def encoded(state, image, patch, heads):
    """A pre-norm vision transformer step by step, from the published names. `[h, w, 3]` → `[D]`."""

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-12)

    pixels = (image.permute(2, 0, 1) / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    kernel = state["encoder.embeddings.patch_embeddings.projection.weight"]
    bias = state["encoder.embeddings.patch_embeddings.projection.bias"]
    tokens = [
        (kernel * pixels[:, y : y + patch, x : x + patch]).sum((1, 2, 3)) + bias
        for y in range(0, pixels.shape[1], patch)
        for x in range(0, pixels.shape[2], patch)
    ]
    x = torch.stack([state["encoder.embeddings.cls_token"][0, 0], *tokens])
    x = x + state["encoder.embeddings.position_embeddings"][0]
    depth = 1 + max(int(name.split(".")[3]) for name in state if name.startswith("encoder.encoder.layer."))
    for layer in (f"encoder.encoder.layer.{i}" for i in range(depth)):
        y = norm(x, f"{layer}.layernorm_before")
        q, k, v = (
            linear(y, f"{layer}.attention.attention.{part}").chunk(heads, -1) for part in ("query", "key", "value")
        )
        looked = [(q[i] @ k[i].T / q[i].shape[1] ** 0.5).softmax(-1) @ v[i] for i in range(heads)]
        x = x + linear(torch.cat(looked, -1), f"{layer}.attention.output.dense")
        y = F.gelu(linear(norm(x, f"{layer}.layernorm_after"), f"{layer}.intermediate.dense"))
        x = x + linear(y, f"{layer}.output.dense")
    return projected(state, "projector", norm(x, "encoder.layernorm")[0])


def test_the_encoder_is_the_published_vit_class_token_and_projector(state, config, parts):
    images = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    expected = torch.stack([encoded(state, image, config.patch_size, config.encoder_heads) for image in images])
    np.testing.assert_allclose(parts.encoder(images), expected, atol=2e-6)
    assert (expected[0] - expected[1]).abs().max() > 0.1, "the tiny encoder sees its image"


def test_the_predictor_is_torch_worlds_with_the_originals_second_normalisations(state, config, parts):
    torch_world = pytest.importorskip("torch_world.models.jepa._lewm", reason="torch-world is for this test only")

    class Normed(torch.nn.Module):
        """What the original has in each branch and torch-world has not: LayerNorm before the branch."""

        def __init__(self, branch, prefix):
            super().__init__()
            self.branch, self.weights = branch, (state[f"{prefix}.weight"], state[f"{prefix}.bias"])

        def forward(self, x, *rest):
            return self.branch(F.layer_norm(x, x.shape[-1:], *self.weights), *rest)

    size = len(config.action.names) * config.action.block
    other = torch_world.LeWM(
        torch.nn.Identity(), size, config.latent, config.context, config.depth, config.heads, config.head_dim,
        config.mlp_dim, config.projector_dim,
    ).eval()  # fmt: skip
    width = config.action_scale * config.latent
    other.action_encoder = torch.nn.Sequential(
        torch.nn.Linear(size, config.action_hidden),
        torch.nn.Linear(config.action_hidden, width),
        torch.nn.SiLU(),
        torch.nn.Linear(width, config.latent),
    )
    renamed = {
        "pos_embed": "predictor.pos_embedding",
        "predictor.norm.weight": "predictor.transformer.norm.weight",
        "predictor.norm.bias": "predictor.transformer.norm.bias",
    }
    for kind in ("weight", "bias"):
        renamed[f"action_encoder.0.{kind}"] = f"action_encoder.patch_embed.{kind}"
        renamed |= {f"action_encoder.{i}.{kind}": f"action_encoder.embed.{i - 1}.{kind}" for i in (1, 3)}
        for i in range(config.depth):
            own, its = f"predictor.transformer.layers.{i}", f"predictor.blocks.{i}"
            renamed |= {
                f"{its}.attn.qkv.{kind}": f"{own}.attn.to_qkv.{kind}",
                f"{its}.attn.proj.{kind}": f"{own}.attn.to_out.0.{kind}",
                f"{its}.mlp.0.{kind}": f"{own}.mlp.net.1.{kind}",
                f"{its}.mlp.3.{kind}": f"{own}.mlp.net.4.{kind}",
                f"{its}.modulation.1.{kind}": f"{own}.adaLN_modulation.1.{kind}",
            }
    weights = other.state_dict()
    for its in [name for name in weights if name.startswith(("pos_embed", "predictor", "action_encoder", "pred_proj"))]:
        own = renamed.get(its, its.replace("pred_proj.", "pred_proj.net."))
        found = state[own] if own in state else torch.zeros_like(weights[its])
        assert own in state or its.endswith("qkv.bias"), its
        weights[its] = found.reshape(weights[its].shape)
    other.load_state_dict(weights)
    other.predictor.norm.eps = 1e-5
    for i, block in enumerate(other.predictor.blocks):
        block.attn = Normed(block.attn, f"predictor.transformer.layers.{i}.attn.norm")
        block.mlp = Normed(block.mlp, f"predictor.transformer.layers.{i}.mlp.net.0")
    latent, action = blocks(config, 4, 3)
    standard = (action.view(4, 3, 5, 2) - torch.tensor(config.action_mean)) / torch.tensor(config.action_std)
    with torch.no_grad():
        expected = other.predict(latent, standard.flatten(2))
    np.testing.assert_allclose(parts.predictor(latent, action), expected, atol=5e-6)


def test_what_comes_later_changes_nothing_before(config, parts):
    latent, action = blocks(config, 2, 3)
    whole = parts.predictor(latent, action)
    for known in (1, 2):
        short = parts.predictor(latent[:, :known], action[:, :known])
        np.testing.assert_allclose(short, whole[:, :known], atol=1e-6)
    for changed in (latent.clone(), action.clone()):
        # Not the same for each element: the normalisations take away what is.
        changed[:, 2] += torch.arange(changed.shape[-1]) / 4
        given = (changed, action) if changed.shape == latent.shape else (latent, changed)
        np.testing.assert_allclose(parts.predictor(*given)[:, :2], whole[:, :2], atol=1e-6)
        assert (parts.predictor(*given)[:, 2] - whole[:, 2]).abs().max() > 0.01


def test_each_earlier_step_is_used(config, parts):
    latent, action = blocks(config, 2, 3)
    last = parts.predictor(latent, action)[:, -1]
    for step in (0, 1):
        for which in (0, 1):
            changed = [latent.clone(), action.clone()]
            changed[which][:, step] += torch.arange(changed[which].shape[-1]) / 4
            assert (parts.predictor(*changed)[:, -1] - last).abs().max() > 1e-3, (step, which)


def test_each_environment_action_of_a_block_is_z_scored_by_component(state, config, parts):
    latent, action = blocks(config, 3, 2)
    plain = lewm.build(state, config.model_copy(update={"action_mean": [0.0, 0.0], "action_std": [1.0, 1.0]}))
    standard = action.clone()
    for i in range(5):  # vx and wz of each of the block's actions
        standard[..., 2 * i] = (action[..., 2 * i] - 0.1) / 0.25
        standard[..., 2 * i + 1] = action[..., 2 * i + 1] / 0.45
    np.testing.assert_allclose(parts.predictor(latent, action), plain.predictor(latent, standard), atol=1e-6)
    assert (plain.predictor(latent, action) - plain.predictor(latent, standard)).abs().max() > 0.01


def test_the_names_since_transformers_5_and_training_wrappers_give_the_same_model(state, config, parts):
    latent, action = blocks(config, 1, 3)
    image = torch.full((1, 16, 16, 3), 90, dtype=torch.uint8)
    own = lewm.Whole(config)
    own.load_state_dict({lewm._renamed(name): tensor for name, tensor in state.items()})
    lightning = {f"state_dict.model.{name}": tensor for name, tensor in state.items()}
    lightning |= {"state_dict.sigreg.t": torch.zeros(17), "optimizer_states.0.state.0.exp_avg": torch.zeros(3)}
    compiled = {f"model._orig_mod.{name}": tensor for name, tensor in state.items()}
    for given in (own.state_dict(), lightning, compiled):
        other = lewm.build(given, config)
        assert torch.equal(other.encoder(image), parts.encoder(image))
        assert torch.equal(other.predictor(latent, action), parts.predictor(latent, action))


def test_every_tensor_of_a_checkpoint_is_used(state, config, parts):
    """Changing any changes the model's output, but for a key's bias, which softmax takes away, and a counter."""
    image = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
    latent, action = blocks(config, 2, 3)

    def says(model):
        return torch.cat([model.encoder(image).flatten(), model.predictor(latent, action).flatten()])

    before = says(parts)
    for name, tensor in state.items():
        if name.endswith(("key.bias", "num_batches_tracked")):
            continue
        changed = tensor + torch.rand(tensor.shape, generator=torch.Generator().manual_seed(6))
        assert not torch.allclose(says(lewm.build({**state, name: changed}, config)), before, atol=1e-5), name


def test_published_sizes_are_the_defaults():
    published = lewm.Config()
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in lewm.Whole(published).state_dict().items()}
    assert len(shapes) == 303, "as many tensors as quentinll/lewm-pusht's weights.pt has"
    assert shapes["encoder.embeddings.position_embeddings"] == (1, 16 * 16 + 1, 192)
    assert shapes["predictor.pos_embedding"] == (1, 3, 192)
    assert shapes["predictor.transformer.layers.5.attn.to_qkv.weight"] == (3 * 16 * 64, 192)
    assert shapes["action_encoder.patch_embed.weight"] == (10, 10, 1)
    assert shapes["pred_proj.net.0.weight"] == (2048, 192)
    assert "predictor.transformer.layers.6.attn.to_qkv.weight" not in shapes
    assert "encoder.layers.12.mlp.fc1.weight" not in shapes


def test_the_manifest_plans_as_the_original_does(parts, config):
    manifest = parts.manifest
    planner, cost = manifest.planner, manifest.cost[0]
    assert (planner.name, planner.samples, planner.iterations, planner.elites, planner.horizon) == (
        "cem",
        300,
        30,
        30,
        5,
    )
    assert (planner.knot, planner.min_std, planner.momentum) == (1, 0, 0)
    assert planner.std == pytest.approx((0.25 / 0.5 + 0.45 / 0.9) / 2), "a deviation of 1 in z-scored actions"
    assert (cost.source, cost.metric, cost.reduction, cost.steps) == ("latent", "l2", "sum", "last")
    assert (manifest.timing.history_min, manifest.timing.history_max, manifest.timing.warm_up) == (1, 3, "grow")
    assert (manifest.predictor.output, manifest.predictor.causal, manifest.predictor.sliding) == (
        "sequence",
        True,
        True,
    )
    assert manifest.action_size == 10


def test_a_fixed_component_does_not_widen_the_search(config, state):
    action = config.action.model_copy(update={"fixed": {"wz": 0.0}, "high": [0.6, 9.0]})
    assert lewm.build(state, config.model_copy(update={"action": action})).manifest.planner.std == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"predictor.pos_embedding": None}, r"lacks predictor\.pos_embedding \[1, 3, 8\]"),
        (
            {"encoder.encoder.layer.1.output.dense.bias": None},
            r"lacks encoder\.encoder\.layer\.1\.output\.dense\.bias \[12\]",
        ),
        ({"pred_proj.net.1.running_mean": None}, r"lacks pred_proj\.net\.1\.running_mean \[16\]"),
        ({"decoder.weight": torch.zeros(2)}, r"has decoder\.weight \[2\], which this model has no place for"),
        (
            {"encoder.encoder.layer.0.intermediate.dense.bias": torch.zeros(5)},
            r"encoder\.encoder\.layer\.0\.intermediate\.dense\.bias is \[5\] in the checkpoint and \[48\] in the model",
        ),
        (
            {"action_encoder.patch_embed.weight": torch.zeros(5, 4, 1)},
            r"action_encoder\.patch_embed\.weight is \[5, 4, 1\] in the checkpoint and \[5, 10, 1\]",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(state, config, change, says):
    given = {name: tensor for name, tensor in {**state, **change}.items() if tensor is not None}
    with pytest.raises(BundleError, match=says):
        lewm.build(given, config)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"action_mean": [0.0]}, "action_mean has 1 entries"),
        ({"action_std": [1.0, 0.0]}, "action_std must be above 0"),
        ({"image_size": 18}, "image_size 18 must be a multiple of patch_size 4"),
        ({"encoder_heads": 5}, "encoder_dim 12 must be a multiple of encoder_heads 5"),
        ({"history": 4}, "history 4 must not be above context 3"),
    ],
)
def test_settings_that_do_not_fit_are_refused(config, change, says):
    with pytest.raises(ValidationError, match=says):
        lewm.Config(**{**config.model_dump(), **change})


def test_an_action_of_ones_own_needs_statistics_of_ones_own(config):
    given = {name: value for name, value in config.model_dump().items() if name != "action_std"}
    with pytest.raises(ValidationError, match="action_std is missing: action is given"):
        lewm.Config(**given)
