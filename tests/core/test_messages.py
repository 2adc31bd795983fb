"""Ages by header, and stamps as seconds."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_ros.messages import StampWatch, clock_seconds, seconds


def at(sec, nanosec=0):
    return SimpleNamespace(sec=sec, nanosec=nanosec)


@given(st.integers(0, 2**31 * 10**9 - 1))
def test_a_count_of_nanoseconds_is_the_same_to_the_bit(count):
    assert clock_seconds(count) == seconds(at(count // 10**9, count % 10**9))


def test_ages_and_repetitions():
    watch = StampWatch()
    assert watch.age(at(10), 10.25) == pytest.approx(0.25)
    assert watch.age(at(10), 10.5) is None
    assert watch.age(at(11), 10.5) == pytest.approx(-0.5)


def test_a_driver_without_stamps_counts_as_fresh_each_time():
    watch = StampWatch()
    assert watch.age(at(0), 10.0) == 0.0
    assert watch.age(at(0), 11.0) == 0.0
