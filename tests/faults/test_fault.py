"""From when on a fault can be told, by what was heard."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: run `make setup`")

from builtin_interfaces.msg import Time
from jepa_ros_msgs.msg import JointCommand
from sensor_msgs.msg import JointState

from .fault import frozen, second_commander, stale
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


def test_a_second_commander_is_told_by_its_own_first_command():
    recording = Recording()
    recording.injected, recording.closed = 10.0, 13.0
    names = ("stranger", "", "command_watchdog", "stranger")
    rows = [(9.99 + 0.01 * i, JointCommand()) for i in range(len(names))]
    for (_, message), name in zip(rows, names, strict=True):
        message.header.frame_id = name
    recording.topics["joint_commands"] = rows
    assert second_commander(recording) == pytest.approx(10.02)
    del rows[-1]
    assert second_commander(recording) == recording.closed
