"""EB-JEPA's model of two rooms: against PyTorch's own layers; names of checkpoints; its planner; what is refused."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn

from jepa_ros.errors import BundleError
from jepa_ros_export import eb_jepa, pldm

pytestmark = pytest.mark.families

ROOT = "jepa_state_dict."


def made(config):
    torch.manual_seed(0)
    state = eb_jepa.random_checkpoint(config)
    own = {name.removeprefix(ROOT): tensor for name, tensor in state.items()}
    return eb_jepa.build(state, config), own


def frames(config, count=3):
    return torch.randint(0, 256, (count, config.size, config.size, config.channels), dtype=torch.uint8)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x):
        return torch.relu(x + self.conv2(torch.relu(self.conv1(x))))


def reference_encoder(own):
    """The encoder of the tiny settings, put together from PyTorch's layers, without its scaling."""
    layers = [
        *(nn.Conv2d(2, 4, 3, padding=1), nn.MaxPool2d(3, 2, 1), Block(4)),
        *(nn.Conv2d(4, 8, 3, padding=1), nn.MaxPool2d(3, 2, 1), Block(8)),
        *(nn.ReLU(), nn.Flatten(), nn.Linear(8 * 5 * 5, 16), nn.LayerNorm(16)),
    ]
    places = {
        0: "stack_blocks.0.initial_conv",
        2: "stack_blocks.0.blocks.0",
        3: "stack_blocks.1.initial_conv",
        5: "stack_blocks.1.blocks.0",
        8: "mlp",
        9: "final_ln",
    }
    for index, place in places.items():
        start = f"encoder.{place}."
        layers[index].load_state_dict(
            {name.removeprefix(start): value for name, value in own.items() if name.startswith(start)}
        )
    return nn.Sequential(*layers)


def test_the_published_model_has_the_originals_names_and_shapes():
    state = eb_jepa.random_checkpoint(eb_jepa.Config())
    own = {name.removeprefix(ROOT): tuple(tensor.shape) for name, tensor in state.items()}
    # The networks are PLDM's; only the first one's name differs.
    other = pldm.random_checkpoint(pldm.Config(normalize=False))
    start = "model_state_dict.level1."
    expected = {name.removeprefix(start).replace("backbone", "encoder"): tuple(t.shape) for name, t in other.items()}
    assert own == expected


def test_the_encoder_is_that_of_the_originals_constants_and_layers():
    config = eb_jepa.tiny()
    parts, own = made(config)
    image = frames(config)
    scaled = np.zeros((3, 2, 17, 17))
    for row in range(3):
        for channel, (mean, std) in enumerate(((0.0026, 0.0369), (0.0989, 0.2986))):
            plane = image[row, :, :, channel].numpy().astype(np.float64)
            plane = (plane - plane.min()) / (plane.max() - plane.min() + 1e-6)
            scaled[row, channel] = (plane - mean) / (std + 1e-6)
    expected = reference_encoder(own)(torch.from_numpy(scaled).float())
    torch.testing.assert_close(parts.encoder(image), expected, rtol=1e-4, atol=1e-5)


def test_a_frame_is_scaled_by_itself():
    config = eb_jepa.tiny()
    parts, _ = made(config)
    image = frames(config)
    torch.testing.assert_close(parts.encoder(image)[:1], parts.encoder(image[:1]), rtol=1e-5, atol=1e-5)
    assert parts.encoder(torch.full_like(image, 200)).isfinite().all()


def test_a_rollout_is_the_recurrent_layers_with_its_norm_after_every_step():
    parts, own = made(eb_jepa.tiny())
    cell, norm = nn.GRUCell(2, 16), nn.LayerNorm(16)
    cell.load_state_dict({name[:-3].removeprefix("predictor.rnn."): own[name] for name in own if ".rnn." in name})
    norm.load_state_dict({end: own[f"predictor.final_ln.{end}"] for end in ("weight", "bias")})
    latent = hidden = torch.randn(4, 16)
    for action in torch.randn(6, 4, 2):
        latent = parts.predictor(latent[:, None], action[:, None])
        hidden = norm(cell(action, hidden))
        torch.testing.assert_close(latent, hidden, rtol=1e-5, atol=1e-5)


