"""Calibration of any bundle on recordings that its model never saw: what arrival and surprise look like in numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jepa_ros.bundle.loader import load_bundle, write_manifest
from jepa_ros.bundle.manifest import Calibration, Manifest
from jepa_ros.errors import BundleError, ImageError
from jepa_ros.planning.cost import GoalObjective, arrival_term
from jepa_ros.types import Float32, UInt8
from jepa_ros.vision import Preprocessor
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_training.dataset import Runs

_WINDOWS = 400


def calibrate(folder: Path, runs: Runs, seed: int = 0) -> Calibration:
    """Measure, and write it into the bundle's manifest.

    Arrival is judged by the first cost term that says how far a goal is; its energy is the median of that between two
    frames one model step apart. Surprise is the mean squared difference of what is predicted and seen, one step on
    from as many latents as `LatentMPC` keeps, `timing.history_max`.

    Args:
        folder: a complete bundle.
        runs: whose frames are one environment step apart: the model step over `action.block`.
        seed: which windows of the runs are taken.

    Raises:
        BundleError: runs that do not fit the bundle's actions, time or inputs, or that are too short.
    """
    bundle = load_bundle(folder)
    model, manifest = OnnxWorldModel(bundle), bundle.manifest
    starts = fitting(manifest, runs)
    rng = np.random.default_rng(seed)
    starts = rng.permutation(starts)[:_WINDOWS]
    prepare, block, history = Preprocessor(manifest.camera), manifest.action.block, manifest.timing.history_max
    term, energies, surprises = arrival_term(manifest), [], []
    for start in starts:
        now = start + (manifest.camera.frame_stack - 1) * block
        steps = now + np.arange(history + 1) * block
        latents = np.stack([model.encode(_seen(runs, prepare, manifest, int(at))) for at in steps])
        actions = np.stack([runs.actions[at : at + block].reshape(-1) for at in steps[:-1]])
        predicted = model.rollout(latents[:-1], actions[:-1], actions[None, -1:])[0, 0]
        surprises.append(_difference(model, predicted, latents[-1]))
        goal = GoalObjective(model, latents[-1], manifest.cost, model.layout, term)
        energies.append(goal.arrival_energy(latents[-2]))
    calibration = manifest.calibration.model_copy(
        update={
            "arrival_energy": max(float(np.median(energies)), np.finfo(np.float32).tiny),
            "surprise_p50": float(np.percentile(surprises, 50)),
            "surprise_p99": max(float(np.percentile(surprises, 99)), np.finfo(np.float32).tiny),
            "measured_on": "recordings",
        }
    )
    write_manifest(folder, manifest.model_copy(update={"calibration": calibration}))
    return calibration


def fitting(manifest: Manifest, runs: Runs) -> np.ndarray:
    """Frames at which a window fits: a stack, a whole history, and one step more.

    Raises:
        BundleError: runs that do not fit the manifest's camera, actions, time or inputs.
        JepaRosError: none is long enough.
    """
    try:
        Preprocessor(manifest.camera)
    except ImageError as error:
        raise BundleError(f"--data: run files hold images of a camera; {error}") from error
    action, step_s = manifest.action, manifest.timing.step_s
    if manifest.proprio is not None:
        raise BundleError(f"--data: run files hold no {', '.join(manifest.proprio.names)}, which the encoder takes")
    if runs.actions.shape[1] != len(action.names):
        raise BundleError(
            f"--data: the runs' actions have {runs.actions.shape[1]} values, the bundle's are {', '.join(action.names)}"
        )
    if abs(runs.step_s * action.block - step_s) > 0.02 * step_s:
        raise BundleError(
            f"--data: the runs' frames are {runs.step_s:g} s apart; a model step of {step_s:g} s with {action.block} "
            f"actions needs {step_s / action.block:g} s"
        )
    window = (manifest.camera.frame_stack - 1 + manifest.timing.history_max) * action.block + 1
    runs.need(window, "--data")
    return runs.starts(window)


def _seen(runs: Runs, prepare: Preprocessor, manifest: Manifest, at: int) -> UInt8:
    """The frame at a step, or the stack that ends there, as the encoder takes it."""
    stack, block = manifest.camera.frame_stack, manifest.action.block
    frames = [prepare(runs.images[at - (stack - 1 - i) * block]) for i in range(stack)]
    return frames[0] if stack == 1 else np.stack(frames)


def _difference(model: OnnxWorldModel, predicted: Float32, seen: Float32) -> float:
    return float(np.mean(np.concatenate([np.square(predicted[s] - seen[s]) for s in model.layout.seen])))
