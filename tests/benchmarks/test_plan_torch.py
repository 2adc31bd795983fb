"""The baselines plan the same: PyTorch's search against the package's on the same noise; public planners on the same
dynamics and cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.errors import JepaRosError
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.world_model import OnnxWorldModel

torch = pytest.importorskip("torch")

from jepa_ros_benchmarks.plan_contenders import Contender, Wanted, count_flops, own, public, pytorch
from jepa_ros_benchmarks.plan_figures import Label
from jepa_ros_benchmarks.plan_problems import (
    REFERENCE_SEED,
    base_settings,
    judge,
    made_up_cases,
    published_settings,
    reference_energies,
)
from jepa_ros_benchmarks.plan_torch import EagerCEM, check_parity, torch_world
from jepa_ros_benchmarks.plan_units import Subject


class Push(torch.nn.Module):
    """The tiny bundle's predictor: the last latent plus a projection of the last action."""

    def __init__(self, strength=1.0):
        super().__init__()
        self.register_buffer("push", strength * torch.eye(3, 8))

    def forward(self, latent, action):
        return latent[:, -1] + action[:, -1] @ self.push


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def model(tiny_bundle):
    return OnnxWorldModel(load_bundle(tiny_bundle))


@pytest.fixture
def cases(model):
    return made_up_cases(model, 3, horizon=4)


@pytest.fixture
def world(model):
    return torch_world(model.manifest, Push(), {})


@pytest.fixture
def config(model):
    return published_settings(base_settings(model.manifest, {}))


def test_the_search_reaches_the_same_energies_on_the_same_noise(model, cases, world, config):
    references = reference_energies(model, cases, config)
    search = EagerCEM(world, config, threads=1, seed=REFERENCE_SEED, warm=False)
    for case, reference in zip(cases, references, strict=True):
        run = search(case)
        assert run.energies[-1] == pytest.approx(reference, rel=1e-4)
        assert judge(model, case, run.actions) == pytest.approx(run.energies[-1], rel=1e-4)
        assert (np.diff(run.energies) <= 0).all()
        assert (np.diff(run.ends) > 0).all()
        assert run.ends[-1] <= run.seconds


def test_with_momentum_knots_a_floor_and_a_warm_start_too(model, cases, world):
    from jepa_ros.planning.cem import CEM
    from jepa_ros_benchmarks.plan_problems import problem_of

    config = replace(base_settings(model.manifest, {"samples": 24, "iterations": 4}), momentum=0.3, min_std=0.1)
    case = replace(cases[0], number=0, warm_start=np.full((4, 3), 0.2, np.float32))
    plan = CEM(model, config, seed=5).plan(problem_of(model, case, 4))
    run = EagerCEM(world, config, threads=1, seed=5)(case)
    np.testing.assert_allclose(run.energies, plan.energies, rtol=1e-4)
    np.testing.assert_allclose(run.actions, plan.actions, atol=1e-5)


def test_other_weights_are_noticed(model, cases, world):
    assert check_parity(world, model, cases[0], 4) < 1e-5
    with pytest.raises(JepaRosError, match="not the same weights"):
        check_parity(torch_world(model.manifest, Push(1.01), {}), model, cases[0], 4)


