"""What joint_command hears of the body: messages in, by name and with their age, to the controller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jepa_ros_msgs.msg import FootContacts, MotorTemperatures
from rclpy.node import Node
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Bool

from jepa_ros.control import JointController
from jepa_ros.errors import RobotError
from jepa_ros.messages import JointOrder, NamedOrder, StampWatch, imu_from
from jepa_ros.robots import RobotModel
from jepa_ros_nodes import qos
from jepa_ros_nodes.polling import PolledSubscriptions


class BodyInputs:
    """Subscribes to `joint_states`, `imu`, `foot_contacts`, `motor_temperatures` and `deadman`.

    Args:
        node: who listens.
        inputs: where the subscriptions are added; whoever polls them runs the callbacks.
        robot: whose joints and feet; without feet in its file, foot contacts are not listened to.
        clocks: give monotonic s, and s of the clock of stamps.
    """

    def __init__(
        self,
        node: Node,
        inputs: PolledSubscriptions,
        robot: RobotModel,
        clocks: tuple[Callable[[], float], Callable[[], float]],
    ) -> None:
        self._node, self._robot = node, robot
        self._now, self._clock = clocks
        inputs.add(JointState, "joint_states", self._on_joints, qos.SENSOR)
        inputs.add(Imu, "imu", self._on_imu, qos.SENSOR)
        inputs.add(MotorTemperatures, "motor_temperatures", self._on_temperatures, qos.SENSOR)
        inputs.add(Bool, "deadman", self._on_deadman, qos.SENSOR)
        if robot.feet:
            inputs.add(FootContacts, "foot_contacts", self._on_feet, qos.SENSOR)

    def give_to(self, controller: JointController) -> None:
        """Whom measurements go to from now on; nothing is remembered of those before."""
        self._controller = controller
        self._order = JointOrder(self._robot)
        self._feet = NamedOrder("foot_contacts", self._robot.feet)
        self._motors = NamedOrder("motor_temperatures", self._robot.joint_names)
        self._stamps = {name: StampWatch() for name in ("joint_states", "imu", "foot_contacts", "motor_temperatures")}

    def _age(self, topic: str, message: Any) -> float | None:
        return self._stamps[topic].age(message.header.stamp, self._clock())

    def _refused(self, error: RobotError) -> None:
        self._node.get_logger().error(f"refused: {error}", throttle_duration_sec=2.0)

    def _on_joints(self, message: JointState) -> None:
        try:
            age = self._age("joint_states", message)
            if age is not None:
                self._controller.on_joint_state(self._now(), self._order.joint_state(message), age)
        except RobotError as error:
            self._controller.lose_joint_state()
            self._node.get_logger().error(f"joint_states refused: {error}", throttle_duration_sec=2.0)

    def _on_imu(self, message: Imu) -> None:
        age = self._age("imu", message)
        if age is not None:
            try:
                imu = imu_from(message)
            except RobotError as error:
                self._refused(error)
                return
            self._controller.on_imu(self._now(), imu, age)

    def _on_feet(self, message: FootContacts) -> None:
        age = self._age("foot_contacts", message)
        if age is not None:
            try:
                forces = self._feet.pick(message.name, message.force)
            except RobotError as error:
                self._refused(error)
                return
            self._controller.on_foot_contacts(self._now(), forces, age)

    def _on_temperatures(self, message: MotorTemperatures) -> None:
        age = self._age("motor_temperatures", message)
        if age is not None:
            try:
                celsius = self._motors.pick(message.name, message.temperature)
            except RobotError as error:
                self._refused(error)
                return
            self._controller.on_temperatures(self._now(), celsius, age)

    def _on_deadman(self, message: Bool) -> None:
        self._controller.safety.on_deadman(self._now(), message.data)
