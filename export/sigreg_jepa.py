"""The project's own family: a checkpoint of `jepa_ros_training.train` → a bundle.

The encoder takes uint8 pixels and the predictor SI units already in PyTorch, so the graphs are the modules as they are.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from jepa_ros.bundle.loader import ENCODER, GOALS, GOLDEN, PREDICTOR, load_bundle, write_manifest
from jepa_ros.bundle.manifest import (
    ActionSpec,
    Calibration,
    CameraSpec,
    CostTerm,
    Head,
    Manifest,
    Mount,
    PlannerDefaults,
    PredictorSpec,
    StateTensor,
    Timing,
)
from jepa_ros.errors import BundleError
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_export.added_derivatives import add_derivatives
from jepa_ros_export.calibration import Distance, Float32, arrival_energy, encode, latent_distance, surprise
from jepa_ros_export.folder import replacing
from jepa_ros_export.goals import goal_views
from jepa_ros_export.graph_form import OPSET, GraphForm
from jepa_ros_export.graphs import TOLERANCE, check_parity, evaluate, write_graph
from jepa_ros_export.probes import Probes, image_probes, predictor_probes, value_probes
from jepa_ros_training.checkpoint import load_average
from jepa_ros_training.dataset import Runs
from jepa_ros_training.model import WorldModel
from jepa_ros_training.value import ValueHead, load_value

FAMILY = "sigreg_jepa"
VALUE = "heads/value.onnx"
_GOLDEN_BATCH, _GOLDEN_RANDOM = 8, 2


@dataclass(frozen=True)
class Export:
    """What goes into a bundle besides the weights.

    Attributes:
        checkpoint: of `jepa_ros_training.train`; the averaged weights are taken.
        out: the bundle's folder; one that is there already is replaced once the new one is complete.
        fov_rad: horizontal field of view, after the crop, of the camera that the runs were recorded with; mount: where
            it sat.
        value: of `jepa_ros_training.value`; None leaves the head out, and the energy is then the latent distance.
        name, source, licence: as in the manifest.
        goals: folder of PNG views that become named goals.
        cost: "value" or "latent", what the planner's energy is.
        form: the graphs' opset and batch.
        derivative: whether to write the derivatives of predictor and head, for planning by gradients.
    """

    checkpoint: Path
    out: Path
    fov_rad: float
    mount: Mount
    value: Path | None = None
    name: str = "default"
    source: str = "trained by jepa_ros_training on recorded runs"
    licence: str = "Apache-2.0"
    goals: Path | None = None
    cost: str = "value"
    form: GraphForm = field(default_factory=GraphForm)
    derivative: bool = True


def export(request: Export, held_out: Runs) -> dict[str, float]:
    """Write the bundle, or nothing.

    Args:
        request: what to export.
        held_out: runs the model never saw, for golden values and calibration.

    Returns:
        The largest relative error of each graph against PyTorch.

    Raises:
        JepaRosError: a checkpoint that is not one of this family, or held-out runs too short for a prediction.
        BundleError: a graph differs from PyTorch, there are no goal views where they should be, or `out` holds
            something that is not a bundle.
    """
    form = request.form.checked()
    model = load_average(request.checkpoint)
    head = load_value(request.value) if request.value is not None else None
    if request.cost == "value" and head is None:
        raise BundleError("export: cost 'value' needs a value head; fit one with `python -m jepa_ros_training.value`")
    if head is not None and head.config.latent != model.config.latent:
        raise BundleError(
            f"export: {request.value} is for latents of {head.config.latent}, the model has {model.config.latent}"
        )
    held_out.need(model.config.context + 1, "held-out runs")
    views = goal_views(request.goals)
    with replacing(request.out) as partial:
        latents = encode(model, held_out)
        manifest = form.of(_manifest(request, model, head, held_out, latents))
        errors, golden = _write_graphs(model, head, held_out, latents, partial, form.opset, manifest.predictor.batch)
        if request.derivative:
            heads = {} if head is None else {"value": head}
            added = add_derivatives(partial, manifest, golden, model.predictor, heads, form.opset, TOLERANCE)
            manifest, golden, errors = added.manifest, {**golden, **added.golden}, {**errors, **added.errors}
        np.savez_compressed(partial / GOLDEN, **golden)
        if views:
            (partial / GOALS).mkdir()
        for view in views:
            shutil.copy(view, partial / GOALS / view.name)
        write_manifest(partial, manifest)
        world = OnnxWorldModel(load_bundle(partial))
        if request.derivative:
            world.open_derivatives()
    return errors


def _write_graphs(
    model: WorldModel,
    head: ValueHead | None,
    runs: Runs,
    latents: Float32,
    folder: Path,
    opset: int = OPSET,
    batch: int | None = None,
    tolerance: float = TOLERANCE,
) -> tuple[dict[str, float], dict[str, NDArray[np.generic]]]:
    """Graphs; returns the largest error of each, and golden values. `batch` is the manifest's."""
    config, rng = model.config, np.random.default_rng(0)
    starts = runs.starts(config.context)
    begin = starts[np.linspace(0, len(starts) - 1, _GOLDEN_BATCH).astype(int)]
    rows = begin[:, None] + np.arange(config.context)
    low, high = np.array(config.action_low, np.float32), np.array(config.action_high, np.float32)
    past = latents[rows]
    graphs: list[tuple[str, torch.nn.Module, Probes, str]] = [
        (ENCODER, model.encoder, image_probes(runs.images[rows[:, -1]], rng), "latent"),
        (PREDICTOR, model.predictor, predictor_probes(past, runs.actions[rows], latents, low, high, rng), "next"),
    ]
    if head is not None:
        graphs.append((VALUE, head, value_probes(past[:, -1], latents, rng), "value"))
    golden, errors = {}, {}
    for name, module, probes, output in graphs:
        rows = 1 if batch is not None and name == ENCODER else batch
        write_graph(module, probes.recorded, [output], folder / name, opset, rows)
        kept: dict[str, list[Float32]] = {}
        errors[name] = 0.0
        for what, inputs in probes.groups().items():
            expected = evaluate(module, inputs, [output])[output]
            found = check_parity(folder / name, inputs, {output: expected}, tolerance, what=what)
            errors[name] = max(errors[name], found)
            # Random rows do not compress, and two say as much as eight.
            count = _GOLDEN_RANDOM if what == "random" else len(expected)
            for part, array in (*((part, tensor.numpy()) for part, tensor in inputs.items()), (output, expected)):
                kept.setdefault(part, []).append(array[:count])
        golden |= {_golden_name(name, part, output): np.concatenate(arrays) for part, arrays in kept.items()}
    return errors, golden


