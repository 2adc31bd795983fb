"""Programs of anyone's: that they say what their modules say, and what is refused of those that do not fit."""

from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from jepa_ros.errors import BundleError
from jepa_ros_export import generic_example
from jepa_ros_export.generic import build_from_files, read_config, write_example
from jepa_ros_export.generic_example import Encoder, Predictor, Value, save

from .family_pages import blocks, chdir

pytestmark = pytest.mark.families

IMAGE = torch.zeros(2, 12, 20, 3, dtype=torch.uint8)
LATENT, ACTION = torch.zeros(2, 3, 8), torch.zeros(2, 3, 2)


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    torch.manual_seed(0)
    write_example(folder)
    return folder


def files_of(folder, **changed):
    return {
        "encoder": folder / "encoder.pt2",
        "predictor": folder / "predictor.pt2",
        "head:value": folder / "value.pt2",
        **changed,
    }


def manifest_of(folder, name="changed.yaml", **changes):
    """The example's manifest with some blocks changed; None takes one away."""
    blocks = {**generic_example.MANIFEST, **changes}
    path = Path(folder) / name
    path.write_text(yaml.safe_dump({key: value for key, value in blocks.items() if value is not None}))
    return path


def built(example, tmp_path, part, module, inputs, **changes):
    """The example with one part in a module's place."""
    save(module, inputs, tmp_path / "part.pt2")
    return build_from_files(files_of(example, **{part: tmp_path / "part.pt2"}), manifest_of(tmp_path, **changes))


SEQUENCE = {"predictor": {"max_context": 3, "causal": True, "output": "sequence"}}


class Sequence(nn.Module):
    """A predictor of every step: running means of latents and actions, through an attention of its own."""

    def __init__(self, causal=True):
        super().__init__()
        self.causal, self.embed, self.out = causal, nn.Linear(10, 3 * 8), nn.Linear(8, 8)

    def forward(self, latent, action):
        q, k, v = self.embed(torch.cat([latent, action], -1)).chunk(3, -1)
        return self.out(nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)) + latent


def test_programs_say_what_their_modules_say(tmp_path):
    torch.manual_seed(1)
    encoder, predictor, value = Encoder(), Predictor(), Value()
    save(encoder, (IMAGE,), tmp_path / "encoder.pt2")
    save(predictor, (LATENT, ACTION), tmp_path / "predictor.pt2")
    save(value, (LATENT[:, 0], LATENT[:, 0]), tmp_path / "value.pt2")
    parts = build_from_files(files_of(tmp_path), manifest_of(tmp_path))
    image, latent, action = (
        torch.randint(0, 256, (5, 12, 20, 3), dtype=torch.uint8),
        torch.randn(5, 3, 8),
        torch.randn(5, 3, 2),
    )
    torch.testing.assert_close(parts.encoder(image), encoder(image))
    torch.testing.assert_close(parts.predictor.eval()(latent, action), predictor(latent, action))
    torch.testing.assert_close(parts.heads["value"](latent[:, 0], latent[:, 1]), value(latent[:, 0], latent[:, 1]))
    torch.testing.assert_close(parts.encoder(image[:1]), encoder(image[:1]))
    assert not any(weights.requires_grad for weights in parts.predictor.parameters())


def test_what_only_the_export_knows_is_filled_in(example, tmp_path):
    manifest = read_config(example / "manifest.yaml")
    assert (manifest.family, manifest.created_by, manifest.files) == ("generic", "jepa_ros_export.generic", {})
    assert manifest.calibration.measured_on == "random"
    assert manifest.heads["value"].file == "heads/value.onnx"
    measured = {"arrival_energy": 2.0, "surprise_p50": 0.1, "surprise_p99": 0.3}
    given = read_config(manifest_of(tmp_path, family="mine", calibration=measured, files={"encoder.onnx": "stale"}))
    assert (given.family, given.calibration.arrival_energy, given.calibration.measured_on) == (
        "mine",
        2.0,
        "recordings",
    )
    assert given.files == {}


