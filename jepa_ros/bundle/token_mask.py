"""Which tokens of a state tensor a cost term counts, such as the patches below the horizon."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from jepa_ros.bundle.model_spec import StateTensor, Strict

Index = Annotated[int, Field(ge=0, strict=True)]
IndexRange = tuple[Index, Index]


class TokenRectangle(Strict):
    """Tokens of a grid: rows and columns from the first to before the second, `[0, 2]` being 0 and 1."""

    rows: IndexRange
    columns: IndexRange


TokenMask = Annotated[tuple[Index | IndexRange, ...], Field(min_length=1)] | TokenRectangle
"""Tokens by index, ranges of them (from the first to before the second), or a rectangle of the grid. Hashable."""


def chosen_tokens(mask: TokenMask, tensor: StateTensor) -> tuple[int, ...]:
    """Indices of the tokens of a tensor that a mask chooses, ascending, each once.

    Raises:
        ValueError: the tensor has no tokens or no grid, or a range is empty or outside of them.
    """
    if tensor.kind == "vector":
        raise ValueError(f"tokens: {tensor.name} is a vector, which has none; leave tokens out")
    count = tensor_axes(tensor)[0][tensor_axes(tensor)[1]]
    if not isinstance(mask, TokenRectangle):
        ranges = [(item, item + 1) if isinstance(item, int) else item for item in mask]
        return tuple(sorted({i for item in ranges for i in _within(item, count, f"tokens of {tensor.name}")}))
    if tensor.token_grid is None:
        raise ValueError(
            f"tokens: rows and columns need the grid of {tensor.name}; say it in its state entry (grid: [rows, "
            "columns]), or list the tokens"
        )
    height, width = tensor.token_grid
    columns = _within(mask.columns, width, f"columns of {tensor.name}")
    return tuple(
        row * width + column for row in _within(mask.rows, height, f"rows of {tensor.name}") for column in columns
    )


def tensor_axes(tensor: StateTensor) -> tuple[tuple[int, int], int]:
    """The tensor's sizes with its places as one axis, and which axis that is: tokens `([N, C], 0)`, a map
    `([C, h w], 1)`."""
    if tensor.kind == "map":
        channels, height, width = tensor.shape
        return (channels, height * width), 1
    return (tensor.shape[0], tensor.shape[1]), 0


def _within(chosen: IndexRange, count: int, what: str) -> range:
    begin, end = chosen
    if not begin < end <= count:
        raise ValueError(
            f"tokens: {what} are 0 to {count - 1}, and [{begin}, {end}] (its end not counted) is empty or leaves them"
        )
    return range(begin, end)
