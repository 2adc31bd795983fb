"""`robot_description`: the robot's URDF, and its frames on tf, where robot_state_publisher is not installed.

In: `joint_states`. Out: `robot_description` (latched), `/tf_static` (latched) and `/tf`, at most 30 times a second.
"""

from __future__ import annotations

from collections.abc import Iterable

from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from jepa_ros.messages import StampWatch
from jepa_ros.robots import load_robot
from jepa_ros.robots.description import Frame, frames, urdf_text
from jepa_ros_nodes import qos
from jepa_ros_nodes.params import declare
from jepa_ros_nodes.polling import PolledSubscriptions
from jepa_ros_nodes.running_node import run
from jepa_ros_nodes.ticking import Ticker


class RobotDescriptionNode(Node):
    """Forward kinematics a joint at a time: each transform is of a link in its parent."""

    def __init__(self) -> None:
        super().__init__("robot_description")
        robot = load_robot(declare(self, "robot", "go2_sim", "name of a shipped robot, or path of a robot YAML"))
        rate = declare(self, "rate", 30.0, "rate of /tf in Hz", low=1.0, high=200.0)
        urdf = urdf_text(robot)
        tree = frames(urdf)
        self._moving = [frame for frame in tree if frame.moves != "fixed"]
        self._joints: JointState | None = None
        self._stamps = StampWatch()
        self._description = self.create_publisher(String, "robot_description", qos.LATCHED)
        self._static = self.create_publisher(TFMessage, "/tf_static", qos.LATCHED)
        self._publish = self.create_publisher(TFMessage, "/tf", qos.TRANSFORMS).publish
        self._description.publish(String(data=urdf))
        fixed = [(frame, 0.0) for frame in tree if frame.moves == "fixed"]
        self._static.publish(message(self.get_clock().now().to_msg(), fixed))
        self._inputs = PolledSubscriptions(self)
        self._inputs.add(JointState, "joint_states", self._on_joints, qos.SENSOR)
        self._ticker = Ticker(rate, self._tick, "tf")
        self._ticker.start()

    def _on_joints(self, joints: JointState) -> None:
        # The same stamp again says nothing new: tf warns of a transform that is there already.
        if self._stamps.age(joints.header.stamp, 0.0) is not None:
            self._joints = joints

    def _tick(self, _now: float) -> None:
        self._inputs.poll()
        joints, self._joints = self._joints, None
        if joints is None or len(joints.position) != len(joints.name):
            return
        values = dict(zip(joints.name, joints.position, strict=True))
        known = [(frame, values[frame.joint]) for frame in self._moving if frame.joint in values]
        self._publish(message(joints.header.stamp, known))

    def close(self) -> None:
        """Publish no more."""
        self._ticker.stop()


def message(at: Time, placed: Iterable[tuple[Frame, float]]) -> TFMessage:
    """Frames at joint values (rad or m) as transforms."""
    transforms = []
    for frame, value in placed:
        xyz, rotation = frame.at(value)
        made = TransformStamped(child_frame_id=frame.child)
        made.header.stamp, made.header.frame_id = at, frame.parent
        where, turn = made.transform.translation, made.transform.rotation
        where.x, where.y, where.z = xyz.tolist()
        turn.x, turn.y, turn.z, turn.w = rotation.tolist()
        transforms.append(made)
    return TFMessage(transforms=transforms)


def main() -> None:
    """Entry point."""
    run(RobotDescriptionNode)


if __name__ == "__main__":
    main()
