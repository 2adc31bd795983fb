"""Anyone's model: `torch.export` programs of the encoder, the predictor and heads, and a manifest that says what they
are.

There is no checkpoint of names to fill: a program is the model. What it takes and gives is held against the manifest,
and what a robot relies on without seeing it is tried out: that the batch is free, that one row of it does not change
another, that the same inputs give the same outputs, and that a sequence is causal.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import ValidationError
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule

from jepa_ros.bundle.graphs import Signature
from jepa_ros.bundle.loader import ENCODER, PREDICTOR
from jepa_ros.bundle.manifest import Manifest
from jepa_ros.bundle.signatures import expected_signatures
from jepa_ros.errors import BundleError
from jepa_ros.golden import relative_error
from jepa_ros.plain_yaml import read_yaml
from jepa_ros_export.family import UNMEASURED, Parts
from jepa_ros_export.generic_example import write_example
from jepa_ros_export.generic_programs import read_program
from jepa_ros_export.graphs import as_tuple

__all__ = ["MARKS", "Program", "build_from_files", "read_config", "write_example"]

MARKS: tuple[str, ...] = ()

_FILLED_IN = {"family": "generic", "name": "generic", "licence": "unknown", "source": "unknown"}
_BATCH = 3
_TOLERANCE = 1e-4


class Program(nn.Module):
    """A program as a module of positional tensors.

    Args:
        program: of `read_program`.
        context: steps that it takes, no fewer; shorter sequences are filled behind, which a causal one does not see.
    """

    def __init__(self, program: ExportedProgram, context: int | None = None) -> None:
        super().__init__()
        self.graph = program.module(check_guards=False)
        _write_out_attention(self.graph)
        # Its check of inputs would fix their sizes when it is traced again; they have been checked by then.
        self.graph._forward_pre_hooks.clear()
        self.context = context
        self.requires_grad_(False)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        steps = inputs[0].shape[1] if inputs[0].dim() > 1 else 0
        if self.context is None or steps == self.context:
            return self.graph(*inputs)
        missing = self.context - steps
        filled = [torch.cat([x, x[:, -1:].repeat_interleave(missing, 1)], 1) for x in inputs]
        outputs = as_tuple(self.graph(*filled))
        return tuple(out[:, :steps] for out in outputs) if len(outputs) > 1 else outputs[0][:, :steps]

    def train(self, mode: bool = True) -> Program:
        # A program has the mode that it was exported in, and refuses to be asked.
        return self


def build_from_files(files: Mapping[str, Path], config_path: Path) -> Parts:
    """The model of these programs.

    Args:
        files: `.pt2` files by part: `encoder`, `predictor`, and `head:NAME` for each head of the manifest.
        config_path: the manifest, without `files`, `calibration`, and the files of heads.

    Raises:
        BundleError: a part that is missing or unknown, a manifest or program that does not fit, named.
    """
    manifest = read_config(config_path)
    graphs = {"encoder": ENCODER, "predictor": PREDICTOR} | {f"head:{n}": h.file for n, h in manifest.heads.items()}
    if unknown := set(files) - set(graphs):
        raise BundleError(
            f"generic: --checkpoint {sorted(unknown)[0] or 'FILE'} is none of {', '.join(graphs)}; write PART=FILE.pt2"
        )
    # A program's batch is free, whatever that of the graphs made of it will be.
    free = manifest.model_copy(update={"predictor": manifest.predictor.model_copy(update={"batch": None})})
    expected = expected_signatures(free)
    modules = {}
    for part, graph in graphs.items():
        if part not in files:
            raise BundleError(f"generic: --checkpoint {part}=FILE.pt2 is missing; the manifest asks for it")
        modules[part] = _module(part, read_program(files[part]), expected[graph], manifest)
    heads = {name: modules[f"head:{name}"] for name in manifest.heads}
    return Parts(modules["encoder"], modules["predictor"], manifest, heads)


def read_config(path: Path) -> Manifest:
    """The manifest that the user wrote, with what only the export knows filled in.

    Raises:
        BundleError: not YAML, or a field that does not fit, named.
    """
    try:
        found: Any = read_yaml(path)
    except OSError as error:
        raise BundleError(f"config {path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BundleError(f"config {path}: is not YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(found, dict):
        raise BundleError(f"config {path}: must be a mapping of fields")
    fields = {**_FILLED_IN, "calibration": UNMEASURED, **found, "files": {}, "created_by": "jepa_ros_export.generic"}
    if isinstance(found.get("heads"), dict):
        fields["heads"] = {
            name: {"file": f"heads/{name}.onnx", **head} if isinstance(head, dict) else head
            for name, head in found["heads"].items()
        }
    try:
        return Manifest(**fields)
    except (ValidationError, TypeError) as error:
        if isinstance(error, TypeError):
            raise BundleError(f"config {path}: {error}") from error
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the whole"
        raise BundleError(f"config {path}: {field}: {first['msg'].removeprefix('Value error, ')}") from error


def _module(part: str, program: ExportedProgram, expected: Signature, manifest: Manifest) -> Program:
    """The program, checked."""
    sequence = part == "predictor" and manifest.predictor.output == "sequence"
    free = _check_inputs(part, program, expected, sequence)
    module = Program(program, manifest.predictor.max_context if sequence and not free else None)
    with torch.inference_mode():
        _check_outputs(part, module, expected, sequence)
    return module


def _check_inputs(part: str, program: ExportedProgram, expected: Signature, sequence: bool) -> bool:
    """Inputs in number, element type and sizes; returns whether the number of steps is free."""
    names = set(program.graph_signature.user_inputs)
    found = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    wanted = ", ".join(f"{name} {_sizes(tensor.shape)}" for name, tensor in expected.inputs.items())
    if len(found) != len(expected.inputs):
        raise BundleError(f"{part}: the program takes {len(found)} tensors, the manifest implies {wanted}")
    for (name, tensor), value in zip(expected.inputs.items(), found, strict=True):
        what = f"{part}: input {name}"
        if _name(value.dtype) != tensor.element:
            raise BundleError(f"{what} is {_name(value.dtype)} in the program, not {tensor.element}")
        if value.dim() > 0 and isinstance(value.shape[0], int):
            raise BundleError(
                f"{what} has a fixed batch of {value.shape[0]} in the program; export it with the first dimension of "
                "every input dynamic"
            )
        sizes = [size if isinstance(size, int) else None for size in value.shape]
        if sizes != tensor.shape and not (sequence and sizes == [None, None, *tensor.shape[2:]]):
            raise BundleError(f"{what} is {_sizes(sizes)} in the program, the manifest implies {_sizes(tensor.shape)}")
    return sequence and all(not isinstance(value.shape[1], int) for value in found)


def _check_outputs(part: str, module: Program, expected: Signature, sequence: bool) -> None:
    """Outputs in number, element type and sizes, and that they are what a robot takes them for."""
    inputs = [_drawn(tensor.element, tensor.shape) for tensor in expected.inputs.values()]
    found = _run(part, module, inputs)
    wanted = ", ".join(f"{name} {_sizes(tensor.shape)}" for name, tensor in expected.outputs.items())
    if len(found) != len(expected.outputs):
        raise BundleError(f"{part}: the program gives {len(found)} tensors, the manifest implies {wanted}")
    for (name, tensor), value in zip(expected.outputs.items(), found, strict=True):
        if list(value.shape) != [_BATCH, *tensor.shape[1:]] or value.dtype != torch.float32:
            raise BundleError(
                f"{part}: output {name} is {_name(value.dtype)} {_sizes(value.shape)} in the program, the manifest "
                f"implies float32 {_sizes(tensor.shape)}"
            )
        if not value.isfinite().all():
            raise BundleError(f"{part}: output {name} holds values that are not finite, for ordinary inputs")
    if _differ(found, _run(part, module, inputs)):
        raise BundleError(f"{part}: the same inputs give other outputs; export it in evaluation mode, without dropout")
    alone = [_run(part, module, [x[row : row + 1] for x in inputs]) for row in range(_BATCH)]
    if _differ(found, [torch.cat(rows) for rows in zip(*alone, strict=True)]):
        raise BundleError(
            f"{part}: what it gives for one row depends on the others of the batch; export it in evaluation mode, "
            "without statistics of the batch"
        )
    for steps in range(1, inputs[0].shape[1]) if sequence else []:
        later = [torch.cat([x[:, :steps], _drawn("float32", x.shape)[:, steps:]], 1) for x in inputs]
        for other in (_run(part, module, later), _run(part, module, [x[:, :steps] for x in inputs])):
            if _differ([x[:, :steps] for x in found], [x[:, :steps] for x in other]):
                raise BundleError(
                    f"{part}: what it says after step {steps} depends on later ones; a sequence must be causal, or "
                    "predictor.output must be last"
                )


def _run(part: str, module: Program, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    try:
        return as_tuple(module(*inputs))
    except (RuntimeError, AssertionError, ValueError) as error:
        sizes = ", ".join(str(list(x.shape)) for x in inputs)
        reason = str(error).strip().splitlines()[0]
        raise BundleError(f"{part}: the program fails for inputs of {sizes} ({reason})") from error


def _differ(these: Any, those: Any) -> bool:
    """Whether any outputs do, by more than rounding."""
    return any(not relative_error(b.numpy(), a.numpy()) <= _TOLERANCE for a, b in zip(these, those, strict=True))


def _drawn(dtype: str, shape: Any) -> Tensor:
    sizes = (_BATCH, *shape[1:])
    return torch.randint(0, 256, sizes, dtype=torch.uint8) if dtype == "uint8" else torch.randn(sizes)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _sizes(shape: Any) -> str:
    return f"[{', '.join('batch' if i == 0 else str(size or 'any') for i, size in enumerate(shape))}]"


def _write_out_attention(module: GraphModule) -> None:
    """As in every family: the fused operator's gradient does not convert to ONNX."""
    for node in module.graph.nodes:
        if node.target == torch.ops.aten.scaled_dot_product_attention.default:
            node.target = _attention
        elif node.target == torch.ops.aten.view.default:
            # A view may have been possible only as the fused operator lays out what it gives.
            node.target = torch.ops.aten.reshape.default
    module.recompile()


def _attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """What PyTorch's scaled_dot_product_attention does, in its mathematical form; see its documentation."""
    if enable_gqa:
        k, v = (x.repeat_interleave(q.shape[-3] // x.shape[-3], -3) for x in (k, v))
    scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
    if attn_mask is None:
        weights = scores.softmax(-1)
    elif attn_mask.dtype == torch.bool:
        # A row that may look nowhere sees nothing, rather than everything.
        weights = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min).softmax(-1).masked_fill(~attn_mask, 0.0)
    else:
        weights = (scores + attn_mask).softmax(-1)
    return (nn.functional.dropout(weights, dropout_p) if dropout_p else weights) @ v
