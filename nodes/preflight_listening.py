"""Listens to a robot for a few seconds, and publishes nothing."""

from __future__ import annotations

import time
from typing import Any

from jepa_ros_msgs.msg import FootContacts
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from sensor_msgs.msg import Imu as ImuMessage

from jepa_ros.errors import ImageError, RobotError
from jepa_ros.messages import JointOrder, horizontal_fov, image_view, imu_from, seconds
from jepa_ros.robots import RobotModel
from jepa_ros_nodes import qos
from jepa_ros_nodes.polling import PolledSubscriptions
from jepa_ros_nodes.preflight_checks import Heard, Stream

_NAP_S = 0.002


class Listener:
    """Subscribes to what the nodes of the robot subscribe to.

    Args:
        node: who listens.
        robot: whose joints are looked for.
        compressed: whether it is the compressed images that the model is to see.
    """

    def __init__(self, node: Node, robot: RobotModel, compressed: bool = False) -> None:
        self._node, self._order = node, JointOrder(robot)
        # a bridge hears one robot: with two in one domain nobody could tell whose joints came
        bridged = any(driver.executable == "go2_bridge" for driver in robot.drivers)
        self._firmwares = [node.resolve_topic_name("lowstate")] if bridged else []
        kind, images = (CompressedImage, "camera/image_raw/compressed") if compressed else (Image, "camera/image_raw")
        self.heard = Heard(*(Stream(node.resolve_topic_name(t)) for t in (images, "joint_states", "imu")))
        self.feet: list[str] | None = None
        self._inputs = PolledSubscriptions(node)
        self._inputs.add(kind, images, self._on_image, qos.SENSOR)
        self._inputs.add(CameraInfo, "camera/camera_info", self._on_info, qos.SENSOR)
        self._inputs.add(JointState, "joint_states", self._on_joints, qos.RECENT)
        self._inputs.add(ImuMessage, "imu", self._on_imu, qos.RECENT)
        self._inputs.add(FootContacts, "foot_contacts", self._on_feet, qos.SENSOR)
        self._executor = SingleThreadedExecutor(context=node.context)  # serves /clock, where there is one
        self._executor.add_node(node)

    def listen(self, seconds_long: float, patience: float) -> Heard:
        """Wait for the first of each for at most `patience` s, then listen for a while, and say what was heard."""
        until = time.monotonic() + patience
        while time.monotonic() < until and not self._has_begun():
            self._look()
        heard = self.heard
        for stream in (heard.images, heard.joints, heard.inertial):
            del stream.came[:-1], stream.ages[:]  # what gathered while others were waited for is no measure
        until = time.monotonic() + seconds_long
        offset = self._offset()
        while time.monotonic() < until:
            self._look()
            before, offset = offset, self._offset()
            heard.clock_steps.append(offset - before)
        streams = (heard.images, heard.joints, heard.inertial)
        topics = [stream.topic for stream in streams] + self._firmwares
        heard.publishers = {topic: self._node.count_publishers(topic) for topic in topics}
        self._inputs.destroy()
        self._executor.shutdown()
        return heard

    def _has_begun(self) -> bool:
        return all(
            stream.came or stream.problem for stream in (self.heard.images, self.heard.joints, self.heard.inertial)
        )

    def _look(self) -> None:
        self._inputs.poll()
        self._executor.spin_once(timeout_sec=_NAP_S)

    def _clock(self) -> float:
        return float(self._node.get_clock().now().nanoseconds * 1e-9)

    def _offset(self) -> float:
        return time.time() - time.monotonic()

    def _note(self, stream: Stream, message: Any) -> None:
        stream.came.append(time.monotonic())
        if message.header.stamp.sec or message.header.stamp.nanosec:
            stream.ages.append(self._clock() - seconds(message.header.stamp))
        stream.problem = ""

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._note(self.heard.images, message)
        try:
            height, width = image_view(message).shape[:2]
        except ImageError as error:
            self.heard.images.problem = str(error)
        else:
            self.heard.size = (width, height)

    def _on_info(self, message: CameraInfo) -> None:
        self.heard.fov_rad = horizontal_fov(message)

    def _on_joints(self, message: JointState) -> None:
        self._note(self.heard.joints, message)
        try:
            self.heard.positions.append(self._order.joint_state(message).position)
        except RobotError as error:
            self.heard.joints.problem = str(error)

    def _on_imu(self, message: ImuMessage) -> None:
        self._note(self.heard.inertial, message)
        try:
            self.heard.imus.append(imu_from(message))
        except RobotError as error:
            self.heard.inertial.problem = str(error)

    def _on_feet(self, message: FootContacts) -> None:
        self.feet = list(message.name)
