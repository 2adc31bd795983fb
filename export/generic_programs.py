"""Reading `torch.export` programs (`.pt2`) that nothing is run by before it is known to be arithmetic on tensors.

`torch.export.load` of torch 2.13 is not safe on a file of unknown origin, and has no `weights_only`: it unpickles
weights, constants and custom objects that the archive marks as pickled, and example inputs when reading them as plain
tensors fails; evaluates the archive's expressions of sizes (`sympy.sympify`) and, in `module()`, its guards (`exec`);
opens compiled libraries; and calls whatever function of `torch` a node names. So the archive is read here first as what
it is, a zip of JSON and raw tensors, and a new one is put together in memory from nothing but

- tensors as raw bytes,
- nodes that call ATen operators or arithmetic on sizes, of names and expressions without any other call,
- a flat list of positional tensors that it takes, and of tensors that it gives.

Anything else is refused by name. That new archive is what torch loads.
"""

from __future__ import annotations

import io
import json
import logging
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.pt2_archive._package import PT2ArchiveWriter

from jepa_ros.errors import BundleError

_MODEL, _INPUTS = "models/model.json", "data/sample_inputs/model.pt"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_TENSORS = re.compile(r"data/(weights/weight|constants/tensor)_\d+")
# Marks of the format, which the new archive gets of itself, and notes of the user, which are not looked at.
_MARKS = re.compile(r"archive_format|archive_version|byteorder|version|\.data/.*|extra/.*")

_TARGET = re.compile(
    r"torch\.ops\.aten\.(?!from_file\.|save\.)\w+\.\w+|torch\.sym_\w+|math\.(ceil|floor|trunc)"
    r"|_operator\.(add|sub|mul|floordiv|mod|truediv|neg|pow|eq|ne|lt|le|gt|ge|getitem)",
    re.ASCII,
)
_NAME = re.compile(r"-?[\w.]*", re.ASCII)  # of parameters and nodes, enumerations, "-Infinity"
_EXPRESSION = re.compile(
    r"(Symbol\('[su]\d+'(, \w+=(True|False))*\)|Integer|Rational|Add|Mul|Pow|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|"
    r"\d+|[-(), ])*",
    re.ASCII,
)
# Texts that operators take may say anything: torch writes them quoted.
_TEXTS = ("as_string", "as_strings")
# What a node or an input may be but for tensors and numbers: objects, functions, nested graphs.
_OBJECTS = {"as_custom_obj", "as_graph", "as_operator", "custom_obj", "constant_input", "token"}


