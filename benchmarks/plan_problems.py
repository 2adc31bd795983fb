"""The problems of `jepa-bench plan`: pairs of history and goal, real ones from seeded drives in the simulator or made
up from the model itself, and the energy that the published search reaches on each."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from jepa_ros.bundle.loader import sha256
from jepa_ros.bundle.manifest import MANIFEST_NAME, Manifest
from jepa_ros.bundle.plan_cost import planner_settings
from jepa_ros.errors import JepaRosError
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.cost import GoalObjective, arrival_term
from jepa_ros.planning.factory import make_planner
from jepa_ros.planning.problem import History, PlanProblem
from jepa_ros.types import Float32, Float64
from jepa_ros.world_model import OnnxWorldModel

REFERENCE_SEED = 1_000_003
# Cross-entropy search as LeWM and DINO-WM publish it: white noise, no momentum, no floor, no warm start.
PUBLISHED = {
    "samples": 300, "iterations": 10, "elites": 30, "knot": 1, "momentum": 0.0, "min_std": 0.0,
    "policy_samples": 0, "convergence": 0.0,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One problem.

    Attributes:
        number: its place.
        latents: `[T, D]`, past: `[T − 1, A]`: the history.
        goal: `[D]`.
        warm_start: `[H, A]`, or None.
    """

    number: int
    latents: Float32
    past: Float32
    goal: Float32
    warm_start: Float32 | None


def cache_folder() -> Path:
    """Where units and problems are kept: `jepa_ros/units` under XDG_CACHE_HOME, else under ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "jepa_ros" / "units"


def key_of(*parts: object) -> str:
    """A short name for everything that something was made from."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def bounds_of(manifest: Manifest) -> tuple[Float64, Float64]:
    """Lowest and highest action of one model step, `[A]`."""
    action = manifest.action
    low = [action.fixed.get(name, value) for name, value in zip(action.names, action.low, strict=True)]
    high = [action.fixed.get(name, value) for name, value in zip(action.names, action.high, strict=True)]
    return np.tile(low, action.block), np.tile(high, action.block)


def published_settings(config: PlannerConfig) -> PlannerConfig:
    """The published configuration at this horizon and first deviation."""
    return replace(config, **PUBLISHED)


