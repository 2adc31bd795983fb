"""Derivatives beside graphs that are there already: of the predictor and of value heads, on their golden inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from jepa_ros.bundle.manifest import Manifest
from jepa_ros.bundle.signatures import PREDICTOR_VJP
from jepa_ros.errors import BundleError
from jepa_ros.golden import GoldenCase, golden_cases, relative_error
from jepa_ros.runtime import Session
from jepa_ros_export.derivative import by_autograd, derivative, excused
from jepa_ros_export.graphs import write_graph

Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Added:
    """What a bundle has gained.

    Attributes:
        manifest: that names the heads' gradients.
        golden: further entries of golden.npz.
        errors: largest relative error of each graph against autograd, by file.
    """

    manifest: Manifest
    golden: Arrays
    errors: dict[str, float]


def with_gradients(manifest: Manifest) -> Manifest:
    """The manifest of a bundle whose value heads have their gradients in `heads/NAME_vjp.onnx`."""
    heads = {
        name: head.model_copy(update={"gradient": f"heads/{name}_vjp.onnx" if head.kind == "value" else None})
        for name, head in manifest.heads.items()
    }
    return manifest.model_copy(update={"heads": heads})


def add_derivatives(
    folder: Path,
    manifest: Manifest,
    golden: Mapping[str, NDArray[np.generic]],
    predictor: nn.Module,
    heads: Mapping[str, nn.Module],
    opset: int,
    tolerance: float,
    say: Callable[[str], None] = lambda _: None,
) -> Added:
    """Write `predictor_vjp.onnx` and the value heads' gradients.

    Args:
        folder: the bundle's.
        manifest: its own.
        golden: inputs and outputs of the graphs whose derivatives these are.
        predictor, heads: the modules of these graphs.
        opset: of ONNX's own operators.
        tolerance: largest relative error against autograd, in each row of the golden inputs by itself.
        say: takes a line on each graph.

    Raises:
        BundleError: a graph that cannot be made or differs from autograd.
    """
    manifest, rng = with_gradients(manifest), np.random.default_rng(0)
    listed = manifest.model_copy(update={"files": {PREDICTOR_VJP: ""}})
    gradients = {head.gradient: name for name, head in manifest.heads.items() if head.gradient is not None}
    made: Arrays = {}
    errors: dict[str, float] = {}
    widest: float | None = manifest.calibration.derivative_tolerance
    for case in golden_cases(listed):
        if case.file == PREDICTOR_VJP:
            module, by, outputs = predictor, None, [manifest.next_name(tensor) for tensor in manifest.state]
        elif name := gradients.get(case.file):
            module, by = heads[name], [manifest.heads[name].inputs.index("latent")]
            outputs = [f"head_{name}_output"]
        else:
            continue
        cotangents = [key for part, key in case.inputs.items() if part.startswith("cotangent")]
        drawn = {
            key: rng.standard_normal(golden[output].shape).astype(np.float32)
            for key, output in zip(cotangents, outputs, strict=True)
        }
        work = _Derivative(folder, case, module, by, {**golden, **drawn}, len(cotangents))
        work.write(opset, manifest.predictor.batch)
        errors[case.file], wider = work.compare(tolerance)
        widest = widest if wider is None else max(wider, widest or 0.0)
        say(f"{case.what:20s} differs from PyTorch by {errors[case.file]:.1e} relative")
        made |= drawn | work.expected
    calibration = manifest.calibration.model_copy(update={"derivative_tolerance": widest})
    return Added(manifest.model_copy(update={"calibration": calibration}), made, errors)


class _Derivative:
    """One graph.

    Args:
        folder: of the bundle. case: of the graph. module: whose derivative it is. by: see `by_autograd`.
        golden: everything that the case takes.
        count: of cotangents.
    """

    def __init__(
        self,
        folder: Path,
        case: GoldenCase,
        module: nn.Module,
        by: list[int] | None,
        golden: Mapping[str, NDArray[np.generic]],
        count: int,
    ) -> None:
        self._path, self._case, self._module, self._by = folder / case.file, case, module, by
        self._given = {part: torch.from_numpy(np.array(golden[key])) for part, key in case.inputs.items()}
        self._count = len(self._given) - count
        found = by_autograd(module, list(self._given.values()), self._count, by)
        self.expected: Arrays = {key: tensor.numpy() for key, tensor in zip(case.outputs.values(), found, strict=True)}

    def write(self, opset: int, rows: int | None) -> None:
        """Trace and write it."""
        given = list(self._given.values())
        traced = derivative(self._module, given[: self._count], given[self._count :], self._by)
        with torch.no_grad():
            write_graph(traced, self._given, list(self._case.outputs), self._path, opset, rows)

    def compare(self, tolerance: float) -> tuple[float, float | None]:
        """The largest relative error, and the tolerance it needs where that is wider.

        Raises:
            BundleError: it is above what even PyTorch's own rounding excuses.
        """
        off, wider = self._error(), None
        if not off <= tolerance:
            wider = excused(self._module, [list(self._given.values())], self._count, tolerance, self._by)
        if not off <= (wider or tolerance):
            raise BundleError(
                f"export: {self._case.file} differs from PyTorch by {off:.1e} relative, more than "
                f"{wider or tolerance:.0e}; not written"
            )
        return off, wider

    def _error(self) -> float:
        session, worst = Session(self._path, providers=("CPUExecutionProvider",)), 0.0
        for rows in (1, len(next(iter(self._given.values())))):
            found = session.run_rows(**{part: tensor[:rows].numpy() for part, tensor in self._given.items()})
            for part, key in self._case.outputs.items():
                pairs = zip(found[part], self.expected[key], strict=False)
                worst = max(worst, *(relative_error(one, other) for one, other in pairs))
        return worst
