"""What the relay does to a message is what its name says, and nothing else."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: run `make setup`")

import numpy as np
from builtin_interfaces.msg import Time
from hypothesis import given
from hypothesis import strategies as st
from jepa_ros_msgs.msg import ActionChunk
from sensor_msgs.msg import Image, JointState

from jepa_ros_nodes.conversions import image_to_message

from .alterations import ALTERATIONS, altered, shifted

NAMES = ["a", "b", "c", "d"]


def joints():
    return JointState(name=NAMES, position=[0.0, 1.0, 2.0, 3.0], velocity=[4.0, 5.0, 6.0, 7.0], effort=[8.0] * 4)


def image(value=7):
    return image_to_message(np.full((4, 6, 3), value, np.uint8))


def plan(sec=100):
    chunk = ActionChunk(names=["vx"], steps=2, values=[0.1, 0.2])
    chunk.header.stamp, chunk.observed, chunk.valid_until = Time(sec=sec), Time(sec=sec - 1), Time(sec=sec + 1)
    return chunk


@given(st.integers(0, 2**31 - 100), st.integers(0, 999_999_999), st.floats(-50, 50))
def test_a_shifted_stamp_is_the_stamp_and_the_shift(sec, nanosec, by):
    moved = shifted(Time(sec=sec, nanosec=nanosec), by)
    wanted = max(sec * 10**9 + nanosec + round(by * 1e9), 0)
    assert moved.sec * 10**9 + moved.nanosec == wanted


def test_shuffled_joints_keep_their_values():
    (found,) = altered("shuffle")(joints())
    assert list(found.name) != NAMES
    assert dict(zip(found.name, found.position, strict=True)) == {"a": 0.0, "b": 1.0, "c": 2.0, "d": 3.0}
    assert dict(zip(found.name, found.velocity, strict=True)) == {"a": 4.0, "b": 5.0, "c": 6.0, "d": 7.0}


def test_one_joint_goes_missing_and_one_is_no_number():
    (found,) = altered("one_joint_missing")(joints())
    assert (list(found.name), list(found.position)) == (NAMES[:-1], [0.0, 1.0, 2.0])
    (found,) = altered("one_joint_nan")(joints())
    assert [math.isnan(value) for value in found.position] == [False, False, True, False]


def test_what_repeats_repeats_and_what_swaps_swaps():
    alter = altered("repeat")
    assert [alter(i)[0] for i in range(3)] == [0, 0, 0]
    alter = altered("swap")
    assert [alter(i) for i in range(4)] == [[], [1, 0], [], [3, 2]]
    assert altered("lose")(0) == []


def test_half_is_lost():
    alter = altered("lose_half")
    assert 400 < sum(len(alter(i)) for i in range(1000)) < 600


def test_pictures():
    (black,) = altered("black")(image())
    (white,) = altered("white")(image())
    assert set(black.data) == {0}
    assert set(white.data) == {255}
    (noise,) = altered("noise")(image())
    assert len(noise.data) == 72
    (half,) = altered("half_size")(image())
    assert (half.height, half.width, len(half.data)) == (2, 6, 36)
    (depth,) = altered("depth")(image())
    assert depth.encoding == "16UC1"
    alter = altered("same_picture")
    first, second = alter(image(1))[0], alter(image(2))[0]
    assert isinstance(second, Image)
    assert list(first.data) == list(second.data)


def test_plans_move_in_time_as_a_whole():
    (found,) = altered("plan_-5")(plan())
    assert (found.header.stamp.sec, found.observed.sec, found.valid_until.sec) == (95, 94, 96)
    (found,) = altered("plan_nan")(plan())
    assert all(math.isnan(value) for value in found.values)


def test_every_alteration_can_be_made():
    for name in ALTERATIONS:
        assert callable(altered(name))
