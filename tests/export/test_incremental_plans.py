"""Plans with LeWM's incremental predictor are those of its whole one, whether or not the window slides."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from jepa_ros.bundle.loader import load_bundle, write_manifest
from jepa_ros.bundle.manifest import read_manifest
from jepa_ros.planning.compiled.planner import GraphPlanner
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.cost import GoalObjective
from jepa_ros.planning.factory import PLANNERS
from jepa_ros.planning.problem import History, PlanProblem
from jepa_ros.world_model import OnnxWorldModel

# Model steps planned, of a window of 5: past it, and so many that one latent, two or three fit before them.
HORIZONS = {True: 7, False: 3}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory, stepwise_lewm):
    """By whether the window slides: the same tiny LeWM, told by its manifest alone that it does or does not."""
    found, manifest = {}, read_manifest(stepwise_lewm[0])
    for sliding in (True, False):
        folder = shutil.copytree(stepwise_lewm[0], tmp_path_factory.mktemp("lewm") / "bundle")
        predictor = manifest.predictor.model_copy(update={"sliding": sliding})
        write_manifest(folder, manifest.model_copy(update={"predictor": predictor}))
        found[sliding] = OnnxWorldModel(load_bundle(folder))
    return found


@pytest.mark.parametrize("sliding", [True, False])
@pytest.mark.parametrize("history", [1, 2, 3])
def test_plans_are_those_of_the_whole_predictor(bundles, sliding, history, tmp_path):
    model = bundles[sliding]
    assert model.manifest.predictor.cache is not None
    rng = np.random.default_rng(history)
    manifest = model.manifest
    low, high = (np.tile(side, manifest.action.block) for side in (manifest.action.low, manifest.action.high))
    latents, goal = rng.standard_normal((2, history, model.latent_dim)).astype(np.float32)
    past = rng.uniform(-0.4, 0.4, (history - 1, model.action_dim)).astype(np.float32)
    objective = GoalObjective(model, goal[0], manifest.cost, model.layout)
    config = PlannerConfig(samples=24, iterations=3, elites=6, horizon=HORIZONS[sliding], knot=1)
    problem = PlanProblem(History(latents, past), objective, config.horizon, low, high, block=manifest.action.block)
    found = GraphPlanner(model, config, "cem", 0, cache=tmp_path).plan(problem)
    expected = PLANNERS["cem"](model, config, 0).plan(problem)
    np.testing.assert_allclose(found.actions, expected.actions, atol=1e-4)
    np.testing.assert_allclose(found.latents, expected.latents, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.energies, expected.energies, rtol=1e-4)
