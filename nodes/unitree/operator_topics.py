"""The remote's buttons as `stop`, `deadman` and calls of joint_command's services."""

from __future__ import annotations

import math
from typing import Any

from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from jepa_ros.unitree.remote import Operator, read_remote
from jepa_ros_nodes import qos

_DEADMAN_S, _STOP_S = 0.02, 0.1
_STOP_HOLDS_S = 0.5  # a short press is told for so long: a volatile topic repeats nothing


class OperatorTopics:
    """Heard in one thread, which also publishes.

    Args:
        node: who publishes and calls.
        controller: name of the node whose `~/stand`, `~/walk` and `~/damp` are called.
    """

    def __init__(self, node: Node, controller: str) -> None:
        self._node, self._operator = node, Operator()
        self._clients = {name: node.create_client(Trigger, f"{controller}/{name}") for name in Operator.REQUESTS}
        self._publish_deadman = node.create_publisher(Bool, "deadman", qos.STATE).publish
        self._publish_stop = node.create_publisher(Bool, "stop", qos.DIAGNOSTICS).publish
        self._deadman = self._stop = self._pressed = False
        self._deadman_at = self._stop_at = self._stopped_at = -math.inf

    def hear(self, remote: bytes | None) -> None:
        """Take the remote's newest bytes; None when the robot is not heard any more, which releases the deadman."""
        for request in self._operator.update(None if remote is None else read_remote(remote)):
            self._ask(request)
        self._pressed |= self._operator.stop

    def publish(self, now: float) -> None:
        """Send what has changed, and again after a while: at monotonic `now` s."""
        if self._pressed:
            self._stopped_at, self._pressed = now, False
        stop = now - self._stopped_at < _STOP_HOLDS_S
        if stop != self._stop or (stop and now - self._stop_at >= _STOP_S):
            self._stop, self._stop_at = stop, now
            self._publish_stop(Bool(data=stop))
        held = self._operator.deadman
        if held != self._deadman or now - self._deadman_at >= _DEADMAN_S:
            self._deadman, self._deadman_at = held, now
            self._publish_deadman(Bool(data=held))

    def _ask(self, request: str) -> None:
        client = self._clients[request]
        if not client.service_is_ready():
            self._node.get_logger().error(f"remote: {client.srv_name} is not there")
            return
        client.call_async(Trigger.Request()).add_done_callback(lambda answer: self._answered(request, answer))

    def _answered(self, request: str, answer: Any) -> None:
        reply = answer.result()
        if reply is not None and not reply.success:
            self._node.get_logger().warning(f"remote: {request} refused: {reply.message}")
