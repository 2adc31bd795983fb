"""A process between two nodes: passes messages on as they are, or altered once it is told to.

`faults/<topic>` in, `<topic>` out, bytes untouched while no alteration is on. Orders come as lines on standard input,
`<topic> <alteration>` or `<topic> -`; each is answered by `done` on standard output once it holds.
"""

from __future__ import annotations

import sys
import threading
import time
from functools import partial
from typing import Any

import rclpy
from jepa_ros_msgs.msg import ActionChunk, FootContacts
from rclpy.node import Node
from rclpy.serialization import deserialize_message, serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, Imu, JointState

from jepa_ros_nodes import qos
from jepa_ros_nodes.polling import PolledSubscriptions

from .alterations import Alteration, altered

RELAYED: dict[str, Any] = {
    "camera/image_raw": Image,
    "joint_states": JointState,
    "imu": Imu,
    "foot_contacts": FootContacts,
    "plan": ActionChunk,
    "/clock": Clock,
}
_POLL_S = 0.001


def before_relay(topic: str) -> str:
    """The name under which a topic's publisher has to publish, for it to pass the relay."""
    return f"/faults{topic}" if topic.startswith("/") else f"faults/{topic}"


class Relay:
    """Subscriptions, publishers and what is being done to each topic.

    Args:
        node: whose they are.
    """

    def __init__(self, node: Node) -> None:
        self._alterations: dict[str, Alteration] = {}
        self._inputs = PolledSubscriptions(node)
        for topic, kind in RELAYED.items():
            publish = node.create_publisher(kind, topic, qos.STATE).publish
            self._inputs.add_raw(kind, before_relay(topic), partial(self._pass, topic, kind, publish), qos.RECENT)

    def alter(self, topic: str, name: str) -> None:
        """Do this to a topic's messages from now on; `-` nothing.

        Raises:
            KeyError: no such alteration.
        """
        if name == "-":
            self._alterations.pop(topic, None)
        else:
            self._alterations[topic] = altered(name)

    def poll(self) -> None:
        """Pass on what has come."""
        self._inputs.poll()

    def _pass(self, topic: str, kind: Any, publish: Any, data: bytes, _received: int) -> None:
        alter = self._alterations.get(topic)
        if alter is None:
            publish(data)
            return
        for message in alter(deserialize_message(data, kind)):
            publish(serialize_message(message))


def main() -> None:
    """Relay until standard input ends."""
    rclpy.init()
    relay = Relay(Node("fault_relay", enable_rosout=False, start_parameter_services=False))
    over = threading.Event()

    def take_orders() -> None:
        for line in sys.stdin:
            topic, name = line.split()
            relay.alter(topic, name)
            sys.stdout.write("done\n")
            sys.stdout.flush()
        over.set()

    threading.Thread(target=take_orders, daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not over.is_set():
        relay.poll()
        time.sleep(_POLL_S)
    rclpy.shutdown()


if __name__ == "__main__":
    main()
