"""One message in the two forms that matter: the vendor's C struct, which the CRC is over, and CDR, which DDS carries.

The CRC needs the struct, and the struct is all that is needed: rclpy takes 150 µs to make a LowState's 23 Python
objects, 500 times a second; going from its bytes to the struct takes 10.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from jepa_ros.errors import WireError
from jepa_ros.types import UInt8

_HEADER = b"\x00\x01\x00\x00"  # plain CDR, little-endian


def _primitives(dtype: np.dtype[Any], start: int = 0) -> Iterator[tuple[int, int]]:
    """Offset and size of every number of a struct, in the order of its fields."""
    if dtype.subdtype is not None:
        inner, shape = dtype.subdtype
        for i in range(prod(shape)):
            yield from _primitives(inner, start + i * inner.itemsize)
    elif dtype.names is not None and dtype.fields is not None:
        for name in dtype.names:
            inner, offset = dtype.fields[name][:2]
            yield from _primitives(inner, start + offset)
    else:
        yield start, dtype.itemsize


class Wire:
    """A struct whose size is fixed, and its way to CDR and back.

    CDR aligns every number to its own size, as C does, but knows no padding at the end of a struct: the two differ
    after the first struct that ends in a byte.

    Args:
        dtype: the C struct, made with `align=True`; little-endian.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        where: list[int] = []  # for each byte of CDR that one of the struct, or the zero after it
        for offset, size in _primitives(dtype):
            where += [dtype.itemsize] * (-len(where) % size)
            where += range(offset, offset + size)
        self._where = np.array(where, np.intp)
        self._filled = self._where < dtype.itemsize
        self.size = len(_HEADER) + len(where)
        """Bytes of the message."""

    def new(self) -> tuple[np.ndarray[Any, np.dtype[Any]], UInt8]:
        """A struct of zeros, as a record of shape `()`, and the bytes behind it with one zero more, for `encode`."""
        data = np.zeros(self.dtype.itemsize + 1, np.uint8)
        return data[:-1].view(self.dtype).reshape(()), data

    def encode(self, data: UInt8) -> bytes:
        """The message of a struct's bytes, as `new` gave them."""
        return _HEADER + data[self._where].tobytes()

    def decode(self, message: bytes) -> tuple[np.ndarray[Any, np.dtype[Any]], UInt8]:
        """The struct of a message, with its bytes as in `new`; padding is zero, whatever was sent in it.

        Raises:
            WireError: not a message of this struct.
        """
        # up to three bytes more: some writers fill the last word
        if not self.size <= len(message) <= self.size + 3 or message[:2] != _HEADER[:2]:
            raise WireError(
                f"{len(message)} bytes that begin with {message[:4].hex()} are not the {self.size} expected"
            )
        record, data = self.new()
        body = np.frombuffer(message, np.uint8, self.size - len(_HEADER), len(_HEADER))
        data[self._where[self._filled]] = body[self._filled]
        return record, data
