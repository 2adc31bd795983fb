"""Plan graphs hold what the NumPy planners do: the same seed gives the same plans, whatever the model is like."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jepa_ros.bundle.flops import graph_cost
from jepa_ros.bundle.loader import load_bundle
from jepa_ros.bundle.manifest import CostTerm
from jepa_ros.bundle.plan_cost import plan_cost
from jepa_ros.errors import ModelError, PlanningError
from jepa_ros.guardrails import ActionChange, ActionMagnitude, HeadLimit, KeepAway, Penalty, Sum
from jepa_ros.planning.compiled import execution
from jepa_ros.planning.compiled.cache import PlanCache
from jepa_ros.planning.compiled.compiler import STATE, PlanShape, Question, compile_plan
from jepa_ros.planning.compiled.execution import PlanRun
from jepa_ros.planning.compiled.objectives import terms_of
from jepa_ros.planning.compiled.planner import GraphPlanner
from jepa_ros.planning.compiled.scoring import WORST
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.cost import GoalObjective
from jepa_ros.planning.factory import PLANNERS, make_planner
from jepa_ros.planning.problem import History, PlanProblem
from jepa_ros.share import default_bundle
from jepa_ros.world_model import OnnxWorldModel

from .fixed_batch import fix_batch
from .made_bundles import MANY, Made

SAMPLING = ("cem", "icem", "mppi")
DESCENDING = ("gradient", "hybrid")
CONFIG = PlannerConfig(samples=24, iterations=4, elites=6, horizon=4, knot=2, temperature=0.5, learning_rate=0.05)


@pytest.fixture(scope="module")
def default():
    return OnnxWorldModel(load_bundle(default_bundle()))


def problem_of(model, seed=0, horizon=4, history=2, objective=None, **more):
    """A goal and a history drawn at random, with the bundle's own bounds and cost terms."""
    rng = np.random.default_rng(seed)
    action = model.manifest.action
    latents = rng.standard_normal((history, model.latent_dim)).astype(np.float32)
    past = rng.uniform(-0.2, 0.2, (history - 1, model.action_dim)).astype(np.float32)
    goal = rng.standard_normal(model.latent_dim).astype(np.float32)
    found = GoalObjective(model, goal, model.manifest.cost, model.layout)
    low, high = np.tile(action.low, action.block), np.tile(action.high, action.block)
    more = {"warm_start": rng.uniform(low, high, (horizon, len(low))).astype(np.float32), **more}
    return PlanProblem(
        History(latents, past), found if objective is None else objective(found), horizon, low, high,
        block=action.block, **more,
    )  # fmt: skip


def both(model, name, config=CONFIG, seed=3, cache=None):
    return (
        GraphPlanner(model, config, name, seed, cache=cache),
        PLANNERS[name](model, config, seed),
    )


def same(found, expected, tolerance=1e-4):
    scale = max(float(np.abs(expected.actions).max()), 1e-3)
    np.testing.assert_allclose(found.actions, expected.actions, atol=tolerance * scale)
    np.testing.assert_allclose(found.latents, expected.latents, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.energies, expected.energies, rtol=1e-4)
    assert (found.iterations, found.stopped, found.feasible) == (
        expected.iterations, expected.stopped, expected.feasible,
    )  # fmt: skip


@pytest.mark.parametrize("name", [*SAMPLING, *DESCENDING])
def test_the_default_bundles_plans_are_those_of_numpy(default, name, tmp_path):
    graph, plain = both(default, name, cache=tmp_path)
    for seed in range(3):
        problem = problem_of(default, seed)
        same(graph.plan(problem), plain.plan(problem))


@pytest.mark.parametrize("name", SAMPLING)
@pytest.mark.parametrize("output", ["last", "sequence"])
@pytest.mark.parametrize("sliding", [True, False])
def test_any_state_history_and_block(tmp_path, name, output, sliding):
    terms = [
        {"source": "patches", "metric": "smooth_l1", "reduction": "sum"},
        {"source": "patches", "metric": "l1", "steps": "last", "discount": 0.9},
        {"source": "patches", "tokens": [0, [2, 3]], "weight": 0.5},
        {"source": "ground", "metric": "cosine", "steps": "sum", "weight": 0.3},
        {"source": "ground", "tokens": {"rows": [0, 2], "columns": [1, 2]}, "weight": 0.5},
        {"source": "reward", "metric": "value", "weight": -0.2, "discount": 0.8},
    ]
    made = Made(tmp_path / "made", MANY, context=6, output=output, sliding=sliding, block=2, cost=terms)
    model = made.open()
    graph, plain = both(model, name, cache=tmp_path / "plans")
    for history in (1, 3, 8):
        problem = problem_of(model, history, history=history)
        same(graph.plan(problem), plain.plan(problem))