def read_program(path: Path) -> ExportedProgram:
    """Read a program that takes tensors by position and gives one tensor, or a tuple or list of them.

    Raises:
        BundleError: no such file, not a program, or one that holds something else than arithmetic on tensors, named.
    """
    where = f"program {path}"
    try:
        archive = _clean(path, where)
    except OSError as error:
        raise BundleError(f"{where}: cannot be read ({error.strerror})") from error
    except (zipfile.BadZipFile, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{where}: is not a program that torch.export.save of torch 2.13 has written") from error
    # It warns of sizes that are named and not used, which nobody could act on.
    logging.getLogger("torch._export.serde.serialize").setLevel(logging.ERROR)
    try:
        return torch.export.load(archive)
    except Exception as error:  # whatever torch's reader meets in a file that was changed or is of another version
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BundleError(f"{where}: torch cannot load it ({reason}); save it again with this torch") from error


def _clean(path: Path, where: str) -> io.BytesIO:
    """The archive anew, of what is allowed in it."""
    with zipfile.ZipFile(path) as file:
        names = file.namelist()
        records = {name.partition("/")[2]: name for name in names}
        if len({name.partition("/")[0] for name in names}) != 1 or len(records) != len(names):
            raise BundleError(f"{where}: is not one program; save one with torch.export.save")
        for record in records:
            if record not in (_MODEL, _INPUTS, *_CONFIGS) and not _TENSORS.fullmatch(record):
                if _MARKS.fullmatch(record):
                    continue
                raise BundleError(
                    f"{where}: holds {record}, which is no tensor and could run code; save a plain torch.export program"
                )
        data = {record: file.read(name) for record, name in records.items() if not _MARKS.fullmatch(record)}
    model = json.loads(data[_MODEL])
    data[_MODEL] = json.dumps(_checked_model(model, where)).encode()
    for config in _CONFIGS:
        data[config] = json.dumps(_checked_payload(json.loads(data[config]), where)).encode()
    data[_INPUTS] = _checked_inputs(data[_INPUTS], where)
    clean = io.BytesIO()
    with PT2ArchiveWriter(clean) as writer:
        for record, content in data.items():
            writer.write_bytes(record, content)
    clean.seek(0)
    return clean


def _checked_model(model: dict[str, Any], where: str) -> dict[str, Any]:
    """The graph without what only describes it: stack traces, guards and the calls of submodules."""
    graph = model["graph_module"]
    root = graph["module_call_graph"][0]
    for spec in ("in_spec", "out_spec"):
        _check_structure(json.loads(root["signature"][spec]), f"{where}: its {spec[:-5]}puts")
    specs = {spec: root["signature"].pop(spec) for spec in ("in_spec", "out_spec")}
    graph["module_call_graph"], graph["metadata"], graph["treespec_namedtuple_fields"] = [root], {}, {}
    for node in graph["graph"]["nodes"]:
        node["metadata"] = {}
    model["guards_code"], model["torch_version"] = [], ""
    _check_names(model, where)
    root["signature"] |= specs
    return model


def _check_structure(spec: Any, what: str) -> None:
    """Positional tensors: `((leaf, …), {})` in, a leaf or a flat tuple or list of them out."""

    def leaf(tree: Any) -> bool:
        return tree["type"] is None and not tree["children_spec"]

    tree = spec[1]
    if what.endswith(" inputs"):
        positional, named = tree["children_spec"]
        fits = tree["type"] == positional["type"] == "builtins.tuple" and named["type"] == "builtins.dict"
        fits = fits and named["context"] == "[]" and not named["children_spec"]
        tree = positional
    else:
        fits = tree["type"] in (None, "builtins.tuple", "builtins.list")
    if not fits or not all(leaf(child) for child in tree["children_spec"]) or {tree["context"]} - {None, "null"}:
        raise BundleError(f"{what} are named or nested; export a module of positional tensors and a flat tuple")


def _check_names(found: Any, where: str, key: str = "") -> None:
    """That every string is a name, an operator or an expression of sizes, and that no object is among the values."""
    if isinstance(found, dict):
        for name, value in found.items():
            if name in _OBJECTS:
                raise BundleError(f"{where}: holds {name.removeprefix('as_')} values, not tensors and numbers alone")
            _check_names(name, where)
            _check_names(value, where, name)
    elif isinstance(found, list):
        for value in found:
            _check_names(value, where, key)
    elif isinstance(found, str) and key == "target" and not _TARGET.fullmatch(found):
        raise BundleError(
            f"{where}: calls {found[:60]}, which is no ATen operator; call run_decompositions({{}}) on the program "
            "before saving it"
        )
    elif isinstance(found, str) and key not in ("target", *_TEXTS):
        allowed = _EXPRESSION if key == "expr_str" else _NAME
        if not allowed.fullmatch(found):
            raise BundleError(f"{where}: holds {found[:60]!r} where a name or an expression of sizes has to be")


def _checked_payload(payload: dict[str, Any], where: str) -> dict[str, Any]:
    """Where each tensor lies: as raw bytes, on the CPU."""
    for name, entry in payload["config"].items():
        if entry["use_pickle"] or not re.fullmatch(r"(weight|tensor)_\d+", entry["path_name"], re.ASCII):
            raise BundleError(f"{where}: {name} is a pickled object, and nothing is unpickled; keep plain tensors")
        if entry["tensor_meta"]["device"]["type"] != "cpu":
            raise BundleError(f"{where}: {name} lies on {entry['tensor_meta']['device']['type']}; export on the CPU")
    return payload


def _checked_inputs(content: bytes, where: str) -> bytes:
    """The example inputs, written anew; as tensors alone they are read without unpickling anything else."""
    try:
        positional, named = torch.load(io.BytesIO(content), weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, TypeError) as error:
        raise BundleError(f"{where}: its example inputs are no plain tensors, and nothing is unpickled") from error
    if named or not all(isinstance(tensor, Tensor) for tensor in positional):
        raise BundleError(f"{where}: its example inputs are not positional tensors")
    written = io.BytesIO()
    torch.save((tuple(positional), {}), written)
    return written.getvalue()
