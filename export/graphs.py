"""PyTorch modules to ONNX files, and whether both say the same."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jepa_ros.bundle.loader import PREDICTOR, Bundle
from jepa_ros.errors import BundleError
from jepa_ros.golden import relative_error
from jepa_ros.runtime import Session
from jepa_ros_export.graph_form import OPSET
from jepa_ros_export.weights import save_graph

TOLERANCE = 1e-4

Array = NDArray[np.generic]
Arrays = dict[str, NDArray[np.float32]]


_WRAPPER = "module."


class _Positional(nn.Module):
    """A module of any signature as one of positional tensors, with a tuple of outputs."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return as_tuple(self.module(*inputs))


def as_tuple(outputs: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    """One output or many, as many."""
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


def write_graph(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    path: Path,
    opset: int = OPSET,
    rows: int | None = None,
    free: Mapping[str, Mapping[int, str]] | None = None,
) -> None:
    """Write a module as ONNX.

    Args:
        module: takes the inputs in their order.
        inputs: example tensors by the names they get; their first dimension must be above 1 (1 would be fixed).
        outputs: the names the outputs get, in their order.
        path: `.onnx` file to write.
        opset: of ONNX's own operators.
        rows: the first dimension of every tensor; None leaves it free.
        free: further free dimensions by input and axis, named; those of one name are equal. Not with `rows`.

    Raises:
        BundleError: PyTorch cannot export the module, or not at this opset.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    batch = torch.export.Dim("batch", min=1)
    dims = {name: torch.export.Dim(name) for axes in (free or {}).values() for name in axes.values()}
    shapes = tuple({0: batch, **{i: dims[d] for i, d in (free or {}).get(name, {}).items()}} for name in inputs)
    examples = tuple(inputs.values())
    if rows is not None:
        examples = tuple(tensor[torch.arange(rows) % len(tensor)] for tensor in examples)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # Deprecations inside torch's exporter; nothing that a caller could act on.
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                _Positional(module.eval()),
                examples,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=(shapes,) if rows is None else None,
                opset_version=opset,
                dynamo=True,
                optimize=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error).strip().splitlines()[-1]
            raise BundleError(f"export: {path.name} cannot be made from this module ({reason})") from error
    model = program.model_proto
    found = _opset(model)
    if found != opset:  # torch only warns where an operator has no form at another
        raise BundleError(f"export: {path.name} cannot be had at opset {opset}, only at {found}; set --opset")
    del model.metadata_props[:]
    for node in model.graph.node:
        # Traces name the exporting machine's folders; they do not belong in a bundle.
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        del value.metadata_props[:]
    for weights in model.graph.initializer:
        del weights.metadata_props[:]
    _without_wrapper(model)
    save_graph(model, path)
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        reason = str(error).strip().splitlines()[0]
        raise BundleError(f"export: {path.name} is no valid graph of opset {opset} ({reason}); set --opset") from error


def opset_of(bundle: Bundle) -> int:
    """ONNX's own operators' version in a bundle's graphs, as its predictor says."""
    return _opset(onnx.load(str(bundle.file(PREDICTOR)), load_external_data=False))


def _opset(model: onnx.ModelProto) -> int:
    return next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def _without_wrapper(model: onnx.ModelProto) -> None:
    """Give weights the names that they have in the module itself: a training may begin from a bundle's."""
    for weights in model.graph.initializer:
        weights.name = weights.name.removeprefix(_WRAPPER)
    for node in model.graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = name.removeprefix(_WRAPPER)


def evaluate(module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str]) -> Arrays:
    """What PyTorch says, in fp32, by output name."""
    with torch.inference_mode():
        found = as_tuple(module.eval()(*inputs.values()))
    return {name: tensor.float().numpy() for name, tensor in zip(outputs, found, strict=True)}


def check_parity(
    path: Path,
    inputs: Mapping[str, Tensor],
    expected: Mapping[str, Array],
    tolerance: float = TOLERANCE,
    batches: Sequence[int] = (1,),
    what: str = "given",
) -> float:
    """Run the file on ONNX Runtime's CPU provider and compare, on the whole batch and on its first rows.

    Args:
        expected: by output name.
        what: which inputs these are, for the message.

    Returns:
        The largest relative error seen.

    Raises:
        BundleError: it is above the tolerance.
    """
    session = Session(path, providers=("CPUExecutionProvider",))
    worst, rows = 0.0, len(next(iter(expected.values())))
    for count in (*batches, rows):
        found = session.run_rows(**{name: tensor[:count].numpy() for name, tensor in inputs.items()})
        for name, array in expected.items():
            worst = max(worst, relative_error(np.asarray(found[name]), np.asarray(array[:count])))
    if not worst <= tolerance:
        raise BundleError(
            f"export: {path.name} differs from PyTorch by {worst:.1e} relative on {what} inputs, more than "
            f"{tolerance:.0e}; not written"
        )
    return worst
