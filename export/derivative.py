"""A module's vector-Jacobian product as a module, traced from autograd: a robot's gradients need no torch."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from jepa_ros.errors import BundleError
from jepa_ros.golden import relative_error
from jepa_ros_export.graphs import as_tuple
from jepa_ros_export.rollouts import LOOSEST, ROUNDINGS

_PRIMES = (5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)


def derivative(
    module: nn.Module,
    inputs: Sequence[Tensor],
    cotangents: Sequence[Tensor],
    by: Sequence[int] | None = None,
) -> nn.Module:
    """A module (*inputs, *cotangents) → one gradient for each input, of Σ ⟨cotangent, output⟩.

    Args:
        module: a predictor or head whose attention is written out (`layers.attend`): the fused operator's gradient does
            not convert. It takes its batch size from `x.shape[0]`: `len(x)` would fix it.
        inputs, cotangents: examples, of which the first dimension is the batch.
        by: places of the inputs by which gradients are given; None for all.
    """
    # Tracing takes sizes that are equal for one and the same; a free batch must be equal to no fixed size.
    sizes = {size for tensor in (*inputs, *cotangents, *module.parameters()) for size in tensor.shape}
    batch = next(number for number in _PRIMES if number not in sizes)
    examples = [tensor[:1].expand(batch, *tensor.shape[1:]).clone() for tensor in (*inputs, *cotangents)]

    table = {
        **torch._decomp.core_aten_decompositions(),
        torch.ops.aten.convolution_backward.default: _convolution_backward,
    }
    traced: nn.Module = make_fx(
        lambda *given: by_autograd(module, given, len(inputs), by),
        decomposition_table=table,
        tracing_mode="symbolic",
        _allow_non_fake_inputs=True,
    )(*examples)
    return traced.eval()


def by_autograd(
    module: nn.Module, given: Sequence[Tensor], count: int, by: Sequence[int] | None = None
) -> list[Tensor]:
    """Gradients of Σ ⟨cotangent, output⟩ by each of the first `count` of `given`, or by those of them that `by` names;
    what comes after the first `count` are the cotangents."""
    wanted = range(count) if by is None else by
    leaves = [tensor.detach().requires_grad_(i in wanted) for i, tensor in enumerate(given[:count])]
    with torch.enable_grad():
        outputs = as_tuple(module(*leaves))
        chosen = [leaves[i] for i in wanted]
        return list(torch.autograd.grad(outputs, chosen, list(given[count:]), materialize_grads=True))


def rounding(module: nn.Module, given: Sequence[Tensor], count: int, by: Sequence[int] | None = None) -> float:
    """How far the gradients in fp32 are off those in fp64, relative: no graph can be held to less."""
    exact = by_autograd(copy.deepcopy(module).double(), [tensor.double() for tensor in given], count, by)
    found = by_autograd(module, given, count, by)
    return max(relative_error(a.numpy(), b.numpy()) for a, b in zip(found, exact, strict=True))


def excused(
    module: nn.Module,
    groups: Iterable[Sequence[Tensor]],
    count: int,
    tolerance: float,
    by: Sequence[int] | None = None,
) -> float | None:
    """The tolerance that PyTorch's own rounding on groups of inputs asks for, where it is wider than this one; None
    where it does not excuse more, or more than anything should be."""
    allowed = ROUNDINGS * max(rounding(module, given, count, by) for given in groups)
    return allowed if tolerance < allowed <= LOOSEST else None


def _convolution_backward(
    grad: Tensor,
    given: Tensor,
    weight: Tensor,
    _bias_sizes: Any,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    _output_padding: list[int],
    groups: int,
    _mask: list[bool],
) -> tuple[Tensor, None, None]:
    """The gradient by the input alone, which ONNX has as a transposed convolution; weights are constants here."""
    if transposed:
        raise BundleError(
            "export: the model has a transposed convolution, whose derivative is not written; export with "
            "--no-derivative"
        )
    missing = [
        given.shape[2 + i]
        - ((grad.shape[2 + i] - 1) * stride[i] - 2 * padding[i] + dilation[i] * (weight.shape[2 + i] - 1) + 1)
        for i in range(len(stride))
    ]
    back = torch.ops.aten.convolution.default(grad, weight, None, stride, padding, dilation, True, missing, groups)
    return back, None, None
