"""Reading published checkpoints: safetensors, or torch files of tensors only; nothing is ever unpickled.

A checkpoint becomes one flat mapping of parameter names to tensors; nested dictionaries are joined by dots.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from jepa_ros.errors import BundleError


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Every tensor of a `.safetensors` file, of a torch file, or of a folder of safetensors, by dotted name.

    Raises:
        BundleError: no such file, an empty one, one of another kind, one that would have to be unpickled or without
            tensors, or two files of a folder with a tensor of the same name.
    """
    if path.is_dir():
        files = sorted(path.glob("*.safetensors"))
        if not files:
            raise BundleError(f"checkpoint {path}: the folder holds no .safetensors file")
        return join((str(file), read_checkpoint(file)) for file in files)
    if not path.is_file():
        raise BundleError(f"checkpoint {path}: no such file")
    try:
        kind = _kind(path)
        if kind == "safetensors":
            return dict(load_file(path))
        # Only an archive can be mapped into memory.
        found: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=kind == "archive")
    except pickle.UnpicklingError as error:
        raise BundleError(
            f"checkpoint {path}: holds Python objects, which are never unpickled; where it was trained, save "
            "model.state_dict() with safetensors.torch.save_file"
        ) from error
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BundleError(f"checkpoint {path}: cannot be read ({reason})") from error
    tensors = dict(_flat(found))
    if not tensors:
        raise BundleError(f"checkpoint {path}: holds no tensors")
    return tensors


def join(parts: Iterable[tuple[str, Mapping[str, Tensor]]]) -> dict[str, Tensor]:
    """The tensors of several files, each given with what it is called in a message.

    Raises:
        BundleError: two of them hold a tensor of the same name.
    """
    found: dict[str, Tensor] = {}
    source: dict[str, str] = {}
    for where, tensors in parts:
        for name, tensor in tensors.items():
            if name in found:
                raise BundleError(
                    f"checkpoint {where}: holds {name}, and so does {source[name]}; give one of them, or each under a "
                    "name of its own as PART=PATH"
                )
            found[name], source[name] = tensor, where
    return found


def copies(state: Mapping[str, Tensor], marks: Sequence[str]) -> list[str]:
    """Prefixes under which a checkpoint holds one model several times, such as `model.` and `ema.`; none where it holds
    it once.

    Args:
        marks: patterns of names that the model has once. A part that a family keeps in two versions, such as a target
            encoder, is no copy: the model's own names say which is which.
    """
    found: dict[str, list[str]] = {}
    for name in state:
        parts = name.split(".")
        ends = (".".join(parts[begin:]) for begin in reversed(range(len(parts))))
        own = next((end for end in ends if any(re.search(mark, end) for mark in marks)), None)
        if own is not None:
            found.setdefault(own, []).append(name.removesuffix(own))
    most = [begin.split(".") for begin in max(found.values(), key=len, default=[])]
    if len(most) < 2:
        return []
    # What all of them end with is the model's own, as `predictor.` in `model.predictor.` and `ema.predictor.`.
    while len({tuple(begin[-2:]) for begin in most}) == 1 and len(most[0]) > 1:
        most = [[*begin[:-2], ""] for begin in most]
    return [".".join(begin) for begin in most]


def pick(state: Mapping[str, Tensor], prefix: str, others: Iterable[str] = ()) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it; none where no name does.

    Args:
        prefix: with or without its last dot; `.` is what lies under none of `others`.
    """
    if prefix == ".":
        apart = tuple(filter(None, others))
        return {name: tensor for name, tensor in state.items() if not name.startswith(apart)}
    begin = prefix.rstrip(".") + "."
    return {name[len(begin) :]: tensor for name, tensor in state.items() if name.startswith(begin)}


def _kind(path: Path) -> str:
    """By its first bytes, what a file is: `safetensors`, torch's `archive`, or a `pickle`, torch's before 1.6.

    Raises:
        BundleError: it is empty, or none of these.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        begin = file.read(9)
    if not begin:
        raise BundleError(f"checkpoint {path}: is empty")
    if begin.startswith(b"PK\x03\x04"):
        return "archive"
    if begin[8:] == b"{":  # behind the header's length
        return "safetensors"
    if begin.startswith(b"\x80"):
        return "pickle"
    raise BundleError(f"checkpoint {path}: is not a torch or safetensors file")


