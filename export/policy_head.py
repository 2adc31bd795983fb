"""A policy head added to a bundle: a copy of the bundle with `heads/policy.onnx`, held against its module."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from torch import nn

from jepa_ros.bundle.checks import check_plannable
from jepa_ros.bundle.loader import GOLDEN, Bundle, load_bundle, write_manifest
from jepa_ros.bundle.manifest import Head, Manifest
from jepa_ros.errors import BundleError
from jepa_ros.types import Float32
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_export.folder import replacing
from jepa_ros_export.graphs import check_parity, evaluate, opset_of, write_graph
from jepa_ros_export.probes import Inputs

NAME, FILE = "policy", "heads/policy.onnx"
_INPUTS = ("latent", "goal", "noise")
_ROWS, _GOLDEN_ROWS = 8, 2


def check_takes_policy(bundle: Bundle) -> None:
    """Refuse a bundle that no policy can be added to, with what to do instead.

    Raises:
        BundleError: it is not fp32, or has a policy, or another head of its name.
    """
    manifest, where = bundle.manifest, f"bundle {bundle.path}"
    if manifest.precision != "fp32":
        raise BundleError(f"{where}: is {manifest.precision}; add the policy to the fp32 one it was made from")
    taken = [name for name, head in manifest.heads.items() if head.kind == "policy" or NAME in (name, head.output)]
    if taken or FILE in manifest.files:
        what = f"heads.{taken[0]} is in its place" if taken else f"{FILE} is there"
        raise BundleError(f"{where}: {what}; add the policy to the bundle as it was before")


def add_policy(
    source: Path, out: Path, policy: nn.Module, latents: Float32, goals: Float32, samples: int, tolerance: float
) -> float:
    """Write a copy of a bundle with this policy, or nothing.

    Args:
        source: the bundle's folder; out: the new one's, which may be the same.
        policy: latents and goals `[B, …]` of the bundle's latent tensor, noise `[B, A]` → actions `[B, A]`.
        latents, goals: `[N, D]` of that tensor, flat, from recordings; what the graph is held against PyTorch on.
        samples: plans that the policy proposes in each search; `planner.policy_samples`.
        tolerance: largest relative error against PyTorch.

    Returns:
        The largest relative error.

    Raises:
        BundleError: see `check_takes_policy`; a graph that cannot be made or differs, or no room for so many plans
            among the planner's samples. Nothing is written.
    """
    bundle = load_bundle(source)
    check_takes_policy(bundle)
    manifest, golden = bundle.manifest, dict(bundle.golden())
    groups = _probes(manifest, latents, goals, np.random.default_rng(0))
    with replacing(out) as folder:
        for name in (*manifest.files, "README.md"):
            if (source / name).is_file() and name != GOLDEN:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source / name, folder / name)
        with torch.no_grad():
            write_graph(
                policy, groups["recorded"], ["action"], folder / FILE, opset_of(bundle), manifest.predictor.batch
            )
        truth = {what: evaluate(policy, inputs, ["action"]) for what, inputs in groups.items()}
        errors = [check_parity(folder / FILE, groups[what], truth[what], tolerance, what=what) for what in groups]
        for part in _INPUTS:
            rows = [inputs[part][:_GOLDEN_ROWS].numpy() for inputs in groups.values()]
            golden[f"head_{NAME}_{part}"] = np.concatenate(rows)
        golden[f"head_{NAME}_output"] = np.concatenate([found["action"][:_GOLDEN_ROWS] for found in truth.values()])
        np.savez_compressed(folder / GOLDEN, **golden)
        write_manifest(folder, _with_policy(manifest, samples))
        written = load_bundle(folder)
        check_plannable(written, OnnxWorldModel(written))
    return max(errors)


def _with_policy(manifest: Manifest, samples: int) -> Manifest:
    head = Head(file=FILE, inputs=list(_INPUTS), output="action", kind="policy")
    planner = manifest.planner.model_copy(update={"policy_samples": samples})
    return manifest.model_copy(update={"heads": {**manifest.heads, NAME: head}, "planner": planner})


def _probes(manifest: Manifest, latents: Float32, goals: Float32, rng: np.random.Generator) -> dict[str, Inputs]:
    """Recorded latents, the first without noise; zeros and both ends of what is known; uniform within these. The noise
    of the ends is one that no action's bounds hold."""
    least, most = np.minimum(latents.min(0), goals.min(0)), np.maximum(latents.max(0), goals.max(0))
    nothing, size = np.zeros_like(least), manifest.action_size
    picked = np.linspace(0, len(latents) - 1, max(2, min(_ROWS, len(latents)))).astype(int)
    drawn = rng.standard_normal((len(picked), size))
    drawn[0] = 0
    some = rng.uniform(least, most, (2, _ROWS, len(least)))
    beyond = np.array([0.0, 100.0, -100.0])[:, None] * np.ones(size)
    groups = {
        "recorded": (latents[picked], goals[picked], drawn),
        "edge": (np.stack([nothing, least, most]), np.stack([nothing, most, least]), beyond),
        "random": (some[0], some[1], rng.standard_normal((_ROWS, size))),
    }
    shape = manifest.latent.shape
    return {
        what: {
            "latent": torch.from_numpy(np.ascontiguousarray(latent, np.float32).reshape(-1, *shape)),
            "goal": torch.from_numpy(np.ascontiguousarray(goal, np.float32).reshape(-1, *shape)),
            "noise": torch.from_numpy(np.ascontiguousarray(noise, np.float32)),
        }
        for what, (latent, goal, noise) in groups.items()
    }
