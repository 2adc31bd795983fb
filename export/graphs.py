"""PyTorch modules to ONNX files, and whether both say the same."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jepa_ros.errors import BundleError
from jepa_ros.runtime import Session
from jepa_ros.world_model import relative_error

OPSET = 18
TOLERANCE = 1e-4

Array = NDArray[np.generic]


def write_graph(module: nn.Module, inputs: dict[str, Tensor], output: str, path: Path) -> None:
    """Write a module with one output as ONNX, weights inside the file, the first dimension of every tensor free.

    Args:
        module: takes the inputs in their order.
        inputs: example tensors by the names they get; their first dimension must be above 1 (1 would be fixed).
        output: the name the output gets.
        path: `.onnx` file to write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings():
        # Deprecations inside torch's exporter; nothing that a caller could act on.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=[output],
            dynamic_shapes=tuple({0: batch} for _ in inputs),
            opset_version=OPSET,
            dynamo=True,
            optimize=True,
            verbose=False,
        )
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
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def evaluate(module: nn.Module, inputs: dict[str, Tensor]) -> NDArray[np.float32]:
    """What PyTorch says, in fp32."""
    with torch.inference_mode():
        result: Tensor = module.eval()(*inputs.values())
    return result.float().numpy()


def check_parity(
    path: Path,
    inputs: dict[str, Tensor],
    output: str,
    expected: Array,
    tolerance: float = TOLERANCE,
    batches: Sequence[int] = (1,),
    what: str = "given",
) -> float:
    """Run the file on ONNX Runtime's CPU provider and compare, on the whole batch and on its first rows.

    Args:
        what: which inputs these are, for the message.

    Returns:
        The largest relative error seen.

    Raises:
        BundleError: it is above the tolerance.
    """
    session = Session(path, providers=("CPUExecutionProvider",))
    worst = 0.0
    for rows in (*batches, len(expected)):
        found = session.run(**{name: tensor[:rows].numpy() for name, tensor in inputs.items()})[output]
        worst = max(worst, relative_error(np.asarray(found), np.asarray(expected[:rows])))
    if not worst <= tolerance:
        raise BundleError(
            f"export: {path.name} differs from PyTorch by {worst:.1e} relative on {what} inputs, more than "
            f"{tolerance:.0e}; not written"
        )
    return worst
