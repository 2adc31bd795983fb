"""ONNX Runtime sessions: which provider, how many threads, buffers bound once."""

from __future__ import annotations

import functools
import logging
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from jepa_ros.errors import ModelError

_LOG = logging.getLogger(__name__)
_CPU = "CPUExecutionProvider"
_PREFERRED = ("CUDAExecutionProvider", _CPU)
_NEED_CUDA = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
# CUDA's products are in TF32 if nothing is said: a bundle's golden values were then missed by 2.4e-3.
EXACT = {"CUDAExecutionProvider": {"use_tf32": "0"}}

Array = NDArray[np.generic]


def choose_providers(requested: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """The providers to use, best first.

    Args:
        requested: names that are wanted; None takes the best of what is installed.

    Raises:
        ModelError: one that is requested is not installed; the message names what is.
    """
    available = onnxruntime.get_available_providers()
    if requested is None:
        return _loaded(tuple(name for name in _PREFERRED if name in available))
    missing = [name for name in requested if name not in available]
    if missing:
        raise ModelError(
            f"provider {', '.join(missing)} is not installed; this ONNX Runtime has {', '.join(available)}"
        )
    return _loaded(requested)


def _loaded(providers: tuple[str, ...]) -> tuple[str, ...]:
    """The same, after CUDA's libraries are loaded, which pip installs where the system does not look for them."""
    if providers[0] in _NEED_CUDA:
        _load_cuda()
    return providers


@functools.cache
def _load_cuda() -> None:
    load = getattr(onnxruntime, "preload_dlls", None)  # since 1.21
    if load is not None:
        load()


class Session:
    """One graph, ready to run.

    Args:
        path: the `.onnx` file.
        threads: for one operator.
        providers: execution providers by name; None takes the best installed.

    Raises:
        ModelError: the file is absent or not a graph that can be run.
    """

    def __init__(self, path: Path, threads: int = 1, providers: tuple[str, ...] | None = None) -> None:
        self.path = path
        chosen = choose_providers(providers)
        if not path.is_file():
            raise ModelError(f"graph {path}: no such file")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), session_options(threads), providers=[(name, EXACT.get(name, {})) for name in chosen]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            raise ModelError(f"graph {path}: cannot be opened ({first_line(error)})") from error
        self.provider: str = self._session.get_providers()[0]
        if self.provider != chosen[0]:
            _LOG.warning("graph %s: fell back from %s to %s", path.name, chosen[0], self.provider)
        self.inputs = {i.name: (tuple(i.shape), i.type) for i in self._session.get_inputs()}
        self.outputs = {o.name: (tuple(o.shape), o.type) for o in self._session.get_outputs()}
        self._output_names = list(self.outputs)
        self._batch = _fixed_batch([shape for shape, _ in self.inputs.values()])

    def run(self, **inputs: Array) -> dict[str, Array]:
        """Run once; outputs by name.

        Raises:
            ModelError: an input is missing, unknown or of the wrong shape or type.
        """
        try:
            found = self._session.run(self._output_names, inputs)
        except Exception as error:  # as above
            raise ModelError(f"graph {self.path.name}: {first_line(error)}") from error
        return dict(zip(self._output_names, found, strict=True))

    def run_rows(self, **inputs: Array) -> dict[str, Array]:
        """Run on any number of rows, at least one; outputs by name, a row for each.

        A graph whose batch is fixed is run part by part, the last one filled up with its last row again. Rows do not
        see one another, so what is filled up changes nothing.

        Raises:
            ModelError: as `run`.
        """
        counts = {array.shape[0] if array.ndim else 0 for array in inputs.values()}
        rows = counts.pop() if len(counts) == 1 else 0
        if self._batch is None or rows == 0:
            return self.run(**inputs)
        parts = []
        for begin in range(0, rows, self._batch):
            pick = np.minimum(np.arange(begin, begin + self._batch), rows - 1)
            parts.append(self.run(**{name: array[pick] for name, array in inputs.items()}))
        return {name: np.concatenate([part[name] for part in parts])[:rows] for name in self._output_names}

    def bind(self, inputs: dict[str, Array], outputs: dict[str, Array]) -> BoundRun:
        """Tie the graph to buffers once, to be run many times without looking them up or allocating again.

        Raises:
            ModelError: a name that the graph does not have.
        """
        return BoundRun(self._session, self.path.name, inputs, outputs, elsewhere=self.provider != _CPU)


class BoundRun:
    """A session tied to fixed buffers: write the inputs in place, call it, read the outputs in place.

    Args:
        session: the opened graph.
        graph: its file's name, for messages.
        inputs, outputs: buffers by name; they are kept alive here.
        elsewhere: whether it runs where these buffers are not: ONNX Runtime then copies an input when it is bound, and
            would not see what is written afterwards.

    Raises:
        ModelError: a name that the graph does not have; when called, buffers whose shape or type it does not take.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        graph: str,
        inputs: dict[str, Array],
        outputs: dict[str, Array],
        elsewhere: bool = False,
    ) -> None:
        self._session, self._graph, self._inputs, self._keep = session, graph, inputs, outputs
        self._elsewhere = elsewhere
        self._binding = session.io_binding()
        try:
            self._bind_inputs()
            for name, array in outputs.items():
                self._binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        except Exception as error:  # as above
            raise ModelError(f"graph {graph}: {first_line(error)}") from error

    def _bind_inputs(self) -> None:
        for name, array in self._inputs.items():
            self._binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def __call__(self) -> None:
        try:
            if self._elsewhere:
                self._bind_inputs()
            self._session.run_with_iobinding(self._binding)
            if self._elsewhere:
                self._binding.synchronize_outputs()
        except Exception as error:  # as above
            raise ModelError(f"graph {self._graph}: {first_line(error)}") from error


def _fixed_batch(shapes: list[tuple[int | str | None, ...]]) -> int | None:
    """The size that all inputs begin with, where it is the same number."""
    sizes = {shape[0] if shape else None for shape in shapes}
    size = sizes.pop() if len(sizes) == 1 else None
    return size if isinstance(size, int) else None


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """For a graph on this many threads, which never spin while they wait: on a robot the cores have other work."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def first_line(error: Exception) -> str:
    """What went wrong, without ONNX Runtime's stack; some of its exceptions have no text."""
    return next(iter(str(error).splitlines()), type(error).__name__)
