"""PyTorch on a GPU: eager, the whole search in one CUDA graph, and the same with `torch.compile`'s fused kernels."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor

from jepa_ros.planning.config import PlannerConfig
from jepa_ros_benchmarks.plan_figures import Run
from jepa_ros_benchmarks.plan_problems import Case, noise_of, warm_start_of
from jepa_ros_benchmarks.plan_torch import TorchWorld, actions_as_array, search, tensors_of

KINDS = ("eager", "graph", "compiled")
ENGINES = {"eager": "torch", "graph": "torch+graph", "compiled": "torch+compile+graph"}
PRECISIONS = ("fp32", "tf32", "fp16", "bf16")
_HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
_WARM = 3


@contextmanager
def _precision(name: str) -> Iterator[None]:
    """Products in this precision; TF32 only where it is asked for."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
    half = _HALVES.get(name)
    try:
        with torch.autocast("cuda", dtype=half, cache_enabled=False) if half else nullcontext():
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


class CudaCEM:
    """The search on a GPU. Histories must all have one length; what is captured begins at rest, without a warm start,
    unless the first problem has one.

    Args:
        world: on the CPU; a copy goes to the GPU.
        kind: one of `KINDS`.
        precision: one of `PRECISIONS`; energies stay fp32.
        seed: of the noise, which is on the GPU before the clock starts.
        warm: whether warm starts are used.
    """

    def __init__(
        self, world: TorchWorld, config: PlannerConfig, kind: str, precision: str, seed: int, warm: bool = True
    ) -> None:
        self._device = torch.device("cuda")
        self._world = deepcopy(world).to(self._device)
        self._config, self._kind, self._precision, self._seed, self._warm = config, kind, precision, seed, warm
        if kind == "compiled":
            # Of a rollout, which repeats it, compiling takes minutes.
            self._world.predictor = torch.compile(self._world.predictor, dynamic=False)  # type: ignore[assignment]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []
        self._outputs: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def __call__(self, case: Case) -> Run:
        inputs = self._inputs_of(case)
        with _precision(self._precision):
            return self._eager(inputs) if self._kind == "eager" else self._replayed(inputs)

    def _inputs_of(self, case: Case) -> list[Tensor]:
        """History, past actions, goal, noise and, where it is used, the warm start."""
        noise = torch.from_numpy(noise_of(self._config, len(self._world.low), self._seed + case.number))
        inputs = [*tensors_of(case, self._device), noise.to(self._device)]
        start = warm_start_of(case, self._config.horizon) if self._warm else None
        if start is not None:
            inputs.append(torch.from_numpy(start).to(self._device))
        return inputs

    def _eager(self, inputs: list[Tensor]) -> Run:
        torch.cuda.synchronize()
        begin = time.perf_counter()
        with torch.inference_mode():
            actions = actions_as_array(search(self._world, self._config, *inputs)[0])
        seconds = time.perf_counter() - begin
        # Again, coming back to the host after each iteration, which the timed plan does not.
        ends: list[float] = []

        def mark(_: Tensor) -> None:
            torch.cuda.synchronize()
            ends.append(time.perf_counter() - begin)

        torch.cuda.synchronize()
        begin = time.perf_counter()
        with torch.inference_mode():
            energies = search(self._world, self._config, *inputs, mark=mark)[1]
        return Run(actions, seconds, np.array(ends), energies.double().cpu().numpy())

    def _replayed(self, inputs: list[Tensor]) -> Run:
        if self._graph is None:
            self._capture(inputs)
        assert self._graph is not None  # noqa: S101 (captured above)
        assert self._outputs is not None  # noqa: S101
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for static, given in zip(self._inputs, inputs, strict=True):
            static.copy_(given)
        self._graph.replay()
        actions = actions_as_array(self._outputs[0])
        seconds = time.perf_counter() - begin
        energies = self._outputs[1].double().cpu().numpy()
        # Nothing is known before the whole graph has run.
        return Run(actions, seconds, np.full(len(energies), seconds), energies)

    def _capture(self, inputs: list[Tensor]) -> None:
        self._inputs = [tensor.clone() for tensor in inputs]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM):
                search(self._world, self._config, *self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._outputs = search(self._world, self._config, *self._inputs)
