"""Plans with LeWM's incremental predictor are those of its whole one, whether or not the window slides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.bundle.manifest import PredictorSpec
from jepa_ros.planning.compiled.planner import GraphPlanner
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.cost import GoalObjective
from jepa_ros.planning.factory import PLANNERS
from jepa_ros.planning.problem import History, PlanProblem
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_export import lewm
from jepa_ros_export.writer import write_bundle

CONFIG = PlannerConfig(samples=24, iterations=3, elites=6, horizon=5, knot=1)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """By whether the window slides: a tiny LeWM of context 3, and one of 8 that does not."""
    found = {}
    for sliding, context in ((True, 3), (False, 8)):
        config = lewm.tiny().model_copy(update={"context": context, "history": 3})
        parts = lewm.build(lewm.random_checkpoint(config), config)
        spec = PredictorSpec(**{**parts.manifest.predictor.model_dump(), "sliding": sliding})
        parts = replace(parts, manifest=parts.manifest.model_copy(update={"predictor": spec}))
        folder = tmp_path_factory.mktemp("lewm") / "bundle"
        write_bundle(parts, folder, with_derivative=False)
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
    problem = PlanProblem(History(latents, past), objective, 5, low, high, block=manifest.action.block)
    found = GraphPlanner(model, CONFIG, "cem", 0, cache=tmp_path).plan(problem)
    expected = PLANNERS["cem"](model, CONFIG, 0).plan(problem)
    np.testing.assert_allclose(found.actions, expected.actions, atol=1e-4)
    np.testing.assert_allclose(found.latents, expected.latents, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.energies, expected.energies, rtol=1e-4)
