"""What the device could do at best: a large fp32 matrix product through ONNX Runtime, on the same provider and threads;
and how many operations a plan is."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from jepa_ros.bundle.flops import graph_cost
from jepa_ros.bundle.loader import ENCODER, PREDICTOR_VJP, Bundle
from jepa_ros.bundle.plan_cost import plan_cost
from jepa_ros.errors import JepaRosError
from jepa_ros.planning.config import PlannerConfig

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_SIZE = {"cpu": 1536, "cuda": 8192, "tensorrt": 8192}
_TRIES = 7


def installed(provider: str) -> tuple[str, ...]:
    """ONNX Runtime's names of a provider, with the CPU behind it for what it does not know.

    Raises:
        JepaRosError: it is not installed.
    """
    available, name = onnxruntime.get_available_providers(), PROVIDERS[provider]
    if name not in available:
        raise JepaRosError(f"{name} is not in this ONNX Runtime, which has {', '.join(available)}")
    return (name,) if provider == "cpu" else (name, PROVIDERS["cpu"])


def best_flops_per_second(provider: str, threads: int | None) -> float:
    """The fastest of a few products of square fp32 matrices (on a GPU without TF32).

    Raises:
        JepaRosError: the provider is not installed.
    """
    size, name = _SIZE[provider], "cuda" if provider == "tensorrt" else provider
    installed(name)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["y"])],
        "limit",
        [value(side, TensorProto.FLOAT, [size, size]) for side in "ab"],
        [value("y", TensorProto.FLOAT, [size, size])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings = [(PROVIDERS[name], {"use_tf32": "0"})] if name == "cuda" else [PROVIDERS[name]]
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=settings)
    rng, binding = np.random.default_rng(0), session.io_binding()
    for side in "ab":
        given = rng.standard_normal((size, size), np.float32)
        binding.bind_ortvalue_input(side, onnxruntime.OrtValue.ortvalue_from_numpy(given, name, 0))
    binding.bind_output("y", name, 0)
    best = float("inf")
    for _ in range(_TRIES):
        begin = time.perf_counter()
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 / best


def plan_flops(bundle: Bundle, planner: str, config: PlannerConfig, iterations: int) -> int:
    """Of a plan as the package's planners compute it, graph called by graph; without the encoder, and without the
    derivatives of heads.

    Args:
        iterations: of sampling; `config.descents` come on top for `hybrid`. The last iteration of a descent scores, and
            takes no derivative.
    """
    if iterations == 0:
        return 0
    if planner == "hybrid":
        few = replace(config, samples=config.elites)
        return plan_flops(bundle, "cem", config, iterations) + plan_flops(bundle, "gradient", few, config.descents)
    settings = {name: getattr(config, name) for name in ("samples", "elites", "horizon")}
    defaults = bundle.manifest.planner.model_copy(update={"name": planner, **settings, "iterations": iterations})
    changed = bundle.manifest.model_copy(update={"planner": defaults})
    uses = {use.file: use.flops for use in plan_cost(Bundle(bundle.path, changed)).uses if use.file != ENCODER}
    backward = uses.pop(PREDICTOR_VJP, 0)
    return sum(uses.values()) + backward // iterations * (iterations - 1)


def fixed_graph_flops(path: Path) -> int:
    """Of one run of a graph whose shapes are all fixed, as a plan graph's are."""
    inputs = onnx.load(str(path), load_external_data=False).graph.input
    shapes = {value.name: tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim) for value in inputs}
    return graph_cost(path, shapes).flops
