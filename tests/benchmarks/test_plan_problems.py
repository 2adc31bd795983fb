"""Problems, settings and where things are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.errors import JepaRosError
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_benchmarks.plan import own_settings
from jepa_ros_benchmarks.plan_limit import best_flops_per_second, fixed_graph_flops, installed, plan_flops
from jepa_ros_benchmarks.plan_problems import (
    Case,
    base_settings,
    cache_folder,
    cases_of,
    drivable,
    made_up_cases,
    reference_energies,
    warm_start_of,
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def model(tiny_bundle):
    return OnnxWorldModel(load_bundle(tiny_bundle))


def test_the_cache_is_where_the_platform_keeps_such_things(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache" / "jepa_ros" / "units"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "jepa_ros" / "units"


def test_made_up_problems_are_the_same_each_time_and_can_be_solved(model):
    first, again = (made_up_cases(model, 2, horizon=4) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.latents, other.latents)
        np.testing.assert_array_equal(one.goal, other.goal)
    context = model.manifest.timing.history_max
    assert first[0].latents.shape == (context, 8)
    assert first[0].past.shape == (context - 1, 3)
    # the first three of its eight elements are pushed by actions, the others stay
    np.testing.assert_allclose(first[0].goal[3:], first[0].latents[-1, 3:], rtol=1e-6)
    assert np.abs(first[0].goal[:3] - first[0].latents[-1, :3]).max() > 0.05


def test_a_warm_start_is_cut_or_held():
    start = np.arange(6, dtype=np.float32).reshape(3, 2)
    case = Case(0, np.zeros((1, 2)), np.zeros((0, 2)), np.zeros(2), start)
    np.testing.assert_array_equal(warm_start_of(case, 2), start[:2])
    np.testing.assert_array_equal(warm_start_of(case, 5), start[[0, 1, 2, 2, 2]])
    assert warm_start_of(Case(0, case.latents, case.past, case.goal, None), 2) is None


def test_references_are_kept(model):
    cases, source = cases_of(model, 2, 4, real=False)
    assert "dreamt" in source
    config = base_settings(model.manifest, {})
    first = reference_energies(model, cases, config)
    assert len(list(cache_folder().glob("reference-*.npz"))) == 1
    np.testing.assert_array_equal(reference_energies(model, cases, config), first)
    assert (first < 0.01).all(), "goals that a plan reaches are nearly reached by 3,000 of them"
    reference_energies(model, cases[:1], config)
    assert len(list(cache_folder().glob("reference-*.npz"))) == 2, "other problems, other references"


def test_what_the_simulator_can_drive(model):
    assert drivable(model.manifest)
    axes = {"names": ["x", "y"], "units": ["m", "m"], "low": [-1, -1], "high": [1, 1]}
    other = model.manifest.action.model_copy(update=axes)
    assert not drivable(model.manifest.model_copy(update={"action": other}))


def test_settings_of_the_command_line(model):
    config = base_settings(model.manifest, {"samples": 5, "horizon": 2})
    assert (config.samples, config.elites, config.horizon, config.iterations) == (5, 5, 2, 2)
    found = own_settings(["icem.samples=64", "icem.keep=0.2", "gradient.optimizer=sgd"])
    assert found == {"icem": {"samples": 64, "keep": 0.2}, "gradient": {"optimizer": "sgd"}}
    for wrong in ("icem.samples", "samples=3", "icem.nothing=3"):
        with pytest.raises(JepaRosError, match=r"--set .*PLANNER\.NAME=VALUE"):
            own_settings([wrong])


def test_operations_of_a_plan(model):
    config = base_settings(model.manifest, {})
    once = 2 * 3 * 8 * config.samples * config.horizon
    assert plan_flops(model.bundle, "cem", config, 2) == 2 * once
    assert plan_flops(model.bundle, "icem", config, 5) == 5 * once
    few = 2 * 3 * 8 * config.elites * config.horizon  # this bundle has no derivative to count
    assert plan_flops(model.bundle, "hybrid", config, 2) == 2 * once + config.descents * few


def test_operations_of_a_plan_graph(tmp_path):
    value, node = helper.make_tensor_value_info, helper.make_node("MatMul", ["a", "b"], ["y"])
    shapes = {"a": [5, 3], "b": [3, 4]}
    inputs = [value(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    graph = helper.make_graph([node], "g", inputs, [value("y", TensorProto.FLOAT, None)])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), str(tmp_path / "plan.onnx"))
    assert fixed_graph_flops(tmp_path / "plan.onnx") == 2 * 5 * 3 * 4


def test_a_provider_that_is_not_there_is_named():
    assert installed("cpu") == ("CPUExecutionProvider",)
    if "TensorrtExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(JepaRosError, match="TensorrtExecutionProvider is not in this ONNX Runtime"):
            installed("tensorrt")


def test_the_limit_is_above_what_one_core_did_long_ago():
    assert best_flops_per_second("cpu", 1) > 1e8