def noise_of(config: PlannerConfig, width: int, seed: int) -> Float32:
    """What a planner of this seed draws in its first plan: `[iterations, samples, knots, A]`."""
    shape = (config.iterations, config.samples, -(-config.horizon // config.knot), width)
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def warm_start_of(case: Case, horizon: int) -> Float32 | None:
    """The case's warm start cut, or with its last action held, to `[horizon, A]`."""
    if case.warm_start is None:
        return None
    return case.warm_start[np.minimum(np.arange(horizon), len(case.warm_start) - 1)]


def problem_of(model: OnnxWorldModel, case: Case, horizon: int, warm: bool = True) -> PlanProblem:
    """The case as a planner takes it."""
    manifest = model.manifest
    low, high = bounds_of(manifest)
    return PlanProblem(
        history=History(case.latents, case.past),
        objective=GoalObjective(model, case.goal, manifest.cost, model.layout, arrival_term(manifest)),
        horizon=horizon,
        low=low,
        high=high,
        warm_start=warm_start_of(case, horizon) if warm else None,
        norm_limit=manifest.action.norm_limit,
        block=manifest.action.block,
    )


def judge(model: OnnxWorldModel, case: Case, actions: Float32) -> float:
    """Energy of actions `[H, A]`."""
    problem = problem_of(model, case, len(actions))
    latents = model.rollout(case.latents, case.past, actions[None])
    return float(problem.objective(latents, actions[None])[0])


def made_up_cases(model: OnnxWorldModel, count: int, horizon: int, seed: int = 0) -> list[Case]:
    """Histories that the model dreams up from encoded noise, and goals that some plan reaches. No warm starts."""
    rng, manifest = np.random.default_rng(seed), model.manifest
    low, high = bounds_of(manifest)
    known = manifest.timing.history_max
    if not manifest.predictor.sliding:
        known = min(known, manifest.predictor.max_context - horizon + 1)
    camera = manifest.camera
    shape = (*((camera.frame_stack,) if camera.frame_stack > 1 else ()), camera.height, camera.width, camera.channels)
    measured = None if manifest.proprio is None else np.zeros(len(manifest.proprio.names), np.float32)
    cases = []
    for number in range(count):
        first = model.encode(rng.integers(0, 256, shape, dtype=np.uint8), measured)[None]
        past, plan = (rng.uniform(low, high, (1, steps, len(low))).astype(np.float32) for steps in (known - 1, horizon))
        latents = first
        if known > 1:
            latents = np.concatenate([first, model.rollout(first, past[0, :0], past)[0]])
        goal = model.rollout(latents, past[0], plan)[0, -1]
        cases.append(Case(number, latents, past[0], goal, None))
    return cases


def drivable(manifest: Manifest) -> bool:
    """Whether the simulator can make problems for this bundle: a body velocity, one colour camera, nothing else."""
    return (
        list(manifest.action.names) == ["vx", "vy", "wz"]
        and manifest.action.block == 1
        and manifest.proprio is None
        and manifest.camera.channels == 3
    )


def cases_of(model: OnnxWorldModel, count: int, horizon: int, real: bool) -> tuple[list[Case], str]:
    """Problems for a model, from the cache where they are there, and a sentence on where they are from.

    Args:
        real: from drives in the simulator (`drivable`), else made up.
    """
    if not real:
        return made_up_cases(
            model, count, horizon
        ), "histories dreamt by the model from noise, goals that a plan reaches"
    from jepa_ros_benchmarks.plan_drives import DRIVE_SEED, collect

    path = cache_folder() / f"problems-{key_of(_hash(model), count, DRIVE_SEED)}.npz"
    if not path.is_file():
        arrays = collect(model, count)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.npz")
        np.savez_compressed(partial, **arrays)
        partial.replace(path)
    with np.load(path, allow_pickle=False) as found:
        rows = zip(*(found[name] for name in ("latents", "past", "goal", "warm_start")), strict=True)
        cases = [Case(number, *row) for number, row in enumerate(rows)]
    return cases, f"evenly from seeded drives in the simulator (seed {DRIVE_SEED}), with their warm starts"


def reference_energies(model: OnnxWorldModel, cases: Sequence[Case], config: PlannerConfig) -> Float64:
    """`[N]` the best energy that the published configuration reaches on each case; kept in the cache."""
    published = published_settings(config)
    inputs = hashlib.sha256(b"".join(a.tobytes() for c in cases for a in (c.latents, c.past, c.goal))).hexdigest()
    path = cache_folder() / f"reference-{key_of(_hash(model), inputs, asdict(published), REFERENCE_SEED)}.npz"
    if not path.is_file():
        settings = {**asdict(published), "name": "cem"}
        energies = []
        for case in cases:
            planner = make_planner(model.manifest, model, settings, REFERENCE_SEED + case.number, "numpy")
            energies.append(planner.plan(problem_of(model, case, config.horizon, warm=False)).energy)
        if not np.isfinite(energies).all():
            raise JepaRosError("the published search reached no finite energy: is the model's output finite?")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, energies=np.array(energies))
    with np.load(path, allow_pickle=False) as found:
        return np.asarray(found["energies"], np.float64)


def base_settings(manifest: Manifest, overrides: dict[str, int]) -> PlannerConfig:
    """The manifest's planner with what the command line overrides, elites kept within the samples."""
    config = planner_settings(manifest)
    samples = overrides.get("samples", config.samples)
    return replace(config, **{"elites": min(config.elites, samples), **overrides})


def _hash(model: OnnxWorldModel) -> str:
    return sha256(model.bundle.path / MANIFEST_NAME)
