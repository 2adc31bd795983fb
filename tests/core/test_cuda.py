"""On a GPU the model and its plans are those of the CPU. Runs where ONNX Runtime has CUDA and a GPU is there."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.planning.compiled.planner import GraphPlanner
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.factory import make_planner
from jepa_ros.world_model import OnnxWorldModel

from .curved_bundles import Curved
from .test_compiled_precision import SETTINGS, problem_of

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
pytestmark = pytest.mark.skipif(CUDA not in onnxruntime.get_available_providers(), reason="no GPU: needs CUDA")


@pytest.fixture
def models(tmp_path):
    """The same bundle on the CPU and on the GPU."""
    folder = Curved(tmp_path / "made").folder
    both = [OnnxWorldModel(load_bundle(folder), 1, names) for names in ((CPU,), (CUDA, CPU))]
    assert [model.provider for model in both] == [CPU, CUDA]
    return both


def test_what_is_seen_and_predicted_is_new_in_every_call(models):
    on_cpu, on_gpu = models
    camera, rng = on_cpu.manifest.camera, np.random.default_rng(0)
    shape = (camera.height, camera.width, camera.channels)
    for _ in range(3):
        image = rng.integers(0, 256, shape, dtype=np.uint8)
        expected = on_cpu.encode(image)
        np.testing.assert_allclose(on_gpu.encode(image), expected, rtol=1e-4, atol=1e-5)
        latents = rng.standard_normal((2, on_cpu.latent_dim)).astype(np.float32)
        past = rng.standard_normal((1, on_cpu.action_dim)).astype(np.float32)
        actions = rng.standard_normal((5, 3, on_cpu.action_dim)).astype(np.float32)
        expected = on_cpu.rollout(latents, past, actions)
        np.testing.assert_allclose(on_gpu.rollout(latents, past, actions), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("engine", ["graph", "numpy"])
@pytest.mark.parametrize("name", ["cem", "icem", "mppi", "gradient", "hybrid"])
def test_plans_are_those_of_the_cpu(models, tmp_path, monkeypatch, name, engine):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    settings = {**SETTINGS, "name": name}
    planners = [make_planner(model.manifest, model, settings, seed=3, engine=engine) for model in models]
    for seed in range(4):  # the first is captured, later ones are replayed
        problem = problem_of(models[0], seed)
        on_cpu, on_gpu = (planner.plan(problem) for planner in planners)
        np.testing.assert_allclose(on_gpu.energies, on_cpu.energies, rtol=1e-4)
        np.testing.assert_allclose(on_gpu.actions, on_cpu.actions, atol=1e-4)


def test_a_plan_in_half_is_near(models, tmp_path):
    config = PlannerConfig(**SETTINGS)
    plain, half = (GraphPlanner(models[1], config, "cem", seed=3, cache=tmp_path / "plans") for _ in range(2))
    half.compute_in_half()
    problem = problem_of(models[0])
    np.testing.assert_allclose(half.plan(problem).energies, plain.plan(problem).energies, rtol=2e-2)
    assert half.provider == CUDA
