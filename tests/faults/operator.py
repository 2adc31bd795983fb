"""The operator: services, goals and parameters of the running nodes, called from a node of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from jepa_ros_msgs.action import ReachGoal
from jepa_ros_msgs.srv import PlaceRobot
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from jepa_ros.types import UInt8
from jepa_ros_nodes import qos
from jepa_ros_nodes.conversions import image_to_message

from .processes import ProcessError

_PATIENCE_S, _ONE_TRY_S = 6.0, 1.5


class Operator:
    """Asks and waits; an executor of its own serves its node in a thread.

    Args:
        context: of rclpy.
    """

    def __init__(self, context: rclpy.Context) -> None:
        self._node = Node("fault_operator", context=context, enable_rosout=False, start_parameter_services=False)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self._clients: dict[str, Any] = {}
        self._goals = ActionClient(self._node, ReachGoal, "reach_goal")
        self._signals: dict[str, Any] = {}
        self._held: dict[str, bool] = {}
        self._node.create_timer(0.05, self._repeat)
        self.result: Any = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="operator", daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._stop.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def _repeat(self) -> None:
        for topic, held in list(self._held.items()):
            self._signals[topic].publish(Bool(data=held))

    def hold(self, topic: str, value: bool | None) -> None:
        """Publish a `Bool` at 20 Hz from now on; None falls silent."""
        if topic not in self._signals:
            self._signals[topic] = self._node.create_publisher(Bool, topic, qos.COMMAND)
        if value is None:
            self._held.pop(topic, None)
        else:
            self._held[topic] = value
            self._signals[topic].publish(Bool(data=value))

    def _call(self, kind: Any, name: str, request: Any) -> Any:
        """The answer of a service.

        Raises:
            ProcessError: nobody answers.
        """
        if name not in self._clients:
            self._clients[name] = self._node.create_client(kind, name)
        client = self._clients[name]
        if not client.wait_for_service(_PATIENCE_S):
            raise ProcessError(f"service {name}: nobody offers it")
        return self._insist(lambda: client.call_async(request), name)

    def _insist(self, call: Callable[[], Any], what: str) -> Any:
        """The result of a call. A server that was killed is still known to DDS for a while, and a request that went to
        nobody but it is lost: then it is made again."""
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            done, future = threading.Event(), call()
            future.add_done_callback(lambda _, done=done: done.set())
            if done.wait(_ONE_TRY_S):
                return future.result()
        raise ProcessError(f"{what}: no answer within {_PATIENCE_S:.0f} s")

    def ask(self, request: str) -> tuple[bool, str]:
        """Joint_command's answer to stand, walk, stop, sit, damp or recover."""
        answer = self._call(Trigger, f"joint_command/{request}", Trigger.Request())
        return answer.success, answer.message

    def place(self, x: float, y: float, yaw: float) -> None:
        """Put the dog somewhere."""
        answer = self._call(PlaceRobot, "sim_dog/place", PlaceRobot.Request(x=x, y=y, yaw=yaw))
        if not answer.success:
            raise ProcessError(f"sim_dog/place: {answer.message}")

    def ready_for_goals(self) -> bool:
        """Whether world_model offers its action."""
        return self._goals.server_is_ready()

    def send_goal(self, view: UInt8) -> None:
        """Drive toward a picture for ever; `result` is set once world_model gives it up."""
        self.result = None
        if not self._goals.wait_for_server(timeout_sec=_PATIENCE_S):
            raise ProcessError("reach_goal: nobody offers it")
        goal = ReachGoal.Goal(kind=ReachGoal.Goal.IMAGE, image=image_to_message(np.asarray(view)), tolerance=-1.0)
        handle = self._insist(lambda: self._goals.send_goal_async(goal), "reach_goal")
        if not handle.accepted:
            raise ProcessError("reach_goal: the goal was rejected")
        handle.get_result_async().add_done_callback(self._on_result)

    def _on_result(self, future: Any) -> None:
        self.result = future.result().result

    def set_parameter(self, node: str, name: str, value: float | str) -> bool:
        """Whether a node takes another value for a parameter."""
        kinds: dict[type, Callable[[Any], ParameterValue]] = {
            float: lambda v: ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=v),
            int: lambda v: ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=v),
            str: lambda v: ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=v),
        }
        request = SetParameters.Request(parameters=[Parameter(name=name, value=kinds[type(value)](value))])
        return bool(self._call(SetParameters, f"{node}/set_parameters", request).results[0].successful)

    def parameter(self, node: str, name: str) -> Any:
        """A parameter's value as the node tells it."""
        return self._call(GetParameters, f"{node}/get_parameters", GetParameters.Request(names=[name])).values[0]

    def wait(self, what: str, ready: Callable[[], Any], seconds: float) -> None:
        """Wait until `ready()`.

        Raises:
            ProcessError: it was not in time.
        """
        until = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > until:
                raise ProcessError(f"waited {seconds:.0f} s for {what}")
            time.sleep(0.005)

    def close(self) -> None:
        """Serve no more."""
        self._stop.set()
        self._thread.join(2.0)
        self._executor.shutdown()
        self._node.destroy_node()