@pytest.mark.parametrize("metric", ["l2", "l1", "smooth_l1", "cosine"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("steps", ["all", "sum", "last"])
def test_energies_are_those_of_the_package(model, cases, metric, reduction, steps):
    from jepa_ros.bundle.manifest import CostTerm
    from jepa_ros.planning.cost import GoalObjective

    terms = [CostTerm(metric=metric, reduction=reduction, steps=steps, weight=0.7, discount=0.9)]
    world = torch_world(model.manifest.model_copy(update={"cost": terms}), Push(), {})
    latents, goal = np.random.default_rng(0).standard_normal((5, 4, 8)).astype(np.float32), cases[0].goal
    truth = GoalObjective(model, goal, terms)(latents, latents)
    found = world.energy(torch.from_numpy(latents), torch.from_numpy(goal)).numpy()
    np.testing.assert_allclose(found, truth, rtol=1e-5)


def wanted(model, **changes):
    settings = base_settings(model.manifest, {"samples": 64, "iterations": 6})
    return Wanted(["cem", "nobody"], ["cpu"], ["fp32", "tf32"], [1], settings, {}, **changes)


def test_who_takes_part(model, world):
    lines: list[str] = []
    subject = Subject("tiny", model.bundle, None, lambda: world, is_unit=False)
    asked = wanted(model)
    ours = list(own(subject, asked, lines.append))
    assert {c.label.planner for c in ours} == {"cem"}
    assert any("nobody" in line for line in lines)
    assert any("tf32" in line for line in lines)
    theirs = list(pytorch(world, asked, False, lines.append))
    assert [(c.label.engine, c.published) for c in theirs] == [("torch, published", True), ("torch", False)]
    asked = replace(asked, settings=published_settings(asked.settings))
    assert [c.label.engine for c in pytorch(world, asked, False, lines.append)] == ["torch, published"]


def test_the_packages_own_plan_is_traced(model, cases, world):
    subject = Subject("tiny", model.bundle, None, lambda: world, is_unit=False)
    found = list(own(subject, wanted(model), lambda _: None))
    assert {c.label.engine for c in found} == {"graph", "numpy"}
    for contender in found:
        run = contender.run(cases[0])
        assert len(run.ends) == len(run.energies) == 6
        assert 0 < run.ends[0] <= run.ends[-1] <= run.seconds
        assert judge(model, cases[0], run.actions) == pytest.approx(run.energies[-1], rel=1e-4)


@pytest.mark.parametrize("name", ["torch_world", "pytorch_mppi"])
def test_public_planners_lower_the_same_energy_within_the_bounds(model, cases, world, name):
    pytest.importorskip(name)
    engine = name.replace("torch_world", "torch-world")
    asked = replace(wanted(model), settings=base_settings(model.manifest, {"samples": 200, "iterations": 8}))
    found = {c.label.engine: c for c in public(world, asked, lambda _: None)}
    rest = judge(model, cases[0], np.zeros((4, 3), np.float32))
    run = found[engine].run(cases[0])
    assert run.actions.shape == (4, 3)
    assert (run.actions >= world.low.numpy() - 1e-6).all()
    assert (run.actions <= world.high.numpy() + 1e-6).all()
    assert len(run.energies) == 8
    assert run.energies[-1] < 0.5 * rest
    assert judge(model, cases[0], run.actions) < 0.5 * rest


def test_compiled_plans_are_counted_by_their_graphs(cases, monkeypatch):
    """And called graph by graph where they do not say which they called."""
    monkeypatch.setattr("jepa_ros_benchmarks.plan_contenders.fixed_graph_flops", lambda path: len(path.name))
    label, config = Label("cem", "graph", "cpu", "fp32", 1), PlannerConfig()
    says = Contender(label, config, None, 7, calls=lambda: {Path("four"): 3, Path("sixsix"): 1})
    silent = Contender(label, config, None, 7)
    count_flops([says, silent], cases[0])
    assert (says.flops, silent.flops) == (3 * 4 + 6, 7)


def test_captured_plans_are_counted_as_the_eager_ones(model, cases, world, config):
    """Two multiply-adds of 3 by 8 a step, as the counter counts products alone."""
    run = EagerCEM(world, config, threads=1, seed=0)
    made = [Contender(Label("cem", engine, "cuda", "fp32", None), config, run) for engine in ("torch", "torch+graph")]
    count_flops(made, cases[0])
    each = 2 * 3 * 8
    assert [c.flops for c in made] == [each * config.samples * config.horizon * config.iterations] * 2


def test_tokens_and_a_measured_pose_are_searched_alike(tmp_path):
    """V-JEPA 2-AC's state is a map of tokens and a pose, which the predictor takes and gives apart."""
    from jepa_ros_export import vjepa2_ac
    from jepa_ros_export.writer import write_bundle

    config = vjepa2_ac.tiny()
    parts = vjepa2_ac.build(vjepa2_ac.random_checkpoint(config), config)
    write_bundle(parts, tmp_path / "tokens", with_derivative=False)
    model = OnnxWorldModel(load_bundle(tmp_path / "tokens"))
    world = torch_world(parts.manifest, parts.predictor, {})
    settings = replace(base_settings(model.manifest, {"samples": 16, "iterations": 2}), elites=4)
    (case,) = made_up_cases(model, 1, settings.horizon)
    assert check_parity(world, model, case, settings.horizon) < 1e-4
    run = EagerCEM(world, settings, threads=1, seed=0)(case)
    assert judge(model, case, run.actions) == pytest.approx(run.energies[-1], rel=1e-4)
