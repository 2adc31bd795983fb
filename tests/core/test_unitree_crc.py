"""The CRC against the vendor's numbers and against its own definition, bit by bit."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_ros.unitree.crc import crc32_words
from jepa_ros.unitree.low_command import IGNORE_POSITION, IGNORE_VELOCITY, LOW_COMMAND


def bitwise(data):
    """The definition, as unitree_sdk2 has it: slow and plain."""
    crc = 0xFFFFFFFF
    for word in np.frombuffer(data, "<u4").tolist():
        for bit in range(31, -1, -1):
            top = crc >> 31
            crc = (crc << 1) & 0xFFFFFFFF
            if top ^ ((word >> bit) & 1):
                crc ^= 0x04C11DB7
    return crc


@given(st.binary(max_size=64))
def test_it_is_the_vendors_crc(data):
    data = data[: len(data) // 4 * 4]
    assert crc32_words(data) == bitwise(data)


@pytest.mark.parametrize(
    ("q", "dq", "kd", "expected"),
    [(IGNORE_POSITION, IGNORE_VELOCITY, 0.0, 0x06E577CD), (0.0, 0.0, 3.0, 0x694D5F1F)],
)
def test_low_commands_of_the_vendor(q, dq, kd, expected):
    command = np.zeros((), LOW_COMMAND)
    command["head"], command["level_flag"] = (0xFE, 0xEF), 0xFF
    command["motor"]["mode"] = 1
    command["motor"]["q"], command["motor"]["dq"], command["motor"]["kd"] = q, dq, kd
    assert crc32_words(command.tobytes()[:-4]) == expected


def test_it_takes_a_small_part_of_the_2_ms_between_two_commands():
    data = np.zeros((), LOW_COMMAND).tobytes()[:-4]
    took = []
    for _ in range(200):
        began = time.perf_counter()
        crc32_words(data)
        took.append(time.perf_counter() - began)
    print(f"\nCRC of a LowCmd: median {np.median(took) * 1e3:.4f} ms")  # noqa: T201
    assert np.median(took) < 0.3e-3
