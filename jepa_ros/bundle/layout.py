"""How a state of several tensors lies end to end in one latent vector `[D]`, which is what planning handles."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from jepa_ros.bundle.manifest import StateTensor
from jepa_ros.bundle.token_mask import TokenMask, chosen_tokens, tensor_axes
from jepa_ros.types import Float32


class StateLayout:
    """Places of the state's tensors in `[D]`, in the manifest's order.

    Args:
        state: the manifest's.

    Attributes:
        size: D.
        taken: tensors that are encoded and that the predictor takes; all: outcomes too.
        latent: the first latent tensor: what heads judge.
        seen: columns to which what is seen says something: those of the latent tensors.
    """

    def __init__(self, state: Sequence[StateTensor]) -> None:
        self.all = tuple(state)
        self.taken = tuple(tensor for tensor in state if tensor.role != "outcome")
        self.latent = next(tensor for tensor in state if tensor.role == "latent")
        self._tensors = {tensor.name: tensor for tensor in state}
        self._places: dict[str, slice] = {}
        begin = 0
        for tensor in state:
            self._places[tensor.name] = slice(begin, begin + math.prod(tensor.shape))
            begin += math.prod(tensor.shape)
        self.size = begin
        self.seen = [self._places[tensor.name] for tensor in state if tensor.role == "latent"]

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def tensor(self, name: str) -> StateTensor:
        """The tensor of that name."""
        return self._tensors[name]

    def place(self, name: str) -> slice:
        """Columns of a tensor in `[D]`."""
        return self._places[name]

    def part(self, latents: Float32, name: str) -> Float32:
        """One tensor of latents `[…, D]`, flat: `[…, size]`, a view."""
        return latents[..., self._places[name]]

    def columns(self, name: str, tokens: TokenMask | None) -> slice | NDArray[np.intp]:
        """Columns in `[D]` of these tokens of a tensor; of None all, as a slice.

        Raises:
            ValueError: tokens that the tensor does not have.
        """
        place, tensor = self._places[name], self._tensors[name]
        if tokens is None:
            return place
        shape, axis = tensor_axes(tensor)
        columns = np.arange(place.start, place.stop).reshape(shape)
        return columns.take(chosen_tokens(tokens, tensor), axis=axis).reshape(-1)
