"""What one plan of the tiny bundles costs, worked out by hand from their sizes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from jepa_ros import prediction
from jepa_ros.bundle.loader import Bundle, load_bundle
from jepa_ros.bundle.manifest import CostTerm, Head, PlannerDefaults
from jepa_ros.bundle.plan_cost import plan_cost
from jepa_ros.errors import BundleError
from jepa_ros.planning.config import PlannerConfig

# Of the tiny bundle: pixels 16 × 16 × 3 → latent 8; the last of 3 actions of 3 → 8. 32 samples, 2 iterations, 4 steps.
ENCODE, PREDICT = 2 * 768 * 8, 2 * 3 * 8


def altered(folder, **changes):
    """The bundle as if its manifest said so."""
    bundle = load_bundle(folder)
    return Bundle(bundle.path, bundle.manifest.model_copy(update=changes))


def test_a_plan_without_heads(tiny_bundle):
    found = plan_cost(load_bundle(tiny_bundle))
    assert (found.samples, found.iterations, found.horizon) == (32, 2, 4)
    assert [(use.file, use.batch, use.calls, use.flops) for use in found.uses] == [
        ("encoder.onnx", 1, 1, ENCODE),
        ("predictor.onnx", 32, 8, 32 * 8 * PREDICT),
    ]
    assert found.flops == ENCODE + 32 * 8 * PREDICT
    assert found.weight_bytes == 4 * (768 * 8 + 1) + 4 * 3 * 8 + 8  # projections, a scale, and an index of 8 bytes
    # Context, actions and what they give; all predicted steps, and their difference from the goal.
    assert found.buffer_bytes == 4 * 32 * (3 * 8 + 3 * 3 + 8 + 4 * 8 + 4 * 8)
    assert found.activation_bytes == 32 * 4 * (5 * 16 * 3**2 + 4 * 3 * 8)
    assert found.memory_bytes == found.weight_bytes + found.buffer_bytes + found.activation_bytes


@pytest.mark.parametrize(
    ("terms", "steps"),
    [
        ([{"metric": "cosine"}], 0),
        ([{"steps": "last"}], 1),
        ([{"steps": "last"}, {"metric": "l1"}], 4),
        ([{"steps": "sum"}], 4),
    ],
)
def test_the_differences_from_the_goal_that_the_objective_keeps(tiny_bundle, terms, steps):
    found = plan_cost(altered(tiny_bundle, cost=[CostTerm(**term) for term in terms]))
    assert found.buffer_bytes == 4 * 32 * (3 * 8 + 3 * 3 + 8 + 4 * 8 + steps * 8)


def test_a_batch_that_is_cut_keeps_buffers_of_its_parts(tiny_bundle, monkeypatch):
    """32 samples as 3 times 10, and 2."""
    row = 4 * (5 * 16 * 3**2 + 4 * 3 * 8)
    monkeypatch.setattr(prediction, "_MOST_ACTIVATION_BYTES", 10 * row)
    found = plan_cost(load_bundle(tiny_bundle))
    assert (found.rows, found.activation_bytes) == (10, 10 * row)
    assert found.buffer_bytes == 4 * (12 * (3 * 8 + 3 * 3 + 8) + 32 * (4 * 8 + 4 * 8))


def with_product(folder, inputs, output, size):
    """Put a product with ones `[8, size]` of the latent into the head's graph."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["latent", "ones"], [output])],
        "g",
        [value(name, TensorProto.FLOAT, ["B", width]) for name, width in inputs.items()],
        [value(output, TensorProto.FLOAT, ["B", size])],
        [numpy_helper.from_array(np.ones((8, size), np.float32), "ones")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "heads" / "value.onnx"))


@pytest.mark.parametrize(
    ("steps", "batch"), [(["all"], 128), (["sum"], 128), (["last"], 32), (["all", "last"], 128), ([], None)]
)
def test_a_value_head_judges_what_the_cost_asks_for(tiny_bundle_with_head, steps, batch):
    """Every predicted step, or the last of each sample alone; not at all where no term names it."""
    terms = [CostTerm(source="head:value", metric="value", steps=when) for when in steps]
    bundle = altered(tiny_bundle_with_head, cost=terms or [CostTerm()])
    with_product(tiny_bundle_with_head, {"latent": 8, "goal": 8}, "value", 1)
    uses = {use.file: use for use in plan_cost(bundle).uses}
    assert ("heads/value.onnx" in uses) == bool(steps)
    if steps:
        head = uses["heads/value.onnx"]
        assert (head.batch, head.calls, head.flops) == (batch, 2, 2 * batch * 2 * 8)


