"""A family's modules → a bundle: graphs, parity, golden values, manifest. Complete, or not there."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from jepa_ros.bundle.checks import check_plannable
from jepa_ros.bundle.loader import (
    ENCODER,
    GOALS,
    GOLDEN,
    PREDICTOR,
    PREDICTOR_CONDITION,
    PREDICTOR_STEP,
    PREDICTOR_VJP,
    load_bundle,
    write_manifest,
)
from jepa_ros.bundle.manifest import Manifest
from jepa_ros.bundle.model_spec import CacheSpec
from jepa_ros.bundle.signatures import derivatives
from jepa_ros.errors import BundleError
from jepa_ros.golden import GoldenCase, golden_cases
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_export.added_derivatives import with_gradients
from jepa_ros_export.derivative import by_autograd, derivative, excused
from jepa_ros_export.family import Incremental, Parts
from jepa_ros_export.family_probes import Inputs, ProbeMaker
from jepa_ros_export.folder import replacing
from jepa_ros_export.graph_form import GraphForm
from jepa_ros_export.graphs import TOLERANCE, Arrays, check_parity, evaluate, write_graph
from jepa_ros_export.incremental import FREE_STEPS, check_step, golden_step, write_step
from jepa_ros_export.rollouts import ROUNDINGS, rollout_error

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
    form: GraphForm = GraphForm(),
    finish: Callable[[Path], None] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Write the bundle, or nothing.

    Args:
        parts: the model.
        out: the folder; a bundle there is replaced once the new one is complete.
        goals: PNG views that become named goals.
        tolerance: largest relative error against PyTorch, of fp32.
        with_derivative: whether to write `predictor_vjp.onnx` and value heads' gradients, for planning by gradients.
        form: the graphs' opset and batch.
        finish: is called with the complete bundle's temporary folder, to change it before it is in place.
        say: takes a line on each step that is done.

    Raises:
        BundleError: a graph that cannot be made or differs from PyTorch; nothing is left behind.
    """
    report = Report()
    if parts.manifest.predictor.cache is not None and parts.incremental is None:
        raise BundleError(f"export {parts.manifest.family}: predictor.cache: there is no incremental predictor")
    parts = replace(parts, manifest=_offered(form.checked().of(parts.manifest), with_derivative))
    with replacing(out) as folder:
        writer = _Writer(parts, folder, tolerance, report, say, form.opset)
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
        self, parts: Parts, folder: Path, tolerance: float, report: Report, say: Callable[[str], None], opset: int
    ) -> None:
        self._parts, self._folder, self._tolerance, self._report, self._say = parts, folder, tolerance, report, say
        self._opset, self._rows = opset, parts.manifest.predictor.batch
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
            self._derivative(PREDICTOR_VJP, parts.predictor, inputs)
        if parts.incremental is not None and manifest.predictor.cache is not None:
            self._incremental(parts.incremental, manifest.predictor.cache, contexts, following)
        for name, head in parts.heads.items():
            spec, groups = manifest.heads[name], self._probes.heads(name, contexts)
            said = self._graph(spec.file, head, groups)
            if spec.gradient is not None:
                weighed = {g: self._probes.cotangents(said[g]) for g in groups}
                inputs = {g: {**groups[g], "cotangent": next(iter(weighed[g].values()))} for g in groups}
                self._derivative(spec.gradient, head, inputs, [spec.inputs.index("latent")])
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
        self._export(module, groups["scene"], file)
        truth = {group: evaluate(module, inputs, outputs) for group, inputs in groups.items()}
        self._compare(file, groups, truth, self._tolerance, since)
        return truth

    def _derivative(self, file: str, module: nn.Module, groups: dict[str, Inputs], by: list[int] | None = None) -> None:
        """A module's derivative by all its inputs or some, held against autograd; the cotangents come last.

        Steep weights make even PyTorch's own gradient inexact: then its rounding is the measure.
        """
        since = time.perf_counter()
        outputs, example = list(self._cases[file].outputs), list(groups["scene"].values())
        count = sum(not name.startswith("cotangent") for name in groups["scene"])
        self._export(derivative(module, example[:count], example[count:], by), groups["scene"], file)
        truth: dict[str, Arrays] = {}
        for group, inputs in groups.items():
            found = by_autograd(module, list(inputs.values()), count, by)
            truth[group] = {name: tensor.numpy() for name, tensor in zip(outputs, found, strict=True)}
        try:
            self._compare(file, groups, truth, self._tolerance, since)
        except BundleError:
            given = [list(inputs.values()) for inputs in groups.values()]
            allowed = excused(module, given, count, self._tolerance, by)
            if allowed is None:
                raise
            own = allowed / ROUNDINGS
            self._say(f"{'':20s} PyTorch's own gradient is off by {own:.1e} relative: the weights are steep")
            self._compare(file, groups, truth, allowed, since)
            self.derivative_tolerance = max(allowed, self.derivative_tolerance or 0.0)

    def _incremental(
        self, model: Incremental, spec: CacheSpec, contexts: dict[str, Inputs], whole: dict[str, Arrays]
    ) -> None:
        """The incremental predictor: its condition, held against its module, and its step, held against the full
        predictor on every split of every window."""
        latent, since = self._parts.manifest.latent, time.perf_counter()
        self._export(model.condition, {"action": contexts["scene"]["action"]}, PREDICTOR_CONDITION, FREE_STEPS)
        actions = {g: {"action": inputs["action"]} for g, inputs in contexts.items()}
        truth = {g: evaluate(model.condition, inputs, ["condition"]) for g, inputs in actions.items()}
        file = self._folder / PREDICTOR_CONDITION
        off = [check_parity(file, actions[g], truth[g], self._tolerance, what=g) for g in actions]
        self._done("predictor_condition", max(off), since)
        since, file = time.perf_counter(), self._folder / PREDICTOR_STEP
        write_step(model, spec, latent.name, latent.shape[0], file, self._opset)
        windows = [(inputs[latent.name], inputs["action"], whole[g]["next"]) for g, inputs in contexts.items()]
        off = [check_step(file, model, spec, *window, self._tolerance) for window in windows]
        self._golden |= golden_step(model, spec, latent.name, contexts)
        self._done("predictor_step", max(off), since)

    def _export(self, module: nn.Module, inputs: Inputs, file: str, free: Mapping[int, str] | None = None) -> None:
        """`free`: axes of every input that are free besides its first."""
        rows = 1 if self._rows is not None and file == ENCODER else self._rows
        axes = dict.fromkeys(inputs, free) if free else None
        with torch.no_grad():
            write_graph(module, inputs, list(self._cases[file].outputs), self._folder / file, self._opset, rows, axes)

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
            self._keep(case, inputs, truth[group], keep_inputs=file not in derivatives(self._parts.manifest))
        self._done(case.what, max(errors), since)

    def _keep(self, case: GoldenCase, inputs: Inputs, found: Arrays, keep_inputs: bool) -> None:
        for part, key in case.inputs.items():
            # A derivative shares the inputs of what it is of.
            if keep_inputs or part.startswith("cotangent"):
                self._golden.setdefault(key, []).append(inputs[part][:_GOLDEN_ROWS].numpy())
        for part, key in case.outputs.items():
            self._golden.setdefault(key, []).append(found[part][:_GOLDEN_ROWS])

    def _done(self, what: str, error: float, since: float) -> None:
        took = time.perf_counter() - since
        self._report.errors[what], self._report.seconds[what] = error, took
        self._say(f"{what:20s} differs from PyTorch by {error:.1e} relative ({took:.1f} s)")


def _offered(manifest: Manifest, with_derivative: bool) -> Manifest:
    """The manifest of what is written: heads' gradients as they are asked for; with a fixed batch nothing incremental,
    whose use is a history of one row beside many candidates."""
    heads = {name: head.model_copy(update={"gradient": None}) for name, head in manifest.heads.items()}
    changed = with_gradients(manifest).heads if with_derivative else heads
    predictor = manifest.predictor
    if predictor.batch is not None:
        predictor = predictor.model_copy(update={"cache": None})
    return manifest.model_copy(update={"heads": changed, "predictor": predictor})


def _with_tolerances(manifest: Manifest, tolerance: float, of_derivative: float | None) -> Manifest:
    given = {"CPUExecutionProvider:fp32": tolerance, "CUDAExecutionProvider:fp32": 10 * tolerance}
    changed = {"tolerance": given, "derivative_tolerance": of_derivative}
    return manifest.model_copy(update={"calibration": manifest.calibration.model_copy(update=changed)})
