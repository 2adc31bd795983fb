"""Plan graphs compute the model in fp16 only where the plans are those of fp32, and say why they do not."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from jepa_ros.errors import PlanningError
from jepa_ros.planning.compiled.compiler import PlanShape, Question, content_hash
from jepa_ros.planning.compiled.half import FP32_OPERATORS, to_half
from jepa_ros.planning.compiled.objectives import terms_of
from jepa_ros.planning.compiled.planner import GraphPlanner
from jepa_ros.planning.compiled.precision import PrecisionChoice, disagreement, golden_problems
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.cost import GoalObjective
from jepa_ros.planning.problem import ActionBounds, History, Plan, PlanProblem

from .curved_bundles import Curved
from .made_bundles import MANY, Made

SETTINGS = {"samples": 16, "iterations": 3, "elites": 5, "horizon": 3, "knot": 1, "learning_rate": 0.05, "descents": 3}
HALF = PlannerConfig(**SETTINGS, precision="fp16")


class Far(Made):
    """The same predictions by way of a million times as much, which fp16 does not hold."""

    def _write_predictor(self, manifest, rng):
        self.times, self.step = self.times * np.float32(1e6), {k: w * np.float32(1e-6) for k, w in self.step.items()}
        return super()._write_predictor(manifest, rng)


def problem_of(model, seed=0, history=2):
    rng = np.random.default_rng(seed)
    latents = rng.standard_normal((history, model.latent_dim)).astype(np.float32)
    goal = rng.standard_normal(model.latent_dim).astype(np.float32)
    action = model.manifest.action
    objective = GoalObjective(model, goal, model.manifest.cost, model.layout)
    past = np.zeros((history - 1, model.action_dim), np.float32)
    return PlanProblem(
        History(latents, past), objective, SETTINGS["horizon"], np.tile(action.low, action.block),
        np.tile(action.high, action.block), block=action.block,
    )  # fmt: skip


def graphs_of(planner):
    return [onnx.load(str(path)) for path in planner.graphs]


def kinds(graph):
    return {tensor.data_type for tensor in graph.graph.initializer if "predictor" in tensor.name}


@pytest.mark.parametrize("name", ["cem", "icem", "mppi", "gradient", "hybrid"])
def test_fp16_is_used_where_its_plans_agree(tmp_path, name):
    model = Curved(tmp_path / "made").open()
    planner = GraphPlanner(model, HALF, name, 3, cache=tmp_path / "plans")
    planner.prepare(problem_of(model))
    assert planner.precision == "fp16", planner.precision_reason
    assert "on 3 problems, plans in fp16 differ from those in fp32 by at most" in planner.precision_reason
    plan = planner.plan(problem_of(model, 1))
    assert plan.feasible
    ran = [onnx.load(str(path)) for path in planner.calls]
    assert ran
    for graph in ran:
        assert TensorProto.FLOAT16 in kinds(graph)
        assert {v.type.tensor_type.elem_type for v in (*graph.graph.input, *graph.graph.output)} == {TensorProto.FLOAT}
        # Cost terms, reductions, selection and the search itself.
        assert all(node.op_type != "Cast" or to_of(node) != TensorProto.FLOAT16 for node in graph.graph.node)
        assert TensorProto.FLOAT16 not in {
            t.data_type for t in graph.graph.initializer if "predictor" not in t.name
        }  # fmt: skip
    plain = GraphPlanner(model, PlannerConfig(**SETTINGS), name, 3, cache=tmp_path / "plans")
    expected = plain.plan(problem_of(model, 1))
    # The search takes other ways on some problems: what it reaches is as good.
    np.testing.assert_allclose(plan.energy, expected.energy, rtol=0.02)


def to_of(node):
    return next(attribute.i for attribute in node.attribute if attribute.name == "to")


def test_what_fp16_does_not_hold_stays_fp32_and_says_so(tmp_path, caplog):
    model = Far(tmp_path / "made").open()
    planner = GraphPlanner(model, HALF, "cem", 3, cache=tmp_path / "plans")
    with caplog.at_level(logging.WARNING):
        planner.prepare(problem_of(model))
    assert planner.precision == "fp32"
    assert "in fp16 and fp32 differ by" in planner.precision_reason
    assert planner.precision_reason in caplog.text
    problem = problem_of(model, 1)
    found = planner.plan(problem)
    assert kinds(onnx.load(str(next(iter(planner.calls))))) == {TensorProto.FLOAT, TensorProto.INT64}
    plain = GraphPlanner(model, PlannerConfig(**SETTINGS, precision="fp32"), "cem", 3, cache=tmp_path / "plans")
    np.testing.assert_array_equal(found.actions, plain.plan(problem).actions)
    # Another length of history does not try again.
    caplog.clear()
    planner.prepare(problem_of(model, history=3))
    assert planner.precision == "fp32"
    assert not caplog.records


@pytest.mark.parametrize(("asked", "reason"), [("auto", "plans run on the CPU"), ("fp32", "fp32 is asked for")])
def test_fp32_on_the_cpu_unless_asked(tmp_path, asked, reason):
    model = Curved(tmp_path / "made").open()
    planner = GraphPlanner(model, PlannerConfig(**SETTINGS, precision=asked), "cem", 3, cache=tmp_path / "plans")
    planner.prepare(problem_of(model))
    assert (planner.precision, planner.precision_reason) == ("fp32", reason)
    assert [TensorProto.FLOAT16 in kinds(graph) for graph in graphs_of(planner)] == [False]


def test_preparing_does_not_change_the_noise(tmp_path):
    model = Curved(tmp_path / "made").open()
    planners = [GraphPlanner(model, HALF, "icem", 3, cache=tmp_path / "plans") for _ in range(2)]
    planners[0].prepare(problem_of(model))
    planners[1].prepare(problem_of(model))
    planners[1].prepare(problem_of(model, 5))
    first, second = (planner.plan(problem_of(model, 1)) for planner in planners)
    np.testing.assert_array_equal(first.actions, second.actions)


def test_without_prepare_nothing_is_known_of_fp16(tmp_path):
    model = Curved(tmp_path / "made").open()
    planner = GraphPlanner(model, HALF, "cem", 3, cache=tmp_path / "plans")
    planner.plan(problem_of(model))
    assert planner.precision == "fp32"
    assert "prepare() does" in planner.precision_reason


def test_an_accelerator_that_fell_back_to_the_cpu_computes_in_fp32(tmp_path):
    model = Curved(tmp_path / "made").open()
    planner = GraphPlanner(model, PlannerConfig(**SETTINGS), "cem", 3, cache=tmp_path / "plans")
    # There is no accelerator here: the choice is told of one, and the graphs say what they run on.
    choice = PrecisionChoice(model.bundle, "auto", accelerated=True)
    choice.settle(problem_of(model), planner.plan, lambda: planner.provider)
    assert (choice.chosen, choice.reason) == ("fp32", "plan graphs run on the CPU")


def test_the_hash_of_a_plan_graph_holds_the_precision(tmp_path):
    model = Curved(tmp_path / "made").open()
    question = Question(terms_of(problem_of(model).objective, 2))
    shapes = [PlanShape("cem", HALF, 2, 2, 2, 16, precision=precision) for precision in ("fp32", "fp16")]
    assert len({content_hash(model.bundle, shape, question) for shape in shapes}) == 2


def test_problems_are_the_golden_contexts(tmp_path):
    made = Made(tmp_path / "made", MANY, context=4)
    model = made.open()
    problem = problem_of(model, history=3)
    found = golden_problems(model.bundle, problem)
    golden = model.bundle.golden()
    assert len(found) == 3
    assert found[1].history.latents.shape == problem.history.latents.shape
    np.testing.assert_array_equal(found[1].history.actions, golden["action"][1, 1:3])
    part = model.layout.part(found[1].history.latents, "patches")
    np.testing.assert_array_equal(part, golden["context_patches"][1, 1:].reshape(3, -1))


def plan(actions=0.0, energy=1.0, feasible=True):
    one = np.full(1, energy, np.float32)
    return Plan(
        np.full((2, 2), actions, np.float32), np.zeros((2, 3), np.float32), energy, one, 1, "iterations", feasible
    )


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (plan(0.019, 1.009), None),
        (plan(0.021), "plans in fp16 and fp32 differ by 1.05% of an action's range"),
        (plan(energy=1.02), "energies in fp16 and fp32 differ by 2.00%"),
        (plan(energy=float("nan")), "a plan in fp16 is not finite"),
        (plan(actions=float("nan")), "a plan in fp16 is not finite"),
        (plan(feasible=False), "keeps the guardrails in one precision only"),
    ],
)
def test_what_agreement_is(found, reason):
    said = disagreement(found, plan(), ActionBounds([-1.0, -1.0], [1.0, 1.0]))
    assert said is None if reason is None else reason in said


def test_sums_and_exponentials_stay_wide():
    x = onnx.helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])
    y = onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4])
    weights = onnx.numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    steps = [("MatMul", "xw", "a"), ("Softmax", "a", "b"), ("Sqrt", "b", "c"), ("MatMul", "cw", "y")]
    nodes = [onnx.helper.make_node(*step) for step in steps]
    opset = [onnx.helper.make_opsetid("", 17)]
    graph = onnx.helper.make_graph(nodes, "g", [x], [y], [weights])
    half = to_half(onnx.helper.make_model(graph, opset_imports=opset))
    inferred = onnx.shape_inference.infer_shapes(half, check_type=True, strict_mode=True)
    types = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    for node in half.graph.node:
        if node.op_type in FP32_OPERATORS:
            assert types[node.output[0]] == TensorProto.FLOAT
    assert [tensor.data_type for tensor in half.graph.initializer] == [TensorProto.FLOAT16]
    # One way down into each product; none between softmax and root.
    assert sum(node.op_type == "Cast" and to_of(node) == TensorProto.FLOAT16 for node in half.graph.node) == 2


def test_an_unknown_precision_is_named():
    with pytest.raises(PlanningError, match="'precision' must be one of auto, fp32, fp16, got 'bf16'"):
        PlannerConfig(precision="bf16")


def test_a_normalisation_that_tells_its_statistics_stays_fp32():
    value = onnx.helper.make_tensor_value_info
    names = ["plain", "told"]
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("LayerNormalization", ["x", "scale"], ["plain"], name="plain"),
            onnx.helper.make_node("LayerNormalization", ["x", "scale"], ["told", "mean", "deviation"], name="told"),
        ],
        "norms",
        [value("x", TensorProto.FLOAT, [2, 8])],
        [value(name, TensorProto.FLOAT, [2, 8]) for name in names],
        [onnx.numpy_helper.from_array(np.ones(8, np.float32), "scale")],
    )
    graph.output.append(value("mean", TensorProto.FLOAT, [2, 1]))
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    x = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)
    half = to_half(made)
    session = onnxruntime.InferenceSession(half.SerializeToString(), providers=["CPUExecutionProvider"])
    plain, told, mean = session.run([*names, "mean"], {"x": x})
    exact = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    np.testing.assert_allclose(mean[:, 0], x.mean(1), atol=1e-6)
    np.testing.assert_allclose(told, exact, atol=1e-4)
    np.testing.assert_allclose(plain, exact, atol=5e-3)
    assert np.abs(told - exact).max() < np.abs(plain - exact).max()
