"""Subscriptions that a loop reads itself, at its own rate, where an executor would be too slow.

For every message that it hands out, an rclpy executor builds a new wait set in Python with everything the node has,
and holds the interpreter's lock meanwhile; between a message's arrival and its being taken, Fast DDS wakes it again
and again (rclpy issue 1223). In joint_command that was 70 % of a core for 250 messages a second, and every 20th control
tick late. A loop that wakes up anyway takes what came since its last tick for a tenth of that.

These subscriptions must ask for no more than best effort and volatile: that fits whatever a publisher offers, and an
executor, which would warn of what does not fit, never sees them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import rclpy
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

RCLError = rclpy._rclpy_pybind11.RCLError


class _ReadByItsLoop(ReentrantCallbackGroup):
    """Nothing in it is given to an executor, events neither: waiting for them wakes for the messages too."""

    def can_execute(self, entity: Any) -> bool:
        return False


class PolledSubscriptions:
    """Subscriptions of a node whose callbacks are called in the thread that calls `poll`, and nowhere else.

    Args:
        node: whose subscriptions they are.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._group = _ReadByItsLoop()
        self._entries: list[tuple[Subscription, Callable[[Any, int], None], int]] = []
        self.counts: dict[str, int] = {}
        """Messages handed out so far, by whole topic name."""

    def add(self, kind: Any, topic: str, callback: Callable[[Any], None], profile: QoSProfile) -> None:
        """Subscribe; `profile.depth` messages are kept between two polls.

        Raises:
            ValueError: the profile asks for more than best effort and volatile.
        """
        self._add(kind, topic, lambda message, _: callback(message), profile, raw=False)

    def add_raw(self, kind: Any, topic: str, callback: Callable[[bytes, int], None], profile: QoSProfile) -> None:
        """Subscribe to the bytes on the wire; the callback is given these and the time of receipt, ns of system
        time."""
        self._add(kind, topic, callback, profile, raw=True)

    def _add(
        self, kind: Any, topic: str, callback: Callable[[Any, int], None], profile: QoSProfile, *, raw: bool
    ) -> None:
        if profile.reliability != ReliabilityPolicy.BEST_EFFORT or profile.durability != DurabilityPolicy.VOLATILE:
            raise ValueError(f"{topic}: a polled subscription must ask for best effort and volatile only")
        made = self._node.create_subscription(kind, topic, callback, profile, callback_group=self._group, raw=raw)
        self._entries.append((made, callback, max(profile.depth, 1)))
        self.counts[made.topic_name] = 0

    def destroy(self) -> None:
        """Unsubscribe from everything."""
        for subscription, _, _ in self._entries:
            self._node.destroy_subscription(subscription)
        self._entries.clear()

    def poll(self, topics: Collection[str] | None = None) -> None:
        """Hand every message that has come to its callback, topic by topic in the order of subscription.

        At most a queue's depth a topic, so that a flood cannot hold the loop.

        Args:
            topics: whole names to look at; None for all.
        """
        for subscription, callback, depth in self._entries:
            name = subscription.topic_name
            if topics is None or name in topics:
                for message, received in self._take(subscription, depth):
                    self.counts[name] += 1
                    callback(message, received)

    def _take(self, subscription: Subscription, most: int) -> Iterator[tuple[Any, int]]:
        for _ in range(most):
            try:
                with subscription.handle:
                    found = subscription.handle.take_message(subscription.msg_type, subscription.raw)
            except RCLError as error:  # bytes that are not such a message: somebody else's type under this name
                self._node.get_logger().error(
                    f"{subscription.topic_name}: message refused: {error}", throttle_duration_sec=2.0
                )
                continue
            if found is None:
                return
            yield found[0], found[1]["received_timestamp"]