@pytest.mark.parametrize("free", [False, True])
def test_a_sequence_takes_shorter_histories(example, tmp_path, free):
    """A program of three steps is filled up behind; one of any number of steps is asked as it is."""
    torch.manual_seed(2)
    module = Sequence()
    if free:
        batch, steps = torch.export.Dim("batch", min=1), torch.export.Dim("steps", min=1, max=3)
        program = torch.export.export(module, (LATENT, ACTION), dynamic_shapes=({0: batch, 1: steps},) * 2)
        torch.export.save(program, tmp_path / "part.pt2")
        parts = build_from_files(files_of(example, predictor=tmp_path / "part.pt2"), manifest_of(tmp_path, **SEQUENCE))
    else:
        parts = built(example, tmp_path, "predictor", module, (LATENT, ACTION), **SEQUENCE)
    assert (parts.predictor.context is None) == free
    latent, action = torch.randn(4, 3, 8), torch.randn(4, 3, 2)
    for steps in (1, 2, 3):
        given = latent[:, :steps], action[:, :steps]
        torch.testing.assert_close(parts.predictor(*given), module(*given))


@pytest.mark.parametrize("kind", ["causal", "bool", "float", "scale", "groups"])
def test_fused_attention_is_written_out(example, tmp_path, kind):
    """In every form that the operator has: its gradient does not convert to ONNX otherwise."""

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.kv = nn.Linear(10, 8), nn.Linear(10, 8 if kind == "groups" else 16)
            # The middle row of the mask looks nowhere.
            self.register_buffer("bias", torch.tensor([[1.0, -1.0, 2.0], [-1.0, -1.0, -1.0], [1.0, 0.5, -1.0]]))

        def forward(self, latent, action):
            x = torch.cat([latent, action], -1)
            q = self.q(x).unflatten(-1, (2, 4)).transpose(1, 2)
            k, v = self.kv(x).unflatten(-1, (-1, 4)).transpose(1, 2).chunk(2, 1)
            options = {
                "causal": {"is_causal": True},
                "bool": {"attn_mask": self.bias > 0},
                "float": {"attn_mask": self.bias},
                "scale": {"scale": 0.7},
                "groups": {"enable_gqa": True},
            }[kind]
            return nn.functional.scaled_dot_product_attention(q, k, v, **options).transpose(1, 2).flatten(2).sum(1)

    torch.manual_seed(3)
    module = Attention()
    parts = built(example, tmp_path, "predictor", module, (LATENT, ACTION))
    latent, action = torch.randn(4, 3, 8), torch.randn(4, 3, 2)
    torch.testing.assert_close(parts.predictor(latent, action), module(latent, action))
    assert not [node for node in parts.predictor.graph.graph.nodes if "scaled_dot_product" in str(node.target)]


