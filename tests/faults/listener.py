"""Everything that the run is judged by, taken off the wire in a thread of its own.

Times are those at which DDS received the message in this process: they do not depend on when Python came to look.
Bytes are kept and decoded when they are asked for, so that listening costs little while the dog walks.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from jepa_ros_msgs.msg import ActionChunk, AppliedAction, FootContacts, JointCommand, SafetyStatus, SimStatus
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Imu, JointState

from jepa_ros_nodes import qos
from jepa_ros_nodes.polling import PolledSubscriptions

from .recording import TRUE_JOINTS, Recording, Row

TOPICS: dict[str, Any] = {
    "joint_commands": JointCommand,
    "applied_action": AppliedAction,
    "joint_states": JointState,
    TRUE_JOINTS: JointState,
    "imu": Imu,
    "foot_contacts": FootContacts,
    "plan": ActionChunk,
    "safety_status": SafetyStatus,
    "ground_truth/odom": Odometry,
    "ground_truth/status": SimStatus,
    "/diagnostics": DiagnosticArray,
}
_POLL_S = 0.002
_KEPT_S = 20.0
BEFORE_S = 1.0


class _Topic:
    """One topic's bytes with their times, and as much of them decoded as somebody has asked for."""

    def __init__(self, kind: Any) -> None:
        self._kind, self._raw, self._rows = kind, [], []
        self._lock = threading.Lock()

    def put(self, data: bytes, received_ns: int) -> None:
        with self._lock:
            self._raw.append((received_ns * 1e-9, data))

    def rows(self) -> list[Row]:
        with self._lock:
            raw, self._raw = self._raw, []
        for at, data in raw:
            try:
                self._rows.append((at, deserialize_message(data, self._kind)))
            except (rclpy._rclpy_pybind11.RCLError, rclpy._rclpy_pybind11.RMWError):  # a stranger's junk: no message
                continue
        return self._rows

    def forget(self, before: float) -> None:
        self._rows = [row for row in self.rows() if row[0] >= before]


class Listener:
    """Subscribed to every topic of `TOPICS` from its making to `close`.

    Args:
        context: of rclpy.
    """

    def __init__(self, context: rclpy.Context) -> None:
        self._node = Node("fault_listener", context=context, enable_rosout=False, start_parameter_services=False)
        self._inputs = PolledSubscriptions(self._node)
        self._topics = {topic: _Topic(kind) for topic, kind in TOPICS.items()}
        for topic, kind in TOPICS.items():
            self._inputs.add_raw(kind, topic, partial(self._put, topic), qos.RECENT)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._thread.start()

    def _put(self, topic: str, data: bytes, received_ns: int) -> None:
        self._topics[topic].put(data, received_ns)

    def _listen(self) -> None:
        while not self._stop.is_set():
            self._inputs.poll()
            time.sleep(_POLL_S)

    def rows(self, topic: str) -> list[Row]:
        """All that is kept of a topic, oldest first."""
        return self._topics[topic].rows()

    def newest(self, topic: str, within_s: float = 0.6) -> Any:
        """The newest message, or None if none came within so many seconds."""
        rows = self.rows(topic)
        return rows[-1][1] if rows and time.time() - rows[-1][0] <= within_s else None

    def recording(self, injected: float) -> Recording:
        """Copies of what came from `BEFORE_S` before `injected`, system time in s, until now."""
        closed = time.time()
        time.sleep(5 * _POLL_S)  # what came until then has been taken
        begin = injected - BEFORE_S
        rows = {name: [r for r in topic.rows() if begin <= r[0] <= closed] for name, topic in self._topics.items()}
        return Recording(rows, injected, closed)

    def forget(self) -> None:
        """Drop what is too old to matter to the next run."""
        for topic in self._topics.values():
            topic.forget(time.time() - _KEPT_S)

    def close(self) -> None:
        """Stop listening."""
        self._stop.set()
        self._thread.join(2.0)
        self._inputs.destroy()
        self._node.destroy_node()
