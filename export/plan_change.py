"""What a lower precision does to plans: the same questions to two models, judged by the first. No torch."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from jepa_ros.bundle.loader import Bundle
from jepa_ros.bundle.manifest import Manifest
from jepa_ros.planning.cost import GoalObjective, arrival_term
from jepa_ros.planning.factory import make_planner
from jepa_ros.planning.problem import History, PlanProblem
from jepa_ros.planning.sampling import SamplingPlanner
from jepa_ros.types import Float32
from jepa_ros.vision import Preprocessor
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_export.frames import Windows, bounds

CANDIDATES = 256
_MOST_S = 120.0


@dataclass(frozen=True)
class PlanChange:
    """Means over pairs of a start and a goal.

    Attributes:
        energy: of the same candidates, by both: root mean square of the difference over that of the energy.
        rank: Spearman's correlation of these energies.
        elites: share of the planner's `elite_count` best candidates that are the same.
        lowered, original, reseeded: energy that the original gives to a whole plan of the lowered model, of itself, and
            of itself with another seed: how much plans differ for no reason.
        surprise: median prediction error of the lowered and of the original model on recordings; None without.
        pairs, elite_count: how many.
    """

    energy: float
    rank: float
    elites: float
    lowered: float
    original: float
    reseeded: float
    surprise: tuple[float, float] | None
    pairs: int
    elite_count: int

    def lines(self, precision: str) -> list[str]:
        """For people."""
        candidates = (
            f"energy of the same {CANDIDATES} candidates: changed by {self.energy:.1e} relative, rank correlation "
            f"{self.rank:.4f}, {self.elites:.0%} of the best {self.elite_count} agree ({self.pairs} pairs of start "
            "and goal)"
        )
        whole = (
            f"energy that the original gives to a whole plan: {self.lowered:.4g} planned at {precision}, "
            f"{self.original:.4g} at fp32, {self.reseeded:.4g} at fp32 with another seed"
        )
        told = [candidates, whole]
        if self.surprise is not None:
            low, high = self.surprise
            told.append(f"prediction error on the recordings, median: {low:.3g} at {precision}, {high:.3g} at fp32")
        return told


def plan_change(
    original: OnnxWorldModel, lowered: OnnxWorldModel, pairs: int, windows: Windows | None = None, seed: int = 0
) -> PlanChange:
    """Ask both models the same, each with its own latents of the same images.

    Args:
        original, lowered: of two bundles whose manifests differ in precision alone.
        pairs: how many at most, none begun after two minutes; starts and goals are drawn from the recordings, without
            these from the bundle's named goals or, where it has fewer than two, from the images in golden.npz.
        windows: of recordings.
        seed: of pairs, candidates and planners.
    """
    manifest, rng = original.manifest, np.random.default_rng(seed)
    planner = make_planner(manifest, original, seed=seed)
    latents = _latents(original, lowered, windows)
    count = len(latents[0])
    figures = []
    until = time.monotonic() + _MOST_S
    for pair in range(pairs):
        if figures and time.monotonic() > until:
            break
        start, goal = rng.choice(count, 2, replace=count < 2)
        candidates = _candidates(manifest, planner, rng)
        (problem, energies), (other, changed) = (
            _asked(model, seen[start], seen[goal], planner.horizon, candidates)
            for model, seen in zip((original, lowered), latents, strict=True)
        )
        best = [set(np.argsort(found)[: planner.config.elites]) for found in (energies, changed)]
        found = [
            make_planner(manifest, model, seed=s).plan(asked).actions
            for model, asked, s in (
                (lowered, other, pair),
                (original, problem, pair),
                (original, problem, pairs + pair),
            )
        ]
        history = problem.history
        judged = problem.objective(original.rollout(history.latents, history.actions, np.stack(found)), np.stack(found))
        off = np.sqrt(np.mean(np.square(changed - energies)) / max(np.mean(np.square(energies)), 1e-30))
        figures.append([off, _spearman(energies, changed), len(best[0] & best[1]) / len(best[0]), *judged])
    energy, rank, elites, by_lowered, by_original, reseeded = map(float, np.mean(figures, axis=0))
    surprise = None if windows is None else (_surprise(lowered, windows), _surprise(original, windows))
    compared, elite_count = len(figures), planner.config.elites
    return PlanChange(energy, rank, elites, by_lowered, by_original, reseeded, surprise, compared, elite_count)


def _latents(original: OnnxWorldModel, lowered: OnnxWorldModel, windows: Windows | None) -> tuple[Float32, Float32]:
    """Of the same images by both, `[N, D]`."""
    if windows is not None:
        images, measured = windows.images[:, 0], None
    else:
        goals = _goal_views(original.bundle)
        if goals is not None:
            return tuple(np.stack([model.encode_goal(view) for view in goals]) for model in (original, lowered))
        golden = original.bundle.golden()
        images, measured = golden["image"], golden.get("measured")
    return tuple(model.encode_batch(images, measured) for model in (original, lowered))


def _goal_views(bundle: Bundle) -> list[np.ndarray] | None:
    """The named goals as the encoder takes them, where there are two and no measurements go with them."""
    names = bundle.goal_names()
    if len(names) < 2 or bundle.manifest.proprio is not None or bundle.manifest.camera.channels == 2:
        return None
    prepare = Preprocessor(bundle.manifest.camera)
    return [prepare(bundle.goal_image(name)) for name in names]


def _candidates(manifest: Manifest, planner: SamplingPlanner, rng: np.random.Generator) -> Float32:
    """Uniform within the bounds, held from knot to knot, `[CANDIDATES, H, A]`."""
    low, high = bounds(manifest)
    knot, horizon = planner.config.knot, planner.horizon
    drawn = rng.uniform(low, high, (CANDIDATES, -(-horizon // knot), len(low))).astype(np.float32)
    return np.repeat(drawn, knot, axis=1)[:, :horizon]


def _asked(
    model: OnnxWorldModel, start: Float32, goal: Float32, horizon: int, candidates: Float32
) -> tuple[PlanProblem, Float32]:
    """The question as the model sees it, and the energies `[CANDIDATES]` that it gives."""
    manifest = model.manifest
    low, high = bounds(manifest)
    history = History(start[None], np.zeros((0, len(low)), np.float32))
    objective = GoalObjective(model, goal, manifest.cost, model.layout, arrival_term(manifest))
    action = manifest.action
    problem = PlanProblem(history, objective, horizon, low, high, norm_limit=action.norm_limit, block=action.block)
    allowed = problem.bounds.apply(candidates.copy())
    return problem, objective(model.rollout(history.latents, history.actions, allowed), allowed)


def _spearman(first: Float32, second: Float32) -> float:
    ranks = [np.argsort(np.argsort(values)) for values in (first, second)]
    return float(np.corrcoef(ranks)[0, 1])


def _surprise(model: OnnxWorldModel, windows: Windows) -> float:
    """Median mean squared difference of what is predicted and what is seen, one step on."""
    latents, actions = windows.encoded(model), windows.actions
    predicted = model.rollout(latents[:, :-1], actions[:, :-1], actions[:, -1:])[:, 0]
    off = [np.square(predicted[:, s] - latents[:, -1, s]) for s in model.layout.seen]
    return float(np.median(np.concatenate(off, axis=1).mean(axis=1)))
