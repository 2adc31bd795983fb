"""A family's modules → a bundle: graphs, parity, golden values, manifest. Complete, or not there."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from jepa_ros.bundle.checks import check_plannable
from jepa_ros.bundle.loader import ENCODER, GOALS, GOLDEN, PREDICTOR, PREDICTOR_VJP, load_bundle, write_manifest
from jepa_ros.bundle.manifest import Manifest
from jepa_ros.errors import BundleError
from jepa_ros.golden import GoldenCase, golden_cases
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_export.derivative import by_autograd, derivative, rounding
from jepa_ros_export.family import Parts
from jepa_ros_export.family_probes import Inputs, ProbeMaker
from jepa_ros_export.folder import replacing
from jepa_ros_export.graphs import TOLERANCE, Arrays, check_parity, evaluate, write_graph
from jepa_ros_export.rollouts import LOOSEST, ROUNDINGS, rollout_error

_LARGE = 50_000_000  # parameters from which fewer examples are compared, for the time's sake
_GOLDEN_ROWS = 2  # of each group; random rows do not compress


@dataclass
class Report:
    """What was compared: largest relative errors by graph, and of the rollout; seconds by step; bytes of the bundle."""

    errors: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    size: int = 0


def write_bundle(
    parts: Parts,
    out: Path,
    goals: list[Path] | None = None,
    tolerance: float = TOLERANCE,
    with_derivative: bool = True,
    finish: Callable[[Path], None] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Write the bundle, or nothing.

    Args:
        parts: the model.
        out: the folder; a bundle there is replaced once the new one is complete.
        goals: PNG views that become named goals.
        tolerance: largest relative error against PyTorch, of fp32.
        with_derivative: whether to write `predictor_vjp.onnx`, for planning by gradients.
        finish: is called with the complete bundle's temporary folder, to change it before it is in place.
        say: takes a line on each step that is done.

    Raises:
        BundleError: a graph that cannot be made or differs from PyTorch; nothing is left behind.
    """
    report = Report()
    with replacing(out) as folder:
        writer = _Writer(parts, folder, tolerance, report, say)
        latents = writer.graphs(with_derivative)
        for view in goals or []:
            (folder / GOALS).mkdir(exist_ok=True)
            shutil.copy(view, folder / GOALS / view.name)
        write_manifest(folder, _with_tolerances(parts.manifest, tolerance, writer.derivative_tolerance))
        writer.rollout(latents)
        if finish is not None:
            finish(folder)
        report.size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return report


