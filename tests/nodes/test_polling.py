"""Subscriptions that a loop reads itself: in its thread, newest or all, and nothing that somebody sends stops it."""

from __future__ import annotations

import threading
import time

import pytest
import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from std_msgs.msg import Float64, String

from jepa_ros_nodes import qos
from jepa_ros_nodes.polling import PolledSubscriptions

from .conftest import Rig

pytestmark = pytest.mark.dds


def publisher(rig: Rig, kind: type, topic: str, profile: QoSProfile = qos.COMMAND):
    """A publisher that has found its one subscriber."""
    made = rig.probe.create_publisher(kind, topic, profile)
    rig.wait(f"a subscriber of {topic}", lambda: made.get_subscription_count() == 1)
    return made


def until(ready, poll) -> None:
    """Poll until `ready()`, for at most 5 s."""
    end = time.monotonic() + 5.0
    while not ready():
        assert time.monotonic() < end, "nothing came"
        poll()
        time.sleep(0.005)


def test_an_executor_never_serves_them(rig: Rig) -> None:
    threads = []
    inputs = PolledSubscriptions(rig.probe)
    inputs.add(Float64, "value", lambda message: threads.append(threading.get_ident()), qos.RECENT)
    sender = publisher(rig, Float64, "value")
    sender.publish(Float64(data=1.0))
    rig.spin(0.3)
    assert threads == []
    inputs.poll()
    assert threads == [threading.get_ident()]


def test_depth_one_gives_the_newest_and_more_gives_all_in_order(rig: Rig) -> None:
    newest, recent = [], []
    inputs = PolledSubscriptions(rig.probe)
    inputs.add(Float64, "newest", lambda message: newest.append(message.data), qos.SENSOR)
    inputs.add(Float64, "recent", lambda message: recent.append(message.data), qos.RECENT)
    first, second = publisher(rig, Float64, "newest"), publisher(rig, Float64, "recent")
    for value in range(5):
        first.publish(Float64(data=float(value)))
        second.publish(Float64(data=float(value)))
        time.sleep(0.02)
    until(lambda: len(recent) == 5, inputs.poll)
    assert newest == [4.0]
    assert recent == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_flood_cannot_hold_the_loop(rig: Rig) -> None:
    count = 0

    def on_value(message: Float64) -> None:
        nonlocal count
        count += 1
        sender.publish(message)  # there is always one more

    inputs = PolledSubscriptions(rig.probe)
    inputs.add(Float64, "flood", on_value, qos.RECENT)
    sender = publisher(rig, Float64, "flood")
    sender.publish(Float64(data=1.0))
    until(lambda: count, inputs.poll)
    inputs.poll()
    assert count <= 2 * qos.RECENT.depth


def test_bytes_that_are_no_such_message_are_refused_and_the_next_is_taken(rig: Rig) -> None:
    heard = []
    inputs = PolledSubscriptions(rig.probe)
    inputs.add(String, "text", lambda message: heard.append(message.data), qos.RECENT)
    sender = publisher(rig, String, "text")
    sender.publish(b"\x00\x01\x00\x00\xff\xff\xff\x7f")  # a string of two billion characters that are not there
    sender.publish(String(data="fine"))
    until(lambda: heard, inputs.poll)
    assert heard == ["fine"]


def test_raw_subscriptions_get_the_bytes_and_when_they_came(rig: Rig) -> None:
    heard = []
    inputs = PolledSubscriptions(rig.probe)
    inputs.add_raw(Float64, "raw", lambda data, received: heard.append((data, received)), qos.RECENT)
    sender = publisher(rig, Float64, "raw")
    before = time.time_ns()
    sender.publish(Float64(data=2.5))
    time.sleep(0.1)
    after = time.time_ns()
    until(lambda: heard, inputs.poll)
    data, received = heard[0]
    assert bytes(data) == bytes(serialize_message(Float64(data=2.5)))
    assert before <= received <= after


@pytest.mark.parametrize("profile", [qos.SENSOR, qos.STATE, qos.LATCHED, qos.RECORD], ids=lambda p: str(p.depth))
def test_they_fit_whatever_a_publisher_offers(rig: Rig, profile: QoSProfile) -> None:
    heard = []
    inputs = PolledSubscriptions(rig.probe)
    inputs.add(Float64, "any", heard.append, qos.SENSOR)
    publisher(rig, Float64, "any", profile).publish(Float64(data=1.0))
    until(lambda: heard, inputs.poll)


@pytest.mark.parametrize(
    "profile",
    [
        QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE),
        QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT, durability=DurabilityPolicy.TRANSIENT_LOCAL),
    ],
    ids=["reliable", "latched"],
)
def test_a_profile_that_might_not_fit_is_refused(rig: Rig, profile: QoSProfile) -> None:
    with pytest.raises(ValueError, match="best effort and volatile"):
        PolledSubscriptions(rig.probe).add(Float64, "demanding", print, profile)
    assert rclpy.ok(context=rig.context)
