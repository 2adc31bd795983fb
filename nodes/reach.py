"""Send the running robot to a goal from the command line, where `ros2 action send_goal` is not at hand.

`python -m jepa_ros_nodes.reach west` (a name in the bundle) or `python -m jepa_ros_nodes.reach view.png`. Exit code 0:
reached; 1: not reached, or refused. Ctrl-C, or a terminal that closes, cancels the goal, and the dog stops.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import cv2
import rclpy
import typer
from action_msgs.srv import CancelGoal
from jepa_ros_msgs.action import ReachGoal
from jepa_ros_msgs.msg import SafetyStatus
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rich.console import Console

from jepa_ros.errors import ImageError, JepaRosError
from jepa_ros_nodes import qos, security
from jepa_ros_nodes.conversions import image_to_message
from jepa_ros_nodes.goal_sending import send_goal
from jepa_ros_nodes.robot_environment import enter, where

_GRACE_S, _CANCEL_S = 5.0, 3.0
_SILENCE_S = 30.0  # feedback comes ten times a second, once the goal is encoded
_DOWN = {"damp": "recover", "passive": "stand", "sit": "stand"}  # cannot walk in it; what to ask for
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp")


def goal_message(goal: str, time_limit: float, tolerance: float) -> ReachGoal.Goal:
    """A goal by name, or by image where `goal` is the path of one: by its ending, or a slash in it.

    Raises:
        ImageError: the file is missing or not an image.
    """
    message = ReachGoal.Goal(kind=ReachGoal.Goal.NAME, name=goal, time_limit=time_limit, tolerance=tolerance)
    if not (os.sep in goal or goal.lower().endswith(_IMAGES)):
        return message
    found = cv2.imread(goal, cv2.IMREAD_COLOR) if Path(goal).is_file() else None
    if found is None:
        raise ImageError(f"goal image {goal}: no such file, or not an image")
    message.kind, message.name, message.image = ReachGoal.Goal.IMAGE, "", image_to_message(found[..., ::-1])
    return message


def _done_within(node: Node, future: Any, seconds: float) -> bool:
    rclpy.spin_until_future_complete(node, future, timeout_sec=seconds)
    return bool(future.done())


def _wait(node: Node, future: Any, seconds: float, what: str) -> Any:
    """The result of a future.

    Raises:
        JepaRosError: none came in time.
    """
    if not _done_within(node, future, seconds):
        raise JepaRosError(f"no answer from {what} within {seconds:.0f} s")
    return future.result()


def _cancel_all(node: Node, name: str) -> None:
    """Have the action server cancel the goal that it has, also one whose acceptance was not heard.

    Its answer is waited for, and not needed.
    """
    client = node.create_client(CancelGoal, f"{name}/_action/cancel_goal")
    if client.wait_for_service(1.0):
        _done_within(node, client.call_async(CancelGoal.Request()), _CANCEL_S)


def drive(node: Node, goal: ReachGoal.Goal, wait_s: float, console: Console) -> ReachGoal.Result:
    """Send the goal and show its progress until it is over.

    Raises:
        JepaRosError: nobody serves reach_goal, the goal was refused, or nothing was heard of it any more.
    """
    client = ActionClient(node, ReachGoal, "reach_goal")
    name = node.resolve_topic_name("reach_goal")
    if not client.wait_for_server(wait_s):
        raise JepaRosError(
            f"nobody serves {name}: is the launch running, in this namespace, and world_model alive, with this "
            f"{where(os.environ)}"
        )
    states: deque[SafetyStatus] = deque(maxlen=1)

    def on_safety(message: SafetyStatus) -> None:
        states.append(message)

    node.create_subscription(SafetyStatus, "safety_status", on_safety, qos.SENSOR)
    with console.status("sent") as status:
        last_word = time.monotonic()

        def on_feedback(message: Any) -> None:
            nonlocal last_word
            heard, last_word = message.feedback, time.monotonic()
            left = "" if heard.remaining_time < 0 else f", {heard.remaining_time:.0f} s left"
            status.update(f"{heard.status}: energy {heard.energy:.2f}, surprise {heard.surprise:.2f}{left}")

        result = None
        try:
            handle = send_goal(
                lambda: client.send_goal_async(goal, feedback_callback=on_feedback), partial(_done_within, node), name
            )
            result = handle.get_result_async()
            until = time.monotonic() + (goal.time_limit + _GRACE_S if goal.time_limit > 0 else math.inf)
            while not result.done():
                rclpy.spin_once(node, timeout_sec=0.1)
                if not client.server_is_ready():
                    raise JepaRosError("world_model is gone (the launch's output says why); the robot stops by itself")
                overdue, silent = time.monotonic() > until, time.monotonic() > last_word + _SILENCE_S
                if overdue or silent:
                    _cancel_all(node, name)
                    did = f"said nothing for {_SILENCE_S:.0f} s" if silent else "not ended the goal in its time"
                    raise JepaRosError(f"world_model has {did}; see the launch's output")
        except KeyboardInterrupt:
            status.update("cancelling")
            _cancel_all(node, name)
            if result is None:
                raise JepaRosError("cancelled before world_model had answered") from None
            _wait(node, result, 5.0, name)
    found = result.result().result
    if not found.reached and states and states[-1].state in _DOWN:
        state = states[-1]
        console.print(
            f"[yellow]the robot is in state {state.state}: {state.reason}; "
            f"`python -m jepa_ros_nodes.ask {_DOWN[state.state]}` brings it on[/yellow]"
        )
    return found


def main(
    goal: Annotated[str, typer.Argument(help="name of a goal in the bundle, or path of an image")],
    time_limit: Annotated[float, typer.Option(min=0.0, help="seconds; 0 for none")] = 30.0,
    tolerance: Annotated[float, typer.Option(help="energy that counts as reached; 0 takes the bundle's")] = 0.0,
    namespace: Annotated[str, typer.Option(help="namespace of the nodes")] = "",
    robot: Annotated[
        str, typer.Option(help="the launch's robot: where its file says that it is; else as the environment")
    ] = "",
    rmw: Annotated[str, typer.Option(help="another RMW than the robot file's, as the launch's")] = "",
    wait: Annotated[float, typer.Option(min=0.0, help="seconds to wait for the robot")] = 10.0,
) -> None:
    """Send the running robot to a goal and say how it went."""
    console, began = Console(), time.monotonic()
    # A terminal that closes must not leave a robot walking.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        message = goal_message(goal, time_limit, tolerance)
        enter(robot, rmw)
        security.init(signal_handler_options=SignalHandlerOptions.NO)
        node = Node("reach", namespace=namespace)
        result = drive(node, message, wait, console)
    except JepaRosError as error:
        console.print(f"[red]reach: {error}[/red]")
        raise typer.Exit(1) from error
    finally:
        rclpy.try_shutdown()
    colour = "green" if result.reached else "red"
    console.print(f"[{colour}]{result.reason}[/{colour}] ({time.monotonic() - began:.1f} s, {result.plans} plans)")
    raise typer.Exit(0 if result.reached else 1)


if __name__ == "__main__":
    typer.run(main)
