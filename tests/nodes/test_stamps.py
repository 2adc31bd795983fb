"""Ages by header."""

from __future__ import annotations

import pytest
from builtin_interfaces.msg import Time

from jepa_ros_nodes.stamps import StampWatch


def test_ages_and_repetitions():
    watch = StampWatch()
    assert watch.age(Time(sec=10), 10.25) == pytest.approx(0.25)
    assert watch.age(Time(sec=10), 10.5) is None
    assert watch.age(Time(sec=11), 10.5) == pytest.approx(-0.5)


def test_a_driver_without_stamps_counts_as_fresh_each_time():
    watch = StampWatch()
    assert watch.age(Time(), 10.0) == 0.0
    assert watch.age(Time(), 11.0) == 0.0
