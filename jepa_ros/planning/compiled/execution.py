"""Running a plan graph: its state stays where it is computed, in two sets of buffers that take turns.

On a CUDA device the whole call is recorded once for each direction and replayed (CUDA graphs), so that the host starts
one piece of work and not thousands of kernels.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from jepa_ros.errors import ModelError
from jepa_ros.planning.compiled.compiler import NEXT
from jepa_ros.runtime import EXACT, choose_providers, first_line, session_options
from jepa_ros.types import Float32

_LOG = logging.getLogger(__name__)
_NOT_CAPTURED = "cannot use the graph capture feature"  # ONNX Runtime, of a graph that is not on CUDA as a whole
_CUDA, _TENSORRT, _CPU = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"

fallbacks = 0
"""Plan graphs that were to run on a GPU in this process and run on the CPU."""


class PlanRun:
    """An opened plan graph.

    Args:
        path: of the graph.
        state: names that are carried from call to call: inputs NAME, outputs `next_NAME`.
        threads: CPU threads for one operator.
        providers: execution providers by name; None takes the best installed, TensorRT only where it is named.

    Raises:
        ModelError: the graph cannot be opened.
    """

    def __init__(
        self, path: Path, state: Sequence[str], threads: int = 1, providers: tuple[str, ...] | None = None
    ) -> None:
        self.path, self._state = path, tuple(state)
        chosen = choose_providers(providers)
        self._session = _open(path, threads, chosen)
        self.provider: str = self._session.get_providers()[0]
        if self.provider != chosen[0]:
            global fallbacks  # noqa: PLW0603 (counted for the whole process)
            fallbacks += 1
            _LOG.error("plan graph: %s was asked for, and it runs on %s", chosen[0], self.provider)
        self._device = "cpu" if self.provider == _CPU else "cuda"
        carried = [NEXT + name for name in self._state]
        shapes = {item.name: tuple(item.shape) for item in self._session.get_inputs()}
        self._inputs = {name: self._buffer(shape) for name, shape in shapes.items() if name not in self._state}
        self._sides = [{name: self._buffer(shapes[name]) for name in self._state} for _ in range(2)]
        self._outputs = {
            item.name: self._buffer(tuple(item.shape))
            for item in self._session.get_outputs()
            if item.name not in carried
        }
        self._bindings = [self._bind(self._sides[turn], self._sides[1 - turn]) for turn in range(2)]
        self._options = [_run_options(turn) for turn in range(2)]
        self._turn = 0

    def write(self, name: str, values: Float32) -> None:
        """Copy into an input or the present state.

        Raises:
            ModelError: the graph has no such input, or one of another shape.
        """
        buffer = self._sides[self._turn].get(name) or self._inputs.get(name)
        if buffer is None:
            raise ModelError(f"plan graph {self.path}: it has no input {name}")
        if tuple(buffer.shape()) != values.shape:
            raise ModelError(f"plan graph: {name} is {list(values.shape)}, not {list(buffer.shape())}")
        buffer.update_inplace(np.ascontiguousarray(values, np.float32))

    def read(self, name: str) -> Float32:
        """A copy of an output or of the present state."""
        buffer = self._sides[self._turn].get(name) or self._outputs[name]
        return np.array(buffer.numpy(), np.float32)

    def __call__(self) -> None:
        """Run once; the next state is the present one afterwards.

        Raises:
            ModelError: the runtime failed.
        """
        try:
            self._session.run_with_iobinding(self._bindings[self._turn], self._options[self._turn])
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            raise ModelError(f"plan graph {self.path}: {first_line(error)}") from error
        self._turn = 1 - self._turn

    def _buffer(self, shape: tuple[int, ...]) -> Any:
        return onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32), self._device, 0)

    def _bind(self, now: dict[str, Any], following: dict[str, Any]) -> Any:
        binding = self._session.io_binding()
        for name, buffer in {**self._inputs, **now}.items():
            binding.bind_ortvalue_input(name, buffer)
        for name, buffer in self._outputs.items():
            binding.bind_ortvalue_output(name, buffer)
        for name, buffer in following.items():
            binding.bind_ortvalue_output(NEXT + name, buffer)
        return binding


def _open(path: Path, threads: int, providers: Sequence[str]) -> onnxruntime.InferenceSession:
    configured = {name: _provider_options(name, path.parent) for name in providers}
    options = session_options(threads)
    try:
        try:
            return onnxruntime.InferenceSession(str(path), options, providers=list(configured.items()))
        except Exception as error:  # as above
            if _CUDA not in configured or _NOT_CAPTURED not in str(error):
                raise
            # Some operator has no kernel on CUDA: its neighbours still have.
            _LOG.warning("plan graph %s: runs without a CUDA graph, since a part of it runs on the CPU", path)
            configured[_CUDA] = EXACT[_CUDA]
            return onnxruntime.InferenceSession(str(path), options, providers=list(configured.items()))
    except Exception as error:  # as above
        raise ModelError(f"plan graph {path}: cannot be opened ({first_line(error)})") from error


def _provider_options(name: str, folder: Path) -> dict[str, str]:
    if name == _CUDA:
        # Lower precision is in the graph, where it is asked for.
        return {"enable_cuda_graph": "1", **EXACT[_CUDA]}
    if name == _TENSORRT:
        return {
            "trt_cuda_graph_enable": "1",
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": "1",
        }
    return {}


def _run_options(turn: int) -> onnxruntime.RunOptions:
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(turn + 1))  # one recording a direction
    return options
