"""The CRC of Unitree's LowCmd and LowState."""

from __future__ import annotations

import zlib

import numpy as np

from jepa_ros.types import UInt8

_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def crc32_words(data: UInt8 | bytes) -> int:
    """CRC-32/MPEG-2 over little-endian 32-bit words, each taken with its most significant bit first.

    Polynomial 0x04C11DB7, start 0xFFFFFFFF, nothing reflected, nothing added at the end (unitree_sdk2, `crc32_core`).
    The vendor's loop over bits takes 2.5 ms in Python for a LowCmd, longer than the 2 ms between two of them. zlib
    has the same polynomial in C, but takes each byte with its least significant bit first and inverts the end: with
    the bytes of each word turned around (most significant first) and the bits of each byte and of the result mirrored,
    it is the same sum, in 5 µs.

    Args:
        data: bytes, a multiple of four.
    """
    words = np.frombuffer(data, np.uint32).byteswap().tobytes()
    mirrored = zlib.crc32(words.translate(_REVERSED_BITS)) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
