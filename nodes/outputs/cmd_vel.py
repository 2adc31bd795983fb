"""`cmd_vel`: body velocities for a robot whose own gait moves the legs."""

from __future__ import annotations

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Twist, TwistStamped
from rclpy.node import Node

from jepa_ros.messages import seconds
from jepa_ros.robots.outputs import CmdVelSpec
from jepa_ros.types import Float64, JointCommand
from jepa_ros_nodes import qos
from jepa_ros_nodes.outputs.publishing import publisher
from jepa_ros_nodes.outputs.velocities import StopWindow


class CmdVelOutput:
    """Velocities at the rate of the robot file; a stop goes out in the tick it comes. Damping is velocity zero for
    a second, then silence.

    Silent while nothing may be sent (passive) too, so that a gamepad may drive until the robot is asked to stand.

    Args:
        node: who sends.
        spec: the robot file's.
    """

    def __init__(self, node: Node, spec: CmdVelSpec) -> None:
        self._period = 1.0 / spec.rate_hz
        self._stamped, self._twist = TwistStamped(), Twist()
        self._stamped.header.frame_id = spec.frame
        self._is_stamped = spec.stamped
        kind = TwistStamped if spec.stamped else Twist
        self._publish = publisher(node, kind, spec.command_topic, qos.COMMAND)
        self._sent, self._moving = float("-inf"), False
        self._stopping = StopWindow()

    def send(self, at: Time, command: JointCommand | None, applied: Float64 | None) -> None:
        """Send `applied` (vx, vy m/s, wz rad/s), zero if None; nothing while nothing may be sent."""
        self._stopping.reset()
        if command is not None:
            self._go(at, (0.0, 0.0, 0.0) if applied is None else tuple(applied.tolist()))

    def damp(self, at: Time, command: JointCommand) -> None:
        """Stop."""
        if self._stopping.open(seconds(at)):
            self._go(at, (0.0, 0.0, 0.0))

    def _go(self, at: Time, values: tuple[float, ...]) -> None:
        moving, now = any(values), seconds(at)
        if not 0.0 <= now - self._sent < self._period or (self._moving and not moving):
            self._send(at, values)
            self._sent, self._moving = now, moving

    def _send(self, at: Time, values: tuple[float, ...]) -> None:
        twist = self._stamped.twist if self._is_stamped else self._twist
        twist.linear.x, twist.linear.y, twist.angular.z = values
        self._stamped.header.stamp = at
        self._publish(self._stamped if self._is_stamped else twist)

    def refusal(self) -> str | None:
        """Nothing is known of who listens."""
        return None

    def close(self) -> None:
        """Nothing is held but the publisher."""
