"""A LowState as the messages that any robot's driver publishes."""

from __future__ import annotations

import math

from builtin_interfaces.msg import Time
from jepa_ros_msgs.msg import FootContacts, MotorTemperatures
from rclpy.clock import Clock
from rclpy.node import Node
from sensor_msgs.msg import Imu, JointState

from jepa_ros.robots import RobotModel
from jepa_ros.unitree.low_state import LowState
from jepa_ros_nodes import qos
from jepa_ros_nodes.conversions import doubles

_FEET_S, _MOTORS_S = 0.02, 0.5  # feet: their filter looks for 0.3 s without contact; motors warm up slowly


def received_at(received: int, clock: Clock) -> Time:
    """The stamp of a message that came at `received` ns since the epoch, by rmw; by `clock` where rmw does not tell.

    rmw_cyclonedds_cpp gives 0. A stamp of 0 would read as none, and nobody could tell an old state from a new one.
    """
    at = received if received > 0 else clock.now().nanoseconds
    return Time(sec=at // 10**9, nanosec=at % 10**9)


class BodyTopics:
    """Publishes `joint_states` and `imu` for each state, `foot_contacts` and `motor_temperatures` more seldom.

    Args:
        node: who publishes.
        robot: in whose joint order; without feet in its file, their forces are not published.
    """

    def __init__(self, node: Node, robot: RobotModel) -> None:
        self._joints = JointState(name=list(robot.joint_names))
        self._imu = Imu()
        self._imu.header.frame_id = "imu_link"
        self._feet = FootContacts(name=list(robot.feet))
        self._motors = MotorTemperatures(name=list(robot.joint_names))
        self._publish_joints = node.create_publisher(JointState, "joint_states", qos.STATE).publish
        self._publish_imu = node.create_publisher(Imu, "imu", qos.STATE).publish
        self._publish_feet = node.create_publisher(FootContacts, "foot_contacts", qos.STATE).publish
        self._publish_motors = node.create_publisher(MotorTemperatures, "motor_temperatures", qos.STATE).publish
        self._feet_at = self._motors_at = -math.inf

    def publish(self, now: float, stamp: Time, state: LowState) -> None:
        """Send a state that came at `stamp`; `now` is monotonic s."""
        self._joints.header.stamp = self._imu.header.stamp = stamp
        self._joints.position = doubles(state.joints.position)
        self._joints.velocity = doubles(state.joints.velocity)
        self._joints.effort = doubles(state.joints.effort)
        self._publish_joints(self._joints)
        (q, w, a) = (self._imu.orientation, self._imu.angular_velocity, self._imu.linear_acceleration)
        q.x, q.y, q.z, q.w = state.imu.orientation.tolist()
        w.x, w.y, w.z = state.imu.angular_velocity.tolist()
        a.x, a.y, a.z = state.imu.linear_acceleration.tolist()
        self._publish_imu(self._imu)
        if self._feet.name and now - self._feet_at >= _FEET_S:
            self._feet_at = now
            self._feet.header.stamp, self._feet.force = stamp, doubles(state.foot_force)
            self._publish_feet(self._feet)
        if now - self._motors_at >= _MOTORS_S:
            self._motors_at = now
            self._motors.header.stamp, self._motors.temperature = stamp, doubles(state.temperature)
            self._publish_motors(self._motors)
