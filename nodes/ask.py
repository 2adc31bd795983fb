"""An operator's word to the running robot, where `ros2 service call` is not at hand.

`python -m jepa_ros_nodes.ask stand` (walk, stop, sit, damp, recover). Exit code 0: accepted; 1: refused, or nobody
there.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import rclpy
import typer
from rclpy.node import Node
from rich.console import Console
from std_srvs.srv import Trigger


class Request(str, Enum):
    """What joint_command can be asked for."""

    STAND = "stand"
    WALK = "walk"
    STOP = "stop"
    SIT = "sit"
    DAMP = "damp"
    RECOVER = "recover"


def main(
    what: Annotated[Request, typer.Argument(help="after damping: recover, stand, walk")],
    namespace: Annotated[str, typer.Option(help="namespace of the nodes")] = "",
    wait: Annotated[float, typer.Option(min=0.1, help="seconds to wait for joint_command")] = 5.0,
) -> None:
    """Ask joint_command to stand, walk, stop, sit, damp or recover, and print its answer."""
    console = Console()
    rclpy.init()
    node = Node("ask", namespace=namespace)
    client = node.create_client(Trigger, f"joint_command/{what.value}")
    answer = None
    if client.wait_for_service(wait):
        future = client.call_async(Trigger.Request())
        rclpy.spin_until_future_complete(node, future, timeout_sec=wait)
        answer = future.result() if future.done() else None
    rclpy.try_shutdown()
    if answer is None:
        console.print(
            f"[red]ask: no answer from {client.srv_name}: is the launch running, in this ROS_DOMAIN_ID?[/red]"
        )
        raise typer.Exit(1)
    colour = "green" if answer.success else "red"
    console.print(f"[{colour}]{answer.message}[/{colour}]")
    raise typer.Exit(0 if answer.success else 1)


if __name__ == "__main__":
    typer.run(main)
