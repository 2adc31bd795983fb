"""Asks a ros2_control controller for its joints: a message without names is only right if both have the same order."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import GetParameters
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future

_PATIENCE_S = 3.0


class ControllerJoints:
    """Compares the controller's parameter `joints` with the order that the robot's file gives, in the node's executor.

    A controller that does not answer within 3 s has no such parameter (or no parameter service): that is warned of, and
    the file is believed.

    Args:
        node: who asks.
        controller: its name, a node's.
        order: of the file.
    """

    def __init__(self, node: Node, controller: str, order: Sequence[str]) -> None:
        self._node, self._controller, self._order = node, controller, list(order)
        group = ReentrantCallbackGroup()
        self._client = node.create_client(GetParameters, f"{controller}/get_parameters", callback_group=group)
        self._since = time.monotonic()
        self._asked: Future | None = None
        self._problem: str | None = f"{controller} has not told its joints yet: is the controller loaded and active?"
        self._timer = node.create_timer(0.2, self._ask, callback_group=group)

    def problem(self) -> str | None:
        """Why commands would reach the wrong joints, in a sentence; None if they would not."""
        return self._problem

    def _ask(self) -> None:
        if self._asked is None and self._client.service_is_ready():
            self._asked = self._client.call_async(GetParameters.Request(names=["joints"]))
        if self._asked is not None and self._asked.done():
            values = self._asked.result().values
            named = bool(values) and values[0].type == ParameterType.PARAMETER_STRING_ARRAY
            self._settle(list(values[0].string_array_value) if named else None)
        elif time.monotonic() - self._since > _PATIENCE_S:
            self._settle(None)

    def _settle(self, theirs: list[str] | None) -> None:
        self._timer.cancel()
        if theirs is None:
            self._problem = None
            self._node.get_logger().warning(
                f"{self._controller} has no parameter `joints`: the order of output.joints in the robot's file is used "
                "unchecked"
            )
        elif theirs == self._order:
            self._problem = None
        else:
            self._problem = (
                f"{self._controller} has the joints [{', '.join(theirs)}], the robot's file gives output.joints "
                f"[{', '.join(self._order)}]: make them alike, commands would reach the wrong joints"
            )

    def close(self) -> None:
        """Ask no more."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_client(self._client)