def test_every_tensor_of_a_checkpoint_counts():
    config = eb_jepa.tiny()
    torch.manual_seed(0)
    state = eb_jepa.random_checkpoint(config)
    image, action = frames(config), torch.randn(3, 1, 2)

    def said(state):
        parts = eb_jepa.build(state, config)
        latent = parts.encoder(image)
        return torch.cat([latent, parts.predictor(latent[:, None].detach(), action)])

    before = said(state)
    for name, tensor in state.items():
        assert not torch.equal(before, said({**state, name: tensor + 0.1 * torch.randn_like(tensor)})), name


def test_names_of_a_compiled_model_and_what_is_saved_beside_it_are_understood():
    config = eb_jepa.tiny()
    torch.manual_seed(0)
    state = eb_jepa.random_checkpoint(config)
    saved = {name.replace(ROOT, f"{ROOT}_orig_mod."): tensor for name, tensor in state.items()}
    saved[f"{ROOT}_orig_mod.regularizer.idm_loss_fn.idm.model.0.weight"] = torch.zeros(256, 32)
    saved[f"{ROOT}_orig_mod.regularizer.projector.net.0.weight"] = torch.zeros(64, 16)
    saved["xy_head_state_dict.mlp.0.weight"] = torch.zeros(512, 16)
    saved["jepa_optimizer_state_dict.state.0.exp_avg"] = torch.zeros(3)
    image = frames(config)
    one, other = (eb_jepa.build(form, config).encoder(image) for form in (state, saved))
    assert torch.equal(one, other)
    eb_jepa.build({name.removeprefix(ROOT): tensor for name, tensor in state.items()}, config)


def test_the_elites_weigh_as_in_the_original_which_multiplies_by_its_temperature():
    """The original's weights, exp(0.005 · (least − energy)), from the manifest's temperature, which divides."""
    planner = eb_jepa.build(eb_jepa.random_checkpoint(eb_jepa.tiny()), eb_jepa.tiny()).manifest.planner
    energy = np.array([10.0, 60.0, 250.0])
    np.testing.assert_allclose(np.exp((10 - energy) / planner.temperature), np.exp(0.005 * (10 - energy)), rtol=1e-12)
    published = eb_jepa.Config()
    assert published.planner.std * published.action.high[0] == pytest.approx(2.0)
    assert (published.planner.samples, published.planner.iterations, published.planner.elites) == (200, 20, 20)
    assert published.cost[0].steps == "sum"
    assert published.cost[0].reduction == "mean"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({f"{ROOT}encoder.mlp.bias": None}, r"eb-jepa: the checkpoint lacks encoder\.mlp\.bias \[16\]"),
        ({f"{ROOT}predictor.head.weight": torch.zeros(2)}, r"has predictor\.head\.weight \[2\]"),
        ({"other.weight": torch.zeros(2)}, r"has other\.weight \[2\]"),
        ({f"{ROOT}predictor.rnn.bias_hh_l0": torch.zeros(47)}, r"bias_hh_l0 is \[47\] .* and \[48\]"),
    ],
    ids=["missing", "unknown", "stray", "shape"],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(change, said):
    config = eb_jepa.tiny()
    state = {**eb_jepa.random_checkpoint(config), **change}
    with pytest.raises(BundleError, match=said):
        eb_jepa.build({name: tensor for name, tensor in state.items() if tensor is not None}, config)


def test_a_checkpoint_of_pldm_is_refused():
    with pytest.raises(BundleError, match=r"eb-jepa: the checkpoint lacks encoder\."):
        eb_jepa.build(pldm.random_checkpoint(pldm.tiny()), eb_jepa.tiny())


def test_settings_that_do_not_fit_one_another_are_refused():
    with pytest.raises(ValueError, match="pixel_std has 2 entries for 3 channels"):
        eb_jepa.Config(channels=3, pixel_mean=[0.1, 0.1, 0.1])
    with pytest.raises(ValueError, match="measures nothing beside the frame"):
        eb_jepa.Config(proprio={"names": ["v"], "units": ["m/s"]})