def _golden_name(graph: str, tensor: str, output: str) -> str:
    """What golden.npz calls a tensor of a graph."""
    if graph == VALUE:
        return f"head_value_{'output' if tensor == output else tensor}"
    return "context" if (graph, tensor) == (PREDICTOR, "latent") else tensor


def _manifest(request: Export, model: WorldModel, head: ValueHead | None, runs: Runs, latents: Float32) -> Manifest:
    """Everything the graphs cannot say; file hashes are added when it is written."""
    config = model.config
    distance: Distance = latent_distance
    source, metric = "latent", "l2"
    if request.cost == "value" and head is not None:
        chosen = head

        def distance(latent: Float32, goal: Float32) -> Float32:
            inputs = {"latent": torch.from_numpy(latent), "goal": torch.from_numpy(goal)}
            return evaluate(chosen, inputs, ["value"])["value"]

        source, metric = "head:value", "value"
    middle, high = surprise(model, runs, latents)
    return Manifest(
        family=FAMILY,
        name=request.name,
        licence=request.licence,
        source=request.source,
        created_by="jepa_ros_export.sigreg_jepa",
        camera=CameraSpec(
            width=config.image,
            height=config.image,
            interpolation="area",
            horizontal_fov_rad=request.fov_rad,
            mount=request.mount,
        ),
        timing=Timing(step_s=runs.step_s, history_min=1, history_max=config.context, warm_up="pad"),
        state=[StateTensor(name="latent", kind="vector", shape=(config.latent,))],
        action=ActionSpec(
            names=["vx", "vy", "wz"],
            units=["m/s", "m/s", "rad/s"],
            low=list(config.action_low),
            high=list(config.action_high),
        ),
        predictor=PredictorSpec(max_context=config.context, sliding=True, output="last"),
        heads={"value": Head(file=VALUE, inputs=["latent", "goal"], output="value")} if head is not None else {},
        cost=[
            CostTerm(source=source, metric=metric, weight=1.0, steps="all"),
            CostTerm(source=source, metric=metric, weight=0.5, steps="last"),
        ],
        planner=PlannerDefaults(name="cem", samples=64, iterations=3, elites=8, horizon=6, knot=3, std=1.0),
        calibration=Calibration(
            arrival_energy=arrival_energy(latents, runs, distance),
            surprise_p50=middle,
            surprise_p99=high,
            tolerance={"CPUExecutionProvider:fp32": TOLERANCE, "CUDAExecutionProvider:fp32": 10 * TOLERANCE},
        ),
    )