GUARDED = [
    ActionMagnitude(0.3, columns=[0, 1]),
    ActionMagnitude(0.2, columns=[-1, 1, 1]),
    ActionChange([0.2, 0.1, 0.3]),
    ActionChange(0.25, previous=np.array([0.1, 0.0, -0.1], np.float32)),
]


@pytest.mark.parametrize("name", SAMPLING)
def test_hard_constraints_rank_as_in_numpy(default, name, tmp_path):
    rng = np.random.default_rng(5)
    avoid = rng.standard_normal((2, default.latent_dim)).astype(np.float32)
    graph, plain = both(default, name, cache=tmp_path)
    for guardrails in (GUARDED, [KeepAway(avoid, 1.2), GUARDED[1]]):
        problem = problem_of(default, 1, guardrails=guardrails, previous_plans=[np.zeros((4, 3), np.float32)])
        found = graph.plan(problem)
        same(found, plain.plan(problem))
        assert found.feasible == all(g(found.latents[None], found.actions[None])[0] <= 0 for g in guardrails)


@pytest.mark.parametrize("name", [*SAMPLING, *DESCENDING])
def test_penalties_are_terms_of_the_energy(default, name, tmp_path):
    avoid = np.random.default_rng(5).standard_normal((2, default.latent_dim)).astype(np.float32)
    soft = [Penalty(KeepAway(avoid, 3.0), 2.0), *(Penalty(guardrail, 1.5) for guardrail in GUARDED)]
    graph, plain = both(default, name, cache=tmp_path)
    problem = problem_of(default, 2, objective=lambda goal: Sum([goal, *soft]))
    found = graph.plan(problem)
    same(found, plain.plan(problem), tolerance=1e-3)
    assert found.energy == pytest.approx(
        float(problem.objective(found.latents[None], found.actions[None])[0]), rel=1e-4
    )


def test_limits_on_what_a_head_says(default, tmp_path):
    """The value head as a probe: latents may come no nearer than `low` to one place, and no further than `high`."""
    place = np.random.default_rng(8).standard_normal(default.latent_dim).astype(np.float32)
    plain = problem_of(default, 4)
    says = default.head(
        "value", default.rollout(plain.history.latents, plain.history.actions, plain.warm_start[None])[0], place
    )
    low, high = (float(np.percentile(says, q)) for q in (20, 80))
    for limit in (HeadLimit(default, "value", low=low, goal=place), HeadLimit(default, "value", low, high, place)):
        graph, numpy = both(default, "cem", cache=tmp_path)
        problem = problem_of(default, 4, guardrails=[limit])
        same(graph.plan(problem), numpy.plan(problem))
        graph, numpy = both(default, "gradient", cache=tmp_path)
        problem = problem_of(default, 4, objective=lambda goal, limit=limit: Sum([goal, Penalty(limit, 3.0)]))
        same(graph.plan(problem), numpy.plan(problem), tolerance=1e-3)


@pytest.mark.parametrize("rows", [4, 24, 40])
def test_a_fixed_batch_is_cut_and_filled_up(tmp_path, rows):
    """Of the model and of its head: 24 candidates, 96 latents."""
    terms = [{"source": "head:value", "metric": "value"}, {"source": "latent", "metric": "l2"}]
    free = Made(tmp_path / "free", heads=("value",), cost=terms)
    expected = PLANNERS["cem"](free.open(), CONFIG, 0).plan(problem_of(free.open()))
    shutil.copytree(tmp_path / "free", tmp_path / "fixed")
    fixed = OnnxWorldModel(load_bundle(fix_batch(tmp_path / "fixed", rows)))
    same(GraphPlanner(fixed, CONFIG, "cem", 0, cache=tmp_path / "plans").plan(problem_of(fixed)), expected)


