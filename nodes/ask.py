"""An operator's word to the running robot, where `ros2 service call` is not at hand.

`python -m jepa_ros_nodes.ask stand` (walk, stop, sit, damp, recover), or `enable`, which does all that comes before a
goal: frees the motors where the robot's own gait has them, stands, permits walking. `give_back`, once it sits, lets a
Go2's own gait have the motors again. `--robot go2` goes where the launch
of that robot is: its middleware and domain. Exit code 0: accepted; 1: refused, or nobody there.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import rclpy
import typer
from rclpy.node import Node
from rich.console import Console

from jepa_ros.errors import JepaRosError
from jepa_ros_nodes import security
from jepa_ros_nodes.enabling import SWITCH_S, call, enable
from jepa_ros_nodes.robot_environment import enter


class Request(str, Enum):
    """What joint_command can be asked for."""

    STAND = "stand"
    WALK = "walk"
    STOP = "stop"
    SIT = "sit"
    DAMP = "damp"
    RECOVER = "recover"
    ENABLE = "enable"
    GIVE_BACK = "give_back"


def main(
    what: Annotated[Request, typer.Argument(help="after damping: recover, enable")],
    namespace: Annotated[str, typer.Option(help="namespace of the nodes")] = "",
    robot: Annotated[
        str, typer.Option(help="the launch's robot: where its file says that it is; else as the environment")
    ] = "",
    rmw: Annotated[str, typer.Option(help="another RMW than the robot file's, as the launch's")] = "",
    wait: Annotated[float, typer.Option(min=0.1, help="seconds to wait for joint_command")] = 5.0,
) -> None:
    """Ask joint_command to stand, walk, stop, sit, damp or recover, and print its answer; or enable, step by step, or
    give the motors of a sitting Go2 back to its own gait."""
    console = Console()
    try:
        enter(robot, rmw)
        security.init()
        node = Node("ask", namespace=namespace)
        if what is Request.ENABLE:
            steps = enable(node, wait)
        elif what is Request.GIVE_BACK:
            steps = iter([call(node, "go2_bridge/give_back", wait, SWITCH_S, once=True)])
        else:
            once = what not in (Request.STOP, Request.SIT, Request.DAMP)
            steps = iter([call(node, f"joint_command/{what.value}", wait, once=once)])
        for step in steps:
            console.print(f"[green]{step}[/green]", soft_wrap=True)
    except JepaRosError as error:
        console.print(f"[red]{what.value}: {error}[/red]", soft_wrap=True)
        raise typer.Exit(1) from error
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    typer.run(main)
