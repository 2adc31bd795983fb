"""Asks a ros2_control controller for its joints: a message without names is only right if both have the same order."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future

_ANSWER_S = 2.0  # an answer that takes longer is lost


class ControllerJoints:
    """Compares the controller's parameter `joints` with the order that the robot's file gives, in the node's executor.

    Until the controller has answered, and once it is gone, there is a problem: it may have any order. It is asked again
    when an answer is lost, and when it comes back. The file is believed on an answer without such a parameter alone.

    Args:
        node: who asks.
        controller: its name, a node's.
        order: of the file.
    """

    def __init__(self, node: Node, controller: str, order: Sequence[str]) -> None:
        self._node, self._controller, self._order = node, controller, list(order)
        group = ReentrantCallbackGroup()
        self._client = node.create_client(GetParameters, f"{controller}/get_parameters", callback_group=group)
        self._asked: Future | None = None
        self._asked_at = 0.0
        self._wait()
        self._timer = node.create_timer(0.2, self._look, callback_group=group)

    def problem(self) -> str | None:
        """Why commands could reach the wrong joints, in a sentence; None if they would not."""
        return self._problem

    def _wait(self) -> None:
        """Nothing is known of the controller."""
        self._forget_request()
        self._settled = False
        self._problem: str | None = (
            f"waiting for {self._controller} to tell its joints: is the controller loaded and active? (one without a "
            "parameter service needs output.check_order: false in the robot's file)"
        )

    def _forget_request(self) -> None:
        if self._asked is not None:
            self._client.remove_pending_request(self._asked)
            self._asked = None

    def _look(self) -> None:
        if not self._client.service_is_ready():
            self._wait()
        elif not self._settled:
            self._ask()

    def _ask(self) -> None:
        asked, now = self._asked, time.monotonic()
        if asked is not None and asked.done():
            self._asked = None
            if asked.exception() is None and asked.result() is not None:
                self._settle(asked.result().values)
        elif asked is None or now - self._asked_at > _ANSWER_S:
            self._forget_request()
            self._asked, self._asked_at = self._client.call_async(GetParameters.Request(names=["joints"])), now

    def _settle(self, values: Sequence[ParameterValue]) -> None:
        self._settled = True
        named = bool(values) and values[0].type == ParameterType.PARAMETER_STRING_ARRAY
        theirs = list(values[0].string_array_value) if named else self._order
        self._problem = None
        if not named:
            self._node.get_logger().warning(
                f"{self._controller} has no parameter `joints`: the order of output.joints in the robot's file is used "
                "unchecked"
            )
        elif theirs != self._order:
            self._problem = (
                f"{self._controller} has the joints [{', '.join(theirs)}], the robot's file gives output.joints "
                f"[{', '.join(self._order)}]: make them alike, commands would reach the wrong joints"
            )

    def close(self) -> None:
        """Ask no more."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_client(self._client)