def test_falling_back_to_the_cpu_is_loud_and_counted(default, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(execution, "choose_providers", lambda _: ("CUDAExecutionProvider", "CPUExecutionProvider"))
    before = execution.fallbacks
    with caplog.at_level(logging.ERROR):
        plan = GraphPlanner(default, CONFIG, cache=tmp_path).plan(problem_of(default))
    assert plan.feasible
    assert execution.fallbacks == before + 1
    assert "CUDAExecutionProvider was asked for, and it runs on CPUExecutionProvider" in caplog.text


def test_a_graph_that_cuda_has_in_part_runs_without_a_recording(default, tmp_path, monkeypatch, caplog):
    """ONNX Runtime refuses to record it; how it says so was seen on a GPU, of V-JEPA 2-AC's predictor."""
    opened, asked = onnxruntime.InferenceSession, []

    def refusing(path, options, providers):
        asked.append(dict(providers))
        if asked[-1]["CUDAExecutionProvider"].get("enable_cuda_graph") == "1":
            raise RuntimeError("FAIL : This session cannot use the graph capture feature as requested by the user")
        return opened(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(execution, "choose_providers", lambda _: ("CUDAExecutionProvider", "CPUExecutionProvider"))
    monkeypatch.setattr(execution.onnxruntime, "InferenceSession", refusing)
    with caplog.at_level(logging.WARNING):
        plan = GraphPlanner(default, CONFIG, cache=tmp_path).plan(problem_of(default))
    assert plan.feasible
    assert [given["CUDAExecutionProvider"] for given in asked] == [
        {"enable_cuda_graph": "1", "use_tf32": "0"},
        {"use_tf32": "0"},
    ]
    assert "runs without a CUDA graph" in caplog.text


def test_goal_limits_and_weights_change_without_compiling(default, tmp_path):
    graph, plain = both(default, "cem", cache=tmp_path)
    for seed, limit in ((0, 0.2), (1, 0.4), (2, 0.6)):
        problem = problem_of(default, seed, guardrails=[ActionMagnitude(limit)])
        found = graph.plan(problem)
        same(found, plain.plan(problem))
        assert np.linalg.norm(found.actions, axis=1).max() <= limit + 1e-6
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", [*SAMPLING, *DESCENDING])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_bounds_are_never_exceeded(default, name, tmp_path, data):
    sides = st.tuples(st.floats(-0.9, 0.9), st.floats(0.001, 0.5))
    low, width = np.array([data.draw(sides) for _ in range(3)]).T
    limit = data.draw(st.one_of(st.none(), st.floats(2.0, 3.0)))
    planner = GraphPlanner(default, CONFIG, name, data.draw(st.integers(0, 100)), cache=tmp_path)
    base = problem_of(default, data.draw(st.integers(0, 100)))
    start = (base.warm_start * 10).astype(np.float32)
    problem = PlanProblem(base.history, base.objective, 4, low, low + width, start, norm_limit=limit)
    actions = planner.plan(problem).actions.astype(np.float64)
    assert (actions >= low.astype(np.float64)).all()
    assert (actions <= (low + width).astype(np.float64)).all()
    if limit is not None:
        assert np.linalg.norm(actions, axis=1).max() <= limit


@pytest.mark.parametrize("name", [*SAMPLING, *DESCENDING])
def test_nothing_finite_is_no_plan(default, name, tmp_path):
    graph, plain = both(default, name, cache=tmp_path)
    history = problem_of(default).history
    broken = History(np.full_like(history.latents, np.nan), history.actions)
    problem = problem_of(default)
    problem = PlanProblem(broken, problem.objective, 4, problem.low, problem.high)
    found, expected = graph.plan(problem), plain.plan(problem)
    assert not found.feasible
    assert found.energy == expected.energy == float("inf")
    np.testing.assert_array_equal(found.actions, expected.actions)
    # The next plan is as if nothing had been.
    same(graph.plan(problem_of(default, 1)), plain.plan(problem_of(default, 1)))


def test_an_objective_that_has_no_graph_is_named(default, tmp_path):
    def mine(latents, actions):
        return actions.sum(axis=(1, 2))

    planner = GraphPlanner(default, CONFIG, cache=tmp_path)
    with pytest.raises(PlanningError, match=r"function has no graph.*engine numpy"):
        planner.plan(problem_of(default, objective=lambda _: mine))


def test_a_planner_that_descends_needs_derivatives(tmp_path):
    model = Made(tmp_path / "made").open()
    with pytest.raises(PlanningError, match=r"'hybrid' needs predictor_vjp\.onnx"):
        GraphPlanner(model, CONFIG, "hybrid", cache=tmp_path)


@pytest.mark.parametrize("policy", ["policy", "led"])
def test_heads_and_a_policys_samples(tmp_path, policy):
    terms = [CostTerm(source="head:value", metric="value").model_dump()]
    made = Made(tmp_path / "made", heads=("value", policy), cost=terms)
    model = made.open()
    config = PlannerConfig(samples=24, iterations=3, elites=6, horizon=3, knot=1, policy_samples=3)
    graph, plain = both(model, "cem", config, cache=tmp_path / "plans")
    problem = problem_of(model, horizon=3)
    same(graph.plan(problem), plain.plan(problem))


def test_preparing_changes_no_plan(default, tmp_path):
    for name in ("icem", "hybrid"):
        graph, plain = both(default, name, cache=tmp_path)
        graph.prepare(problem_of(default, 9))
        same(graph.plan(problem_of(default)), plain.plan(problem_of(default)))


def test_the_graphs_count_is_the_cards(default, tmp_path):
    """An iteration is the predictor on every sample and step, and the head; the goal is embedded once for all."""
    manifest = default.manifest
    planner = make_planner(manifest, default, seed=0, cache=tmp_path)
    planner.prepare(problem_of(default, horizon=6))
    (path,) = planner.graphs
    found = graph_cost(path, {}).flops
    uses = {use.file: use for use in plan_cost(default.bundle).uses}
    predicted = uses["predictor.onnx"].flops // planner.config.iterations
    judged = uses["heads/value.onnx"].cost.flops
    rows = planner.config.samples * planner.config.horizon
    embedded_once = judged // 2 + judged // 2 // rows
    assert found == predicted + embedded_once
    assert found < predicted + judged


def test_several_iterations_in_one_call_are_those_of_several_calls(default, tmp_path):
    problem = problem_of(default)
    question = Question(terms_of(problem.objective, 3))
    rng, plan = np.random.default_rng(0), (4, 3)
    noise = rng.standard_normal((3, CONFIG.samples, 2, 3), dtype=np.float32)
    history = problem.history
    given = {
        "history_latent": np.concatenate([history.latents[:1], history.latents])[None],
        "history_action": np.concatenate([np.zeros((1, 3), np.float32), history.actions])[None],
        "low": problem.bounds.low, "high": problem.bounds.high, "rest": problem.bounds.rest,
        "floor": problem.bounds.half_range * np.float32(CONFIG.min_std),
        "guesses": np.stack([np.zeros(plan, np.float32), problem.warm_start]),
        "mean": problem.warm_start, "best_actions": problem.warm_start,
        "std": np.tile(problem.bounds.half_range, (4, 1)),
        "best_energy": np.full(1, WORST, np.float32), "best_violation": np.full(1, WORST, np.float32),
        **question.parameters(),
    }  # fmt: skip
    later = np.array([0, 1, 1], np.float32)
    found = {}
    for steps in (1, 3):
        shape = PlanShape("cem", CONFIG, 3, 3, 2, CONFIG.samples, steps)
        run = PlanRun(PlanCache(tmp_path).get(str(steps), lambda s=shape: compile_plan(default.bundle, s, question)),
                      STATE["sampling"])  # fmt: skip
        for name, values in given.items():
            run.write(name, values)
        trace = []
        for begin in range(0, 3, steps):
            run.write("noise", noise[begin : begin + steps])
            run.write("later", later[begin : begin + steps])
            run()
            trace.append(run.read("trace"))
        found[steps] = np.concatenate(trace), run.read("mean"), run.read("best_actions")
    for single, together in zip(found[1], found[3], strict=True):
        np.testing.assert_allclose(together, single, rtol=1e-4, atol=1e-5)
    assert (np.diff(found[3][0][:, 1]) <= 0).all()


def test_an_input_that_a_graph_does_not_have_is_no_silence(default, tmp_path):
    planner = GraphPlanner(default, CONFIG, cache=tmp_path)
    planner.prepare(problem_of(default))
    run = PlanRun(planner.graphs[0], STATE["sampling"])
    with pytest.raises(ModelError, match="it has no input limit"):
        run.write("limit", np.zeros(1, np.float32))
    with pytest.raises(ModelError, match=r"low is \[2\], not \[3\]"):
        run.write("low", np.zeros(2, np.float32))
