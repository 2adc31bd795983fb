"""Ages by header, and stamps as seconds."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_ros.errors import RobotError
from jepa_ros.messages import StampWatch, clock_seconds, imu_from, seconds


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


@pytest.mark.parametrize(("covariance", "refused"), [(-1.0, True), (0.0, False), (0.01, False)])
def test_a_unit_without_an_orientation_is_refused_though_its_quaternion_looks_level(covariance, refused):
    zero = SimpleNamespace(x=0.0, y=0.0, z=0.0)
    level = SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0)
    message = SimpleNamespace(
        angular_velocity=zero, orientation=level, linear_acceleration=zero, orientation_covariance=[covariance] * 9
    )
    if refused:
        with pytest.raises(RobotError, match="imu has no orientation"):
            imu_from(message)
    else:
        assert imu_from(message).orientation.tolist() == [0.0, 0.0, 0.0, 1.0]