class Two(nn.Module):
    """A function of two tensors."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, latent, action):
        return self.function(latent, action)


class One(Two):
    """A function of one tensor."""

    def forward(self, latent):
        return self.function(latent)


@pytest.mark.parametrize(
    ("function", "inputs", "says"),
    [
        (lambda z: z[:, -1], (LATENT,), r"takes 1 tensors, the manifest implies latent \[batch, 3, 8\], action \["),
        (lambda z, a: z[:, -1], (LATENT, ACTION.int()), "predictor: input action is int32 in the program, not float32"),
        (
            lambda z, a: z[:, -1] + a.sum((1, 2), keepdim=True)[:, 0],
            (LATENT, torch.zeros(2, 3, 5)),
            r"predictor: input action is \[batch, 3, 5\] in the program, the manifest implies \[batch, 3, 2\]",
        ),
        (
            lambda z, a: z[:, 1:] + a.sum(),
            (LATENT, ACTION),
            r"output next is float32 \[batch, 2, 8\] in the program, the manifest implies float32 \[batch, 8\]",
        ),
        (lambda z, a: (z[:, -1], a), (LATENT, ACTION), r"gives 2 tensors, the manifest implies next \[batch, 8\]"),
        (lambda z, a: (z[:, -1] + a[:, -1, :1]).double(), (LATENT, ACTION), r"output next is float64 \[batch, 8\]"),
        (lambda z, a: z[:, -1] + (a[:, -1, :1] * 0 - 1).log(), (LATENT, ACTION), "holds values that are not finite"),
        (
            lambda z, a: nn.functional.dropout(z[:, -1] + a[:, -1, :1], 0.5),
            (LATENT, ACTION),
            "the same inputs give other outputs; export it in evaluation mode",
        ),
        (
            lambda z, a: z[:, -1] + a[:, -1, :1] - z[:, -1].mean(0),
            (LATENT, ACTION),
            "what it gives for one row depends on the others of the batch",
        ),
    ],
)  # fmt: skip
def test_a_program_that_does_not_fit_the_manifest_is_refused(example, tmp_path, function, inputs, says):
    module = Two(function) if len(inputs) == 2 else One(function)
    with pytest.raises(BundleError, match=says):
        built(example, tmp_path, "predictor", module, inputs)


def test_a_fixed_batch_is_refused(example, tmp_path):
    torch.export.save(torch.export.export(Predictor(), (LATENT, ACTION)), tmp_path / "fixed.pt2")
    with pytest.raises(
        BundleError, match="predictor: input latent has a fixed batch of 2 in the program; export it with"
    ):
        build_from_files(files_of(example, predictor=tmp_path / "fixed.pt2"), example / "manifest.yaml")


def test_a_sequence_that_looks_ahead_is_refused(example, tmp_path):
    with pytest.raises(
        BundleError, match="predictor: what it says after step 1 depends on later ones; a sequence must be causal"
    ):
        built(example, tmp_path, "predictor", Sequence(causal=False), (LATENT, ACTION), **SEQUENCE)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"head:value": None}, r"--checkpoint head:value=FILE\.pt2 is missing"),
        ({"encoder": None}, r"--checkpoint encoder=FILE\.pt2 is missing"),
        ({"head:cost": Path("cost.pt2")}, "--checkpoint head:cost is none of encoder, predictor, head:value"),
        ({"": Path("model.pt2")}, r"--checkpoint FILE is none of .*; write PART=FILE\.pt2"),
        ({"encoder": Path("nowhere.pt2")}, r"program nowhere\.pt2: cannot be read \(No such file or directory\)"),
    ],
)
def test_parts_that_are_missing_or_unknown_are_refused(example, changed, says):
    files = {part: path for part, path in files_of(example, **changed).items() if path is not None}
    with pytest.raises(BundleError, match=says):
        build_from_files(files, example / "manifest.yaml")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"state": None}, r"changed\.yaml: state: Field required"),
        ({"camera": {"width": 20, "hight": 12}}, r"changed\.yaml: camera\.height: Field required"),
        ({"cost": [{"source": "head:speed", "metric": "value"}]}, r"source 'head:speed' is none of head:value, latent"),
        ({"heads": {"value": 3}}, r"changed\.yaml: heads\.value: Input should be a valid dictionary"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(tmp_path, changes, says):
    with pytest.raises(BundleError, match=says):
        read_config(manifest_of(tmp_path, **changes))


@pytest.mark.parametrize(
    ("text", "says"),
    [("a: [", "is not YAML"), ("- a", "must be a mapping of fields"), ("3: 4", "keywords must be strings")],
)
def test_what_is_no_manifest_is_refused(tmp_path, text, says):
    (tmp_path / "manifest.yaml").write_text(text)
    with pytest.raises(BundleError, match=rf"manifest\.yaml: .*{says}"):
        read_config(tmp_path / "manifest.yaml")
    with pytest.raises(BundleError, match=r"nowhere\.yaml: cannot be read"):
        read_config(tmp_path / "nowhere.yaml")


def test_the_pages_own_program_and_manifest_are_taken(example, tmp_path):
    (code, _), (manifest,) = blocks("generic", "python"), blocks("generic", "yaml")
    with chdir(tmp_path):
        exec(compile(code, "docs/families/generic.md", "exec"), {})
    (tmp_path / "manifest.yaml").write_text(manifest)
    parts = build_from_files(files_of(example, encoder=tmp_path / "encoder.pt2"), tmp_path / "manifest.yaml")
    assert parts.manifest.name == "mine"
    assert parts.encoder(IMAGE).shape == (2, 8)
