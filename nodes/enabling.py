"""From lying to ready for a goal, one step after another; the first that is refused ends it.

Free the motors where a gait of the robot's own has them (`go2_bridge/release`), stand up, permit walking.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import rclpy
from jepa_ros_msgs.msg import SafetyStatus
from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from std_srvs.srv import Trigger

from jepa_ros.errors import JepaRosError
from jepa_ros.robots import load_robot
from jepa_ros.safety import State
from jepa_ros_nodes import qos
from jepa_ros_nodes.robot_environment import where

SWITCH_S = 60.0  # a Go2's motors changing hands
_STAND_S = 20.0
_MATCHED_S, _AGAIN_S = 0.5, 1.0
_STATUS = ("safety_status", "shadow/safety_status")  # the other one in a dry run


def call(node: Node, service: str, wait_s: float, answer_s: float | None = None, once: bool = False) -> str:
    """Call a `std_srvs/Trigger` and return what it says.

    A service can be there before it knows of this client: then it does as it is asked, and its answer is lost. What
    brings a robot to rest is asked again; the rest is given a moment first, and asked once: somebody else may have
    stopped the robot meanwhile, and it must not set off again.

    Args:
        node: who calls.
        service: its name.
        wait_s: for it to be there.
        answer_s: for its answer; None for as long again.
        once: whether asking twice may be another thing than asking once.

    Raises:
        JepaRosError: nobody answers, or the answer is no.
    """
    client = node.create_client(Trigger, service)
    try:
        answer = _answer(node, client, Trigger.Request(), wait_s, wait_s if answer_s is None else answer_s, once)
    finally:
        node.destroy_client(client)
    if not answer.success:
        raise JepaRosError(str(answer.message))
    return str(answer.message)


def _answer(
    node: Node, client: rclpy.client.Client, request: object, wait_s: float, answer_s: float, once: bool
) -> object:
    if client.wait_for_service(wait_s):
        if once:
            time.sleep(_MATCHED_S)
        until = time.monotonic() + answer_s
        while (left := until - time.monotonic()) > 0:
            future = client.call_async(request)
            rclpy.spin_until_future_complete(node, future, timeout_sec=left if once else min(left, _AGAIN_S))
            if future.done():
                return future.result()
    raise JepaRosError(f"no answer from {client.srv_name}: is the launch running, with this {where(os.environ)}")


def enable(node: Node, wait_s: float) -> Iterator[str]:
    """Take each step and say what came of it.

    Args:
        node: who asks.
        wait_s: for each service to be there.

    Raises:
        JepaRosError: a step was refused, or did not end in time; later steps are not taken.
    """
    robot, output, dry_run = _settings(node, wait_s)
    kind = load_robot(robot).with_output(output).output.kind
    if kind == "low_command" and not dry_run:
        yield "release: " + call(node, "go2_bridge/release", wait_s, SWITCH_S, once=True)
    elif dry_run:
        yield "dry run: nothing reaches the robot, whose motors stay its own"
    status = _Status(node)
    yield "stand: " + call(node, "joint_command/stand", wait_s, once=True)
    yield "stand: " + status.wait_for(State.STAND.value, _STAND_S)
    yield "walk: " + call(node, "joint_command/walk", wait_s, once=True)


def _settings(node: Node, wait_s: float) -> tuple[str, str, bool]:
    """What joint_command was told: robot, output, and whether it is a dry run."""
    client = node.create_client(GetParameters, "joint_command/get_parameters")
    names = ["robot", "output", "dry_run"]
    answer = _answer(node, client, GetParameters.Request(names=names), wait_s, wait_s, False)
    node.destroy_client(client)
    robot, output, dry_run = answer.values
    return robot.string_value, output.string_value, dry_run.bool_value


class _Status:
    """The newest of joint_command's status."""

    def __init__(self, node: Node) -> None:
        self._node, self._newest = node, SafetyStatus()
        for topic in _STATUS:
            node.create_subscription(SafetyStatus, topic, self._on_status, qos.SENSOR)

    def _on_status(self, message: SafetyStatus) -> None:
        self._newest = message

    def wait_for(self, state: str, seconds: float) -> str:
        """The reason of the state, once it is reached.

        Raises:
            JepaRosError: it was damped, or took too long.
        """
        until = time.monotonic() + seconds
        while self._newest.state != state:
            rclpy.spin_once(self._node, timeout_sec=0.1)
            if self._newest.state == State.DAMP.value:
                raise JepaRosError(f"damped: {self._newest.reason}")
            if time.monotonic() > until:
                raise JepaRosError(f"still {self._newest.state or 'silent'} after {seconds:.0f} s")
        return str(self._newest.reason)