class _Writer:
    """Graph after graph, each held against its module."""

    def __init__(
        self, parts: Parts, folder: Path, tolerance: float, report: Report, say: Callable[[str], None]
    ) -> None:
        self._parts, self._folder, self._tolerance, self._report, self._say = parts, folder, tolerance, report, say
        self.derivative_tolerance: float | None = None
        self._golden: dict[str, list[NDArray[np.generic]]] = {}
        weights = sum(p.numel() for module in (parts.encoder, parts.predictor) for p in module.parameters())
        self._probes = ProbeMaker(parts, 2 if weights > _LARGE else 4, np.random.default_rng(0))
        listed = {PREDICTOR_VJP: ""}  # so that the derivative's case is among them
        self._cases = {case.file: case for case in golden_cases(parts.manifest.model_copy(update={"files": listed}))}

    def graphs(self, with_derivative: bool) -> NDArray[np.float32]:
        """Write them all and golden.npz; returns latents `[M, D]` of scenes."""
        parts, manifest = self._parts, self._parts.manifest
        images = self._probes.images()
        encoded = self._graph(ENCODER, parts.encoder, images)
        contexts = self._probes.contexts(images)
        following = self._graph(PREDICTOR, parts.predictor, contexts)
        if with_derivative:
            inputs = {g: {**contexts[g], **self._probes.cotangents(following[g])} for g in contexts}
            self._derivative(inputs, len(contexts["scene"]))
        for name, head in parts.heads.items():
            self._graph(manifest.heads[name].file, head, self._probes.heads(name, contexts))
        np.savez_compressed(self._folder / GOLDEN, **{key: np.concatenate(a) for key, a in self._golden.items()})
        rows = len(next(iter(encoded["scene"].values())))
        flat = [encoded["scene"][t.name].reshape(rows, -1) for t in manifest.state if t.role != "outcome"]
        others = sum(int(np.prod(t.shape)) for t in manifest.state if t.role == "outcome")
        return np.concatenate([*flat, np.zeros((rows, others), np.float32)], axis=1)

    def rollout(self, latents: NDArray[np.float32]) -> None:
        """Hold the whole horizon, by the runtime that a robot has, against PyTorch; and that it can be planned with."""
        since, bundle = time.perf_counter(), load_bundle(self._folder)
        model = OnnxWorldModel(bundle)
        check_plannable(bundle, model)
        found = rollout_error(self._parts, model, latents, np.random.default_rng(1))
        self._done("rollout", found.found, since)
        if found.rounding:
            self._say(f"{'':20s} where PyTorch's own rounding over the horizon makes {found.rounding:.1e}")
        if not found.within(self._tolerance):
            raise BundleError(
                f"export: a rollout differs from PyTorch by {found.found:.1e} relative, more than "
                f"{self._tolerance:.0e}; not written"
            )

    def _graph(self, file: str, module: nn.Module, groups: dict[str, Inputs]) -> dict[str, Arrays]:
        """Write one, compare it on every group, keep golden rows; returns PyTorch's outputs by group."""
        since, outputs = time.perf_counter(), list(self._cases[file].outputs)
        with torch.no_grad():
            write_graph(module, groups["scene"], outputs, self._folder / file)
        truth = {group: evaluate(module, inputs, outputs) for group, inputs in groups.items()}
        self._compare(file, groups, truth, self._tolerance, since)
        return truth

    def _derivative(self, groups: dict[str, Inputs], count: int) -> None:
        """The predictor's derivative by its first `count` inputs, held against autograd.

        Steep weights make even PyTorch's own gradient inexact: then its rounding is the measure.
        """
        since, predictor = time.perf_counter(), self._parts.predictor
        outputs, example = list(self._cases[PREDICTOR_VJP].outputs), list(groups["scene"].values())
        traced = derivative(predictor, example[:count], example[count:])
        with torch.no_grad():
            write_graph(traced, groups["scene"], outputs, self._folder / PREDICTOR_VJP)
        truth: dict[str, Arrays] = {}
        for group, inputs in groups.items():
            found = by_autograd(predictor, list(inputs.values()), count)
            truth[group] = {name: tensor.numpy() for name, tensor in zip(outputs, found, strict=True)}
        try:
            self._compare(PREDICTOR_VJP, groups, truth, self._tolerance, since)
        except BundleError:
            own = max(rounding(predictor, list(inputs.values()), count) for inputs in groups.values())
            allowed = ROUNDINGS * own
            if not self._tolerance < allowed <= LOOSEST:
                raise
            self._say(f"{'':20s} PyTorch's own gradient is off by {own:.1e} relative: the weights are steep")
            self._compare(PREDICTOR_VJP, groups, truth, allowed, since)
            self.derivative_tolerance = allowed

    def _compare(
        self, file: str, groups: dict[str, Inputs], truth: dict[str, Arrays], allowed: float, since: float
    ) -> None:
        """Hold the file against what PyTorch said; what agrees is kept as golden.

        Raises:
            BundleError: it is further off than allowed.
        """
        case = self._cases[file]
        errors = [check_parity(self._folder / file, groups[g], truth[g], allowed, what=g) for g in groups]
        for group, inputs in groups.items():
            self._keep(case, inputs, truth[group], keep_inputs=file != PREDICTOR_VJP)
        self._done(case.what, max(errors), since)

    def _keep(self, case: GoldenCase, inputs: Inputs, found: Arrays, keep_inputs: bool) -> None:
        for part, key in case.inputs.items():
            # The derivative shares the predictor's own inputs.
            if keep_inputs or part.startswith("cotangent_"):
                self._golden.setdefault(key, []).append(inputs[part][:_GOLDEN_ROWS].numpy())
        for part, key in case.outputs.items():
            self._golden.setdefault(key, []).append(found[part][:_GOLDEN_ROWS])

    def _done(self, what: str, error: float, since: float) -> None:
        took = time.perf_counter() - since
        self._report.errors[what], self._report.seconds[what] = error, took
        self._say(f"{what:20s} differs from PyTorch by {error:.1e} relative ({took:.1f} s)")


def _with_tolerances(manifest: Manifest, tolerance: float, of_derivative: float | None) -> Manifest:
    given = {"CPUExecutionProvider:fp32": tolerance, "CUDAExecutionProvider:fp32": 10 * tolerance}
    changed = {"tolerance": given, "derivative_tolerance": of_derivative}
    return manifest.model_copy(update={"calibration": manifest.calibration.model_copy(update=changed)})
