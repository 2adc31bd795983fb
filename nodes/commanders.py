"""Who else commands the robot: counts publishers on command topics, outside the control loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from builtin_interfaces.msg import Time
from jepa_ros_msgs.msg import JointCommand
from rclpy.node import Node

from jepa_ros_nodes.polling import PolledSubscriptions
from jepa_ros_nodes.qos import few

_PERIOD_S = 1.0
_HEARD = 30  # newest commands that are looked at: some 1 ms a second
_REMEMBERED = 512


class Commanders:
    """Asks the graph once a second, in the node's executor (a look takes some 0.1 ms, too much for every tick).

    DDS goes on naming the publishers of a killed process for 20 s. So a second one of this node's own name only counts
    when commands are heard that are not ours; it publishes `joint_commands` whatever its output is.

    Args:
        node: whose own publisher is not counted.
        topics: that robots take commands from.
        watchdog: name of the node that may publish beside this one: it only damps.
    """

    def __init__(self, node: Node, topics: Collection[str], watchdog: str) -> None:
        self._node, self._topics, self._watchdog = node, sorted(set(topics)), watchdog
        self._sent: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)
        self._inputs = PolledSubscriptions(node)
        self._inputs.add(JointCommand, "joint_commands", self._on_command, few(_HEARD))
        self._heard_another = False
        self.names: tuple[str, ...] = ()
        """Nodes of the foreign publishers, as last seen; one that commands two topics stands twice."""
        self._timer = node.create_timer(_PERIOD_S, self._look)

    @property
    def count(self) -> int:
        """Foreign publishers, on all the topics together."""
        return len(self.names)

    def sent(self, stamp: Time) -> None:
        """A command with this stamp is about to be sent; called by the control thread."""
        self._sent.append((stamp.sec, stamp.nanosec))

    def _on_command(self, message: JointCommand) -> None:
        at = message.header.stamp
        ours = self._sent.copy()  # the control thread appends to it meanwhile
        if message.header.frame_id != self._watchdog and (at.sec, at.nanosec) not in ours:
            self._heard_another = True

    def _look(self) -> None:
        self._heard_another = False
        found = self._publishers()
        self._inputs.poll()
        own = (self._node.get_name(), self._node.get_namespace())
        strangers: list[str] = []
        for publishers in found:
            mine = [publisher for publisher in publishers if publisher == own]
            others = [p for p in publishers if p not in (own, (self._watchdog, own[1]))]
            strangers += [f"{space.rstrip('/')}/{name}" for name, space in others]
            if self._heard_another and len(mine) > 1:
                strangers += [f"{own[1].rstrip('/')}/{own[0]} (another one)"] * (len(mine) - 1)
        self.names = tuple(strangers)

    def _publishers(self) -> list[list[tuple[str, str]]]:
        """Name and namespace of every publisher, topic by topic."""
        return [
            [(info.node_name, info.node_namespace) for info in self._node.get_publishers_info_by_topic(topic)]
            for topic in self._topics
        ]

    def close(self) -> None:
        """Look no more."""
        self._node.destroy_timer(self._timer)
        self._inputs.destroy()