def _flat(found: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(found, Tensor):
        yield prefix, found
    elif isinstance(found, Mapping):
        for key, value in found.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))


def under(state: Mapping[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    """The part of a state whose names begin with the first of `prefixes` that any name begins with, without it.

    Wrappers that training leaves in names (`module.`, `_orig_mod.`) are dropped wherever they stand.
    """
    clean = {re.sub(r"(^|\.)(?:(?:module|_orig_mod)\.)+", r"\1", name): tensor for name, tensor in state.items()}
    for prefix in prefixes:
        found = {name[len(prefix) :]: tensor for name, tensor in clean.items() if name.startswith(prefix)}
        if found:
            return found
    return {}


def fill(
    module: nn.Module,
    state: Mapping[str, Tensor],
    what: str,
    rename: Callable[[str], str | None] = lambda name: name,
    optional: Iterable[str] = (),
) -> None:
    """Load weights by name into a module, every one of them, and put it in evaluation mode.

    Args:
        module: whose parameters and persistent buffers are filled.
        state: of the checkpoint.
        what: the part of the model, for messages.
        rename: the checkpoint's name → the module's; None leaves a tensor out that the model does not use.
        optional: patterns of the module's names that a checkpoint may lack.

    Raises:
        BundleError: a key that is missing, or that the module has no place for, or whose shape differs: one sentence,
            with the name in the checkpoint's spelling and both shapes.
    """
    wanted = module.state_dict()
    given: dict[str, Tensor] = {}
    spelt: dict[str, str] = {}
    for name, tensor in state.items():
        own = rename(name)
        if own is not None:
            given[own], spelt[own] = tensor, name
    for own, tensor in wanted.items():
        if own not in given and not any(re.fullmatch(pattern, own) for pattern in optional):
            raise BundleError(
                f"{what}: the checkpoint lacks {_spelling(own, spelt, rename)} {list(tensor.shape)}; it has "
                f"{len(state)} tensors, {_nearest(own, spelt)}"
            )
    for own, tensor in given.items():
        if own not in wanted:
            raise BundleError(
                f"{what}: the checkpoint has {spelt[own]} {list(tensor.shape)}, which this model has no place for"
            )
        if tensor.shape != wanted[own].shape:
            raise BundleError(
                f"{what}: {spelt[own]} is {list(tensor.shape)} in the checkpoint and {list(wanted[own].shape)} in the "
                "model; set the architecture with --config"
            )
    module.load_state_dict({own: tensor.to(wanted[own].dtype) for own, tensor in given.items()}, strict=False)
    module.eval().requires_grad_(False)


def _nearest(own: str, spelt: Mapping[str, str]) -> str:
    """What the checkpoint has in its place."""
    last = own.rsplit(".", 2)[-2:]
    alike = [name for key, name in spelt.items() if key.rsplit(".", 2)[-2:] == last] or list(spelt.values())
    return f"among them {alike[0]}" if alike else "none of this part"


def _spelling(own: str, spelt: Mapping[str, str], rename: Callable[[str], str | None]) -> str:
    """The checkpoint's word for a tensor that it lacks, after one of the same layer or of another: what `rename` makes
    this tensor's name of. The module's own word where there is none."""
    layer, _, last = own.rpartition(".")
    for key, name in spelt.items():
        words = []
        if key.rpartition(".")[0] == layer:
            words.append(f"{name.rpartition('.')[0]}.{last}")
        if _numbers(key) == _numbers(name) and re.sub(r"\d+", "0", key) == re.sub(r"\d+", "0", own):
            numbers = iter(_numbers(own))
            words.append(re.sub(r"\d+", lambda _, left=numbers: next(left), name))
        for word in words:
            if rename(word) == own:
                return word
    return own


def _numbers(name: str) -> list[str]:
    return re.findall(r"\d+", name)
