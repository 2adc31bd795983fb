"""Parameters declared with a description and a range, so that `ros2 param describe` tells what they are."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node


def declare(
    node: Node, name: str, default: Any, description: str, *, low: float | None = None, high: float | None = None
) -> Any:
    """Declare a parameter that is read once, at configuration, and return its value.

    Args:
        node: whose parameter it is.
        name, default: a `False`, number, text or list of text.
        description: with the unit.
        low, high: the range of a number; outside it the declaration raises.
    """
    descriptor = ParameterDescriptor(description=description, read_only=True)
    if low is not None and high is not None:
        if isinstance(default, float):
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)
            ]
        else:
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
    if node.has_parameter(name):
        return node.get_parameter(name).value
    return node.declare_parameter(name, default, descriptor).value
