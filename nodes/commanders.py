"""Who else commands the robot: counts publishers on command topics, outside the control loop."""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Collection
from math import inf

from builtin_interfaces.msg import Time
from jepa_ros_msgs.msg import JointCommand
from rclpy.node import Node

from jepa_ros_nodes.polling import PolledSubscriptions
from jepa_ros_nodes.qos import few
from jepa_ros_nodes.ticking import Ticker

_RATE_HZ = 100.0
_WHOLE_LOOK = 20  # every so many looks; one that only counts publishers takes some 0.01 ms, a whole one 0.1
_HEARD = 30  # newest commands that are looked at
_REMEMBERED = 512
_UNNAMED = "_NODE_NAME_UNKNOWN_"  # by rmw, until the participant has told its nodes
_UNNAMED_S = 3.5  # a name that did not reach somebody is told again every 3 s
_BARE = "_CREATED_BY_BARE_DDS_APP_"  # by rmw: a writer of no ROS node, as the firmware of a Go2 has on its own topics
_OURS = "joint_commands"  # no robot's own software writes here
_HEARD_S = 1.0  # a command that was not ours counts for so long
# CDR of a header: 4 bytes of encapsulation, seconds, nanoseconds, then the length of frame_id with its final zero
_AFTER_ENCAPSULATION, _HEADER = 4, struct.Struct("<iII")
_FRAME = _AFTER_ENCAPSULATION + _HEADER.size


class Commanders:
    """Looks a hundred times a second, in a thread of its own: too much for the control loop, and a timer in the node's
    executor would cost ten times that (`polling`).

    A command on `joint_commands` that is neither ours nor the watchdog's, or cannot be read, is proof by itself. A
    publisher that has said nothing yet counts too, on every topic that robots take commands from, but for these: DDS
    goes on naming those of a killed process for 20 s, so one of this node's own name is only told by what it sends; and
    a publisher is there before its name is, by some milliseconds or, rarely, by seconds, and one that is killed in
    between has none for those 20 s. So one without a name counts once it has had none for 3.5 s, and on
    `joint_commands`, where we hear what it sends, not at all. On other topics the robot's own drivers are partners, and
    a writer of no ROS node is not counted: a robot's firmware has such, and they cannot be told from a program of
    somebody's.

    Args:
        node: whose own publisher is not counted.
        topics: that robots take commands from.
        watchdog: name of the node that may publish beside this one: it only damps.
        drivers: names of the robot's drivers, in the node's namespace.
    """

    def __init__(self, node: Node, topics: Collection[str], watchdog: str, drivers: Collection[str] = ()) -> None:
        self._node, self._topics, self._watchdog = node, sorted(set(topics)), watchdog.encode()
        self._resolved = [node.resolve_topic_name(topic) for topic in self._topics]  # to count does not remap
        self._partners, self._drivers = {node.get_name(), watchdog}, set(drivers)
        self._sent: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)
        self._inputs = PolledSubscriptions(node)
        self._inputs.add_raw(JointCommand, _OURS, self._on_command, few(_HEARD))
        self._heard_at = -inf
        self._looks = 0
        self._counted: list[int] = []
        self._unnamed_since: float | None = None
        self._known: tuple[str, ...] = ()
        self.names: tuple[str, ...] = ()
        """Nodes of the foreign publishers, as last seen; one that commands two topics stands twice."""
        self._ticker: Ticker | None = None

    def start(self) -> None:
        """Look at once, and from now on; what came before is old."""
        self._inputs.poll()
        self._heard_at, self._looks, self._counted, self._unnamed_since = -inf, 0, [], None
        self._look(time.monotonic())
        self._ticker = Ticker(_RATE_HZ, self._look, "commanders")
        self._ticker.start()

    def stop(self) -> None:
        """Look no more: the node may be destroyed."""
        if self._ticker is not None:
            self._ticker.stop()
            self._ticker = None

    @property
    def count(self) -> int:
        """Foreign publishers, on all the topics together."""
        return len(self.names)

    def sent(self, stamp: Time) -> None:
        """A command with this stamp is about to be sent; called by the control thread."""
        self._sent.append((stamp.sec, stamp.nanosec))

    def _on_command(self, data: bytes, _received_ns: int) -> None:
        """Only the header is read: the whole of 500 messages a second would take 2 % of a core."""
        if not self._is_known(data):
            self._heard_at = time.monotonic()

    def _is_known(self, data: bytes) -> bool:
        """Whether the watchdog or this node sent it. The bytes are anybody's."""
        if len(data) < _FRAME:
            return False
        *stamp, length = _HEADER.unpack_from(data, _AFTER_ENCAPSULATION)
        if data[_FRAME : _FRAME + max(length - 1, 0)] == self._watchdog:
            return True
        return tuple(stamp) in self._sent.copy()  # the control thread appends to it meanwhile

    def _look(self, now: float) -> None:
        """Listen and count; look who they are if there are more or fewer than before, or now and then."""
        self._inputs.poll()
        counted = [self._node.count_publishers(topic) for topic in self._resolved]
        self._looks += 1
        if counted != self._counted or self._unnamed_since is not None or self._looks % _WHOLE_LOOK == 0:
            self._counted, self._known = counted, self._strangers(now)
        heard = now - self._heard_at < _HEARD_S and not self._known
        self.names = ("whoever sends joint_commands beside it",) if heard else self._known

    def _strangers(self, now: float) -> tuple[str, ...]:
        """Nodes of the foreign publishers that have a name, or have had none for long."""
        others = [who for topic in self._topics for who in self._publishers(topic) if not self._is_spared(topic, *who)]
        strangers = [f"{space.rstrip('/')}/{name}" for name, space in others if name != _UNNAMED]
        if len(strangers) == len(others):
            self._unnamed_since = None
        elif self._unnamed_since is None:
            self._unnamed_since = now
        elif now - self._unnamed_since > _UNNAMED_S:
            strangers.append("a node without a name")
        return tuple(strangers)

    def _is_spared(self, topic: str, name: str, space: str) -> bool:
        if name == (_UNNAMED if topic == _OURS else _BARE):
            return True
        named = name in self._partners or (topic != _OURS and name in self._drivers)
        return named and space == self._node.get_namespace()

    def _publishers(self, topic: str) -> list[tuple[str, str]]:
        """Name and namespace of every publisher."""
        return [(info.node_name, info.node_namespace) for info in self._node.get_publishers_info_by_topic(topic)]

    def close(self) -> None:
        """Look no more, and listen no more."""
        self.stop()
        self._inputs.destroy()
