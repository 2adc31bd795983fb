"""Unitree's sport service: body velocities for the Go2's own gait, which also runs on units that take no LowCmd."""

from __future__ import annotations

import json
import math

from builtin_interfaces.msg import Time
from rclpy.node import Node
from unitree_api.msg import Request

from jepa_ros.errors import RobotError
from jepa_ros.messages import seconds
from jepa_ros.robots import RobotModel
from jepa_ros.robots.outputs import SportSpec
from jepa_ros.types import Float64, JointCommand
from jepa_ros.unitree.motion_switcher import DAMP, MOVE, STOP_MOVE
from jepa_ros_nodes import qos
from jepa_ros_nodes.outputs.publishing import publisher
from jepa_ros_nodes.outputs.velocities import StopWindow
from jepa_ros_nodes.unitree.requests import request

_AGAIN_S, _STOPS = 0.2, 3  # a stop goes out so often: nobody answers, and one of them may be lost


class SportOutput:
    """Move at the rate of the robot file while a motion runs; StopMove in the tick in which it ends; Damp on purpose.

    Silent while nothing moves, so that the robot's own remote drives it until a goal does. The gait stands by itself: a
    damping for want of a commander stops it for a second, and does not let a standing dog drop.

    Args:
        node: who sends.
        robot: with an output of this kind.

    Raises:
        RobotError: it has another.
    """

    def __init__(self, node: Node, robot: RobotModel) -> None:
        if not isinstance(robot.output, SportSpec):
            raise RobotError(f"robot {robot.name}: its output is {robot.output.kind}, not sport")
        self._period = 1.0 / robot.output.rate_hz
        self._publish = publisher(node, Request, robot.output.command_topic, qos.COMMAND)
        self._last, self._sent, self._stops = 0, -math.inf, 0
        self._stopping = StopWindow()

    def send(self, at: Time, command: JointCommand | None, applied: Float64 | None) -> None:
        """Move by `applied` (vx, vy m/s, wz rad/s), which stops if it is None or not a number."""
        self._stopping.reset()
        values = [] if applied is None else applied.tolist()
        if values and all(map(math.isfinite, values)):
            x, y, z = values
            self._say(seconds(at), MOVE, self._period, json.dumps({"x": x, "y": y, "z": z}))
            self._stops = _STOPS
        elif self._stops and self._say(seconds(at), STOP_MOVE, _AGAIN_S):
            self._stops -= 1

    def damp(self, at: Time, command: JointCommand) -> None:
        """StopMove, for a second."""
        self._stops = 0
        if self._stopping.open(seconds(at)):
            self._say(seconds(at), STOP_MOVE, _AGAIN_S)

    def sink(self, at: Time) -> None:
        """Damp: the dog sinks. Said again for as long as it is asked for."""
        self._stops = 0
        self._say(seconds(at), DAMP, _AGAIN_S)

    def _say(self, now: float, api: int, period: float, parameter: str = "") -> bool:
        """Ask at once for what was not asked for last, and again after a period; whether it was now."""
        if api == self._last and 0.0 <= now - self._sent < period:
            return False
        self._publish(request(api, parameter, answered=False))
        self._last, self._sent = api, now
        return True

    def refusal(self) -> str | None:
        """Nothing is known of who listens; a robot that lies or sits does not walk, and says so by itself."""
        return None

    def close(self) -> None:
        """Nothing is held but the publisher."""
