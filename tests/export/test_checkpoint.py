"""Reading checkpoints: which files, which names, and what is refused in one sentence."""

from __future__ import annotations

import collections

import pytest
import safetensors.torch
import torch
from torch import nn

from jepa_ros.errors import BundleError
from jepa_ros_export.checkpoint import fill, read_checkpoint, under


class Dangerous:
    """Unpickling it would leave a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_nested_dictionaries_become_dotted_names(tmp_path):
    path = tmp_path / "nested.pt"
    inner = collections.OrderedDict(weight=torch.ones(2))
    torch.save({"model": {"encoder": inner}, "epoch": 3, "opt": [torch.zeros(1)]}, path)
    assert {name: tensor.tolist() for name, tensor in read_checkpoint(path).items()} == {
        "model.encoder.weight": [1.0, 1.0]
    }


def test_safetensors_and_folders_of_them(tmp_path):
    safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "model-1.safetensors")
    safetensors.torch.save_file({"b": torch.zeros(1)}, tmp_path / "model-2.safetensors")
    assert set(read_checkpoint(tmp_path)) == {"a", "b"}
    assert set(read_checkpoint(tmp_path / "model-1.safetensors")) == {"a"}


def test_a_torch_file_of_the_old_format(tmp_path):
    path = tmp_path / "old.pth"
    torch.save({"weight": torch.arange(3.0)}, path, _use_new_zipfile_serialization=False)
    assert read_checkpoint(path)["weight"].tolist() == [0, 1, 2]


def test_two_files_of_a_folder_with_the_same_tensor(tmp_path):
    for number in (1, 2):
        safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / f"model-{number}.safetensors")
    with pytest.raises(BundleError, match=r"model-2\.safetensors: holds a, and so does .*model-1\.safetensors; give"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_is_unpickled(tmp_path, zipped):
    trap = tmp_path / "sprung"
    torch.save(
        {"weight": torch.ones(1), "trap": Dangerous(trap)},
        tmp_path / "trap.pt",
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(BundleError, match=r"holds Python objects, which are never unpickled; .*save_file"):
        read_checkpoint(tmp_path / "trap.pt")
    assert not trap.exists()


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b""), "is empty$"),
        (lambda path: path.write_text("version https://git-lfs"), "is not a torch or safetensors file$"),
        (lambda path: path.write_bytes(b"PK\x03\x04 not a checkpoint"), "cannot be read"),
        (lambda path: path.mkdir(), r"the folder holds no \.safetensors file"),
        (lambda path: torch.save({"epoch": 3}, path), "holds no tensors"),
    ],
)
def test_files_that_are_no_checkpoints(tmp_path, write, says):
    path = tmp_path / "checkpoint.pt"
    write(path)
    with pytest.raises(BundleError, match=rf"checkpoint .*checkpoint\.pt: {says}") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name",
    ["encoder.a.weight", "encoder.module.a.weight", "module.encoder.a.weight", "encoder.module._orig_mod.a.weight"],
)
def test_wrappers_are_dropped_from_names(name):
    assert set(under({name: torch.ones(1), "predictor.x": torch.ones(1)}, "target.", "encoder.")) == {"a.weight"}


def test_a_module_is_filled_and_put_in_evaluation_mode():
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    state = {f"net.{name}": torch.full_like(t, 2) for name, t in module.state_dict().items()}
    fill(module, state, "net", rename=lambda name: name.removeprefix("net."))
    assert not module.training
    assert all((tensor == 2).all() for tensor in module.state_dict().values())
    assert not any(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("weight"), r"net: the checkpoint lacks weight \[3, 2\]"),
        (lambda s: s.update(more=torch.ones(4)), r"net: the checkpoint has more \[4\], which this model has no place"),
        (lambda s: s.update(bias=torch.ones(2)), r"net: bias is \[2\] in the checkpoint and \[3\] in the model"),
    ],
)
def test_what_does_not_fit_is_named_with_its_shape(change, says):
    module = nn.Linear(2, 3)
    state = dict(module.state_dict())
    change(state)
    with pytest.raises(BundleError, match=says):
        fill(module, state, "net")


def in_its_words(name):
    """A checkpoint that calls `layers` blocks, and a weight a kernel."""
    return name.replace("blocks.", "layers.").replace("kernel", "weight")


@pytest.mark.parametrize(
    ("lost", "says"),
    [
        ("blocks.1.bias", r"lacks blocks\.1\.bias \[2\]; it has 3 tensors, among them blocks\.0"),
        ("blocks.1.kernel", r"lacks blocks\.1\.kernel \[2, 2\]"),
    ],
)
def test_what_is_missing_is_named_in_the_checkpoints_words(lost, says):
    module = nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])})
    spelt = {
        name.replace("layers.", "blocks.").replace("weight", "kernel"): t for name, t in module.state_dict().items()
    }
    del spelt[lost]
    with pytest.raises(BundleError, match=says):
        fill(module, spelt, "net", rename=in_its_words)


def test_a_word_that_would_not_be_read_so_is_not_made_up():
    """The layer's number is written otherwise, so that what another layer is called says nothing of this one."""
    module = nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])})
    words = {"first.0.weight": "layers.0.weight", "second.0.weight": "layers.1.weight"}
    with pytest.raises(BundleError, match=r"the checkpoint lacks layers\.1\.weight"):
        fill(module, {"first.0.weight": torch.ones(2, 2)}, "net", rename=words.get)
