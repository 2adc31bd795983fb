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

from jepa_ros.errors import BundleError
from jepa_ros.golden import relative_error
from jepa_ros.runtime import Session
from jepa_ros_export.weights import save_graph

OPSET = 18
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


def write_graph(module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], path: Path) -> None:
    """Write a module as ONNX, the first dimension of every tensor free.

    Args:
        module: takes the inputs in their order.
        inputs: example tensors by the names they get; their first dimension must be above 1 (1 would be fixed).
        outputs: the names the outputs get, in their order.
        path: `.onnx` file to write.

    Raises:
        BundleError: PyTorch cannot export the module.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    batch = torch.export.Dim("batch", min=1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # Deprecations inside torch's exporter; nothing that a caller could act on.
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                _Positional(module.eval()),
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=(tuple({0: batch} for _ in inputs),),
                opset_version=OPSET,
                dynamo=True,
                optimize=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error).strip().splitlines()[-1]
            raise BundleError(f"export: {path.name} cannot be made from this module ({reason})") from error
    model = program.model_proto
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
    onnx.checker.check_model(str(path))


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
        found = session.run(**{name: tensor[:count].numpy() for name, tensor in inputs.items()})
        for name, array in expected.items():
            worst = max(worst, relative_error(np.asarray(found[name]), np.asarray(array[:count])))
    if not worst <= tolerance:
        raise BundleError(
            f"export: {path.name} differs from PyTorch by {worst:.1e} relative on {what} inputs, more than "
            f"{tolerance:.0e}; not written"
        )
    return worst