def test_a_policy_proposes_once_a_plan(tiny_bundle_with_head):
    """5 samples, at each of 4 steps; the predictor leads to steps 2, 3 and 4 anew: 1 + 2 + 3 calls."""
    policy = Head(file="heads/value.onnx", inputs=["latent", "noise"], output="action", kind="policy")
    bundle = load_bundle(tiny_bundle_with_head)
    planner = bundle.manifest.planner.model_copy(update={"policy_samples": 5})
    without = plan_cost(altered(tiny_bundle_with_head, heads={"pi": policy}))
    bundle = altered(tiny_bundle_with_head, heads={"pi": policy}, planner=planner)
    with_product(tiny_bundle_with_head, {"latent": 8, "noise": 3}, "action", 3)
    found = plan_cost(bundle)
    added = found.flops - without.flops
    assert added == 4 * 5 * (2 * 8 * 3) + (1 + 2 + 3) * 5 * PREDICT
    assert found.weight_bytes == without.weight_bytes + 4 * 8 * 3, "each graph's weights once"


def test_what_the_manifest_leaves_open_is_the_planners_own(tiny_bundle):
    found, own = plan_cost(altered(tiny_bundle, planner=PlannerDefaults(samples=40))), PlannerConfig()
    assert (found.samples, found.iterations, found.horizon) == (40, own.iterations, own.horizon)
    assert found.flops == ENCODE + 40 * own.iterations * own.horizon * PREDICT


def test_a_planner_on_gradients_runs_the_derivative_as_often(tiny_bundle):
    """The derivative here is the predictor's own graph: twice the work."""
    (tiny_bundle / "predictor_vjp.onnx").write_bytes((tiny_bundle / "predictor.onnx").read_bytes())
    bundle = load_bundle(tiny_bundle)
    files = {**bundle.manifest.files, "predictor_vjp.onnx": ""}
    costs = {}
    for name in ("cem", "gradient"):
        planner = bundle.manifest.planner.model_copy(update={"name": name})
        costs[name] = plan_cost(altered(tiny_bundle, planner=planner, files=files)).flops - ENCODE
    assert costs["gradient"] == 2 * costs["cem"]


def test_a_hybrid_descends_on_its_elites(tiny_bundle):
    """4 of 32 samples, 3 times more, forward and backward; without a derivative there is nothing to descend by."""
    (tiny_bundle / "predictor_vjp.onnx").write_bytes((tiny_bundle / "predictor.onnx").read_bytes())
    bundle = load_bundle(tiny_bundle)
    settings = {"name": "hybrid", "elites": 4, "descents": 3}
    planner = bundle.manifest.planner.model_copy(update=settings)
    without = plan_cost(altered(tiny_bundle, planner=planner))
    files = {**bundle.manifest.files, "predictor_vjp.onnx": ""}
    found = plan_cost(altered(tiny_bundle, planner=planner, files=files))
    assert found.flops - without.flops == 2 * 4 * 3 * found.horizon * PREDICT


def test_a_second_free_size(tiny_bundle):
    path = tiny_bundle / "predictor.onnx"
    bundle, model = load_bundle(tiny_bundle), onnx.load(str(path))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "T"
    onnx.save(model, str(path))
    with pytest.raises(
        BundleError, match=r"predictor\.onnx: input latent is float32 .*, only the first size may be free"
    ):
        plan_cost(bundle)


def test_the_default_bundle():
    """Order of magnitude, from the widths of its layers: an encoder of tens of MFLOP, a predictor of 2.5 a row."""
    from jepa_ros.share import default_bundle

    found = plan_cost(load_bundle(default_bundle()))
    encoder, predictor = found.uses[:2]
    assert 5e7 < encoder.flops < 1e8
    assert 2e6 < predictor.cost.flops / predictor.batch < 3e6
    # Weights are nearly all of a graph's file.
    assert 0.98 < encoder.cost.weight_bytes / (default_bundle() / "encoder.onnx").stat().st_size < 1
