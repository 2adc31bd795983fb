"""Publishers of outputs: the same call for a node with a lifecycle, which counts what it sends, and for one without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile

from jepa_ros_nodes.managed_node import ManagedNode


def publisher(node: Node, kind: Any, topic: str, profile: QoSProfile, **rest: Any) -> Callable[[Any], None]:
    """`publish` of a new publisher, which ends with the node, or at the clean-up of one with a lifecycle."""
    if isinstance(node, ManagedNode):
        return node.publisher(kind, topic, profile, **rest)
    made: Callable[[Any], None] = node.create_publisher(kind, topic, profile, **rest).publish
    return made
