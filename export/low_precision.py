"""One graph at a lower precision: fp16, or int8 with ranges that are measured as it runs or beforehand. No torch."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import external_data_helper, shape_inference

from jepa_ros.errors import BundleError
from jepa_ros.planning.compiled.half import FP32_OPERATORS, stay_wide, told_statistics
from jepa_ros_export.weights import save_graph

Inputs = dict[str, NDArray[np.generic]]

_PRODUCTS = ["Conv", "Gemm", "MatMul"]
_ROWS = 8  # of the calibration's inputs at a time
_FARTHEST = 2.0**14  # a quarter of fp16's range: other inputs reach farther than those that are looked at


def to_fp16(source: Path, target: Path, seen: Inputs) -> None:
    """Weights and arithmetic in fp16. Inputs, outputs, `FP32_OPERATORS` and what nears the end of fp16's range stay
    fp32.

    The CPU would not show that something leaves the range: it computes fp16 in fp32.

    Args:
        source: `.onnx` file; `target` is written, its weights as `save_graph` keeps them.
        seen: inputs `[N, …]` by name, on which the range of every value is looked at.

    Raises:
        BundleError: ONNX Runtime cannot convert the graph.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    with _converting(source):
        # The types between nodes, inferred without the weights: with them a graph may be too large to be inferred.
        model = shape_inference.infer_shapes(onnx.load(str(source), load_external_data=False))
        external_data_helper.load_external_data_for_model(model, str(source.parent))
        for number, node in enumerate(model.graph.node):
            node.name = node.name or f"node_{number}"
        far = _far_values(source, seen) | _far_weights(model.graph)
        kept = [node.name for node in model.graph.node if far & {*node.input, *node.output}]
        model = convert_float_to_float16(
            model,
            keep_io_types=True,
            disable_shape_infer=True,
            op_block_list=[*DEFAULT_OP_BLOCK_LIST, *FP32_OPERATORS],
            node_block_list=[*kept, *told_statistics(model.graph)],
        )
        stay_wide(model.graph)
        OnnxModel.graph_topological_sort(model.graph)
        save_graph(model, target)
        onnx.checker.check_model(str(target))


def to_int8(source: Path, target: Path, calibration: Inputs | None = None) -> None:
    """Weights of products and convolutions in 8 bits, and what they are multiplied with; the rest stays fp32.

    Both sides are unsigned. x86 without VNNI adds pairs of unsigned by signed products in 16 bits and cuts off what is
    more; the golden values of a bundle must not depend on that.

    Args:
        source: `.onnx` file; `target` is written, its weights as `save_graph` keeps them.
        calibration: inputs `[N, …]` by name, whose ranges are built in (static); None measures them in every run
            (dynamic).

    Raises:
        BundleError: ONNX Runtime cannot convert the graph.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    outside = bool(external_files(source))
    with _converting(source), tempfile.TemporaryDirectory() as folder:
        prepared, made = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True, save_as_external_data=outside)
        kinds = {
            "op_types_to_quantize": _PRODUCTS,
            "nodes_to_exclude": _stacked_products(prepared),
            "per_channel": True,
            "weight_type": QuantType.QUInt8,
            "use_external_data_format": outside,
        }
        if calibration is None:
            quantize_dynamic(str(prepared), str(made), **kinds)
        else:
            quantize_static(
                str(prepared),
                str(made),
                _reader(calibration, source),
                activation_type=QuantType.QUInt8,
                # A product's result is what it was accumulated in; of attention, both sides change with the input.
                extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"], "MatMulConstBOnly": True},
                **kinds,
            )
        save_graph(onnx.load(str(made)), target)
        onnx.checker.check_model(str(target))


def _far_values(source: Path, seen: Inputs) -> set[str]:
    """Names of values of the graph that go beyond `_FARTHEST`."""
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    with tempfile.TemporaryDirectory() as folder:
        calibrator = create_calibrator(
            source,
            None,
            str(Path(folder) / "ranges.onnx"),
            CalibrationMethod.MinMax,
            use_external_data_format=bool(external_files(source)),
        )
        calibrator.collect_data(_reader(seen, source))
        ranges = calibrator.compute_data().data
        del calibrator
    return {name for name, found in ranges.items() if np.max(np.abs(found.range_value)) > _FARTHEST}


def _far_weights(graph: onnx.GraphProto) -> set[str]:
    """The same of its weights."""
    tensors = [tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in tensors}
    return {name for name, array in arrays.items() if array.size and np.max(np.abs(array)) > _FARTHEST}


def copy_graph(source: Path, target: Path) -> None:
    """The graph as it is, its weights as `save_graph` keeps them."""
    save_graph(onnx.load(str(source)), target)


def external_files(graph: Path) -> set[Path]:
    """Files beside a graph in which it keeps weights."""
    tensors = _without_weights(graph).initializer
    return {
        graph.parent / entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"
    }


def _without_weights(path: Path) -> onnx.GraphProto:
    """A graph, what it keeps in other files left there."""
    return onnx.load(str(path), load_external_data=False).graph


def _stacked_products(path: Path) -> list[str]:
    """Names of products with several matrices of weights at once, as an ensemble has them: ONNX Runtime's kernels take
    one scale a column of one matrix."""
    graph = _without_weights(path)
    stacked = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 2}
    return [node.name for node in graph.node if node.op_type == "MatMul" and stacked & set(node.input)]


def _fixed_batch(source: Path) -> int | None:
    """Rows that a graph takes, where they are fixed."""
    sizes = {value.type.tensor_type.shape.dim[0].dim_value for value in _without_weights(source).input}
    return max(sizes) or None  # what is free counts 0


def _reader(inputs: Inputs, source: Path) -> object:
    """Inputs part by part; of a graph with a fixed batch the last part is filled up with its last row."""
    from onnxruntime.quantization import CalibrationDataReader

    count, fixed = len(next(iter(inputs.values()))), _fixed_batch(source)
    parts = [np.arange(i, i + (fixed or _ROWS)) for i in range(0, count, fixed or _ROWS)]

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._parts = iter([np.minimum(part, count - 1) if fixed else part[part < count] for part in parts])

        def get_next(self) -> Inputs | None:
            part = next(self._parts, None)
            return None if part is None else {name: array[part] for name, array in inputs.items()}

    return Reader()


@contextmanager
def _converting(source: Path) -> Iterator[None]:
    """Without the tools' advice to others, and with one sentence where they fail."""
    logging.disable(logging.WARNING)
    onnxruntime.set_default_logger_severity(3)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (BundleError, OSError):
        raise
    except Exception as error:  # what the tools raise shares no base class
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BundleError(f"precision: {source.name} cannot be converted ({reason})") from error
    finally:
        logging.disable(logging.NOTSET)
        onnxruntime.set_default_logger_severity(2)  # what it begins with
