"""From when on a fault can be told, by what was heard."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: run `make setup`")

from builtin_interfaces.msg import Time
from sensor_msgs.msg import JointState

from .fault import frozen, stale
from .recording import Recording

PERIOD_S = 0.008


def states(*rows):
    """Rows of joint states: when each came, and its stamp in ms."""
    found = []
    for at, stamp in rows:
        message = JointState()
        message.header.stamp = Time(nanosec=stamp * 1_000_000)
        found.append((at, message))
    return found


def test_a_stream_that_repeats_itself_was_last_good_when_it_was_new():
    recording = Recording()
    recording.injected = 10.004
    recording.topics["joint_states"] = states(
        (9.992, 92), (10.0, 100), (10.008, 108), (10.016, 108), (10.024, 108), (10.5, 600)
    )
    assert frozen("joint_states", PERIOD_S)(recording) == pytest.approx(10.008 + 0.024)
    assert stale("joint_states", PERIOD_S)(recording) == pytest.approx(10.0 + 0.024)
