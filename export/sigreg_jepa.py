"""The project's own family: a checkpoint of `jepa_ros_training.train` → a bundle.

The encoder takes uint8 pixels and the predictor SI units already in PyTorch, so the graphs are the modules as they are.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from jepa_ros.bundle.loader import ENCODER, GOALS, GOLDEN, PREDICTOR, load_bundle, write_manifest
from jepa_ros.bundle.manifest import (
    MANIFEST_NAME,
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
from jepa_ros_export.calibration import Distance, Float32, arrival_energy, encode, latent_distance, surprise
from jepa_ros_export.graphs import TOLERANCE, check_parity, evaluate, write_graph
from jepa_ros_training.checkpoint import load_average
from jepa_ros_training.dataset import Runs
from jepa_ros_training.model import WorldModel
from jepa_ros_training.value import ValueHead, load_value

FAMILY = "sigreg_jepa"
VALUE = "heads/value.onnx"
HEAD_MOUNT = Mount(x=0.32, z=0.06)
_GOLDEN_BATCH = 8


@dataclass(frozen=True)
class Export:
    """What goes into a bundle besides the weights.

    Attributes:
        checkpoint: of `jepa_ros_training.train`; the averaged weights are taken.
        value: of `jepa_ros_training.value`; None leaves the head out, and the energy is then the latent distance.
        out: the bundle's folder; one that is there already is replaced once the new one is complete.
        name, source, licence: as in the manifest.
        goals: folder of PNG views that become named goals.
        cost: "value" or "latent", what the planner's energy is.
        fov_rad, mount: of the camera that the runs were recorded with.
    """

    checkpoint: Path
    out: Path
    value: Path | None = None
    name: str = "default"
    source: str = "trained by jepa_ros_training on runs of the simulated Go2"
    licence: str = "Apache-2.0"
    goals: Path | None = None
    cost: str = "value"
    fov_rad: float = math.pi / 2
    mount: Mount = HEAD_MOUNT


def export(request: Export, held_out: Runs) -> dict[str, float]:
    """Write the bundle, or nothing.

    Args:
        request: what to export.
        held_out: runs the model never saw, for golden values and calibration.

    Returns:
        The largest relative error of each graph against PyTorch.

    Raises:
        JepaRosError: a checkpoint that is not one of this family.
        BundleError: a graph differs from PyTorch, or `out` holds something that is not a bundle.
    """
    model = load_average(request.checkpoint)
    head = load_value(request.value) if request.value is not None else None
    if request.cost == "value" and head is None:
        raise BundleError("export: cost 'value' needs a value head; fit one with `python -m jepa_ros_training.value`")
    if head is not None and head.config.latent != model.config.latent:
        raise BundleError(
            f"export: {request.value} is for latents of {head.config.latent}, the model has {model.config.latent}"
        )
    _refuse_other_folders(request.out)
    request.out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{request.out.name}.", dir=request.out.parent))
    try:
        latents = encode(model, held_out)
        errors = _write_graphs(model, head, held_out, latents, partial)
        if request.goals is not None:
            (partial / GOALS).mkdir()
            for view in sorted(request.goals.glob("*.png")):
                shutil.copy(view, partial / GOALS / view.name)
        write_manifest(partial, _manifest(request, model, head, held_out, latents))
        OnnxWorldModel(load_bundle(partial))
        partial.chmod(0o755)
        if request.out.exists():
            shutil.rmtree(request.out)
        partial.rename(request.out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return errors


def _refuse_other_folders(out: Path) -> None:
    """A bundle may be replaced; anything else that lies there may not."""
    if out.exists() and not (out / MANIFEST_NAME).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise BundleError(f"export: {out} exists and is not a bundle; choose another --out or remove it")


def _write_graphs(
    model: WorldModel, head: ValueHead | None, runs: Runs, latents: Float32, folder: Path, tolerance: float = TOLERANCE
) -> dict[str, float]:
    """Graphs and golden.npz; returns the error of each graph."""
    context = model.config.context
    begin = np.linspace(0, len(runs.starts(context)) - 1, _GOLDEN_BATCH).astype(int)
    rows = runs.starts(context)[begin][:, None] + np.arange(context)
    image = torch.from_numpy(runs.images[rows[:, -1]])
    past, action = torch.from_numpy(latents[rows]), torch.from_numpy(runs.actions[rows])
    graphs: list[tuple[str, torch.nn.Module, dict[str, Tensor], str]] = [
        (ENCODER, model.encoder, {"image": image}, "latent"),
        (PREDICTOR, model.predictor, {"latent": past, "action": action}, "next"),
    ]
    if head is not None:
        graphs.append((VALUE, head, {"latent": past[:, -1], "goal": past[:, -1].flip(0)}, "value"))
    golden = {"image": image.numpy(), "context": past.numpy(), "action": action.numpy()}
    errors = {}
    for name, module, inputs, output in graphs:
        expected = evaluate(module, inputs)
        write_graph(module, inputs, output, folder / name)
        errors[name] = check_parity(folder / name, inputs, output, expected, tolerance)
        if name == VALUE:
            golden |= {f"head_value_{part}": tensor.numpy() for part, tensor in inputs.items()}
            golden["head_value_output"] = expected
        else:
            golden[output] = expected
    np.savez_compressed(folder / GOLDEN, **golden)
    return errors


def _manifest(request: Export, model: WorldModel, head: ValueHead | None, runs: Runs, latents: Float32) -> Manifest:
    """Everything the graphs cannot say; file hashes are added when it is written."""
    config = model.config
    distance: Distance = latent_distance
    source, metric = "latent", "l2"
    if request.cost == "value" and head is not None:
        chosen = head

        def distance(latent: Float32, goal: Float32) -> Float32:
            return evaluate(chosen, {"latent": torch.from_numpy(latent), "goal": torch.from_numpy(goal)})

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
