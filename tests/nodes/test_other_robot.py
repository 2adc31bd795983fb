"""A robot that is nothing but a YAML: eight joints, direct motion, forward commands; real nodes, and a small node that
plays its ros2_control controller."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from jepa_ros_msgs.msg import ActionChunk, JointCommand, SafetyStatus
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

from jepa_ros.robots import RobotModel, load_robot
from jepa_ros_nodes import qos
from jepa_ros_nodes.conversions import stamp

from .conftest import Rig

pytestmark = pytest.mark.dds
CONTROLLER = "beetle_controller"


def beetle(tmp_path: Path) -> Path:
    """The generic robot under other names, its controller's order turned round."""
    source = Path(load_robot("generic").folder) / "generic.yaml"
    text = source.read_text().replace("front_", "antenna_").replace("rear_", "tail_").replace("_knee", "_shin")
    text = text.replace("name: generic", "name: beetle").replace("forward_position_controller", CONTROLLER)
    path = tmp_path / "beetle.yaml"
    path.write_text(text)
    return path


class Controller:
    """Joints that are where they were commanded, and a body that lies level."""

    def __init__(self, rig: Rig, robot: RobotModel, order: list[str]) -> None:
        self.order, self.at = order, dict(zip(robot.joint_names, robot.stance("sit").tolist(), strict=True))
        self.commands: list[list[float]] = []
        self.node = Node(
            CONTROLLER, context=rig.context, parameter_overrides=[Parameter("joints", value=order)],
            automatically_declare_parameters_from_overrides=True,
        )  # fmt: skip
        rig.add_node(self.node)
        self._states = self.node.create_publisher(JointState, "joint_states", qos.STATE)
        self._imu = self.node.create_publisher(Imu, "imu", qos.STATE)
        self.node.create_subscription(Float64MultiArray, f"{CONTROLLER}/commands", self._on_command, qos.RECENT)
        self.node.create_timer(0.01, self._tick)

    def _on_command(self, message: Float64MultiArray) -> None:
        self.commands.append(list(message.data))
        self.at.update(zip(self.order, message.data, strict=True))

    def _tick(self) -> None:
        now = self.node.get_clock().now().to_msg()
        names = sorted(self.at)  # the broadcaster's own order
        joints = JointState(name=names, position=[self.at[name] for name in names], velocity=[0.0] * len(names))
        imu = Imu()
        joints.header.stamp = imu.header.stamp = now
        imu.orientation.w, imu.linear_acceleration.z = 1.0, 9.81
        self._states.publish(joints)
        self._imu.publish(imu)


def ask(rig: Rig, what: str) -> Trigger.Response:
    client = rig.probe.create_client(Trigger, f"joint_command/{what}")
    rig.ready(client, f"the service {what}")
    return rig.result(client.call_async(Trigger.Request()), what)


def test_a_robot_from_a_yaml_carries_out_a_plan_of_joints(rig: Rig, tmp_path: Path):
    path = beetle(tmp_path)
    robot = load_robot(path)
    controller = Controller(rig, robot, list(robot.output.joints))
    statuses = rig.listen(SafetyStatus, "safety_status", qos.STATE)
    commands = rig.listen(JointCommand, "joint_commands", qos.STATE)
    plans = rig.probe.create_publisher(ActionChunk, "plan", qos.COMMAND)
    rig.start("command_watchdog", robot=path)
    rig.start("joint_command", robot=path, action_names=f"[{', '.join(robot.joint_names)}]", control_rate=100.0)
    rig.wait("a status", lambda: statuses)
    assert not controller.commands
    assert rig.wait("to be allowed to stand", lambda: ask(rig, "stand").success)
    rig.wait("the robot to stand", lambda: statuses[-1][1].state == "stand")
    at = dict(controller.at)
    for name, value in zip(robot.joint_names, robot.stance("stand"), strict=True):
        assert at[name] == pytest.approx(value, abs=1e-3)
    assert commands[-1][1].name == list(robot.joint_names)

    goal = robot.stance("stand") + np.where(np.arange(8) % 2, -0.3, 0.2)
    assert ask(rig, "walk").success

    def planned() -> bool:
        now = time.time()
        chunk = ActionChunk(names=list(robot.joint_names), step=0.2, steps=3, goal_id=[7] * 16)
        chunk.header.stamp = chunk.observed = stamp(now)
        chunk.valid_until, chunk.values = stamp(now + 0.6), np.tile(goal, 3).tolist()
        plans.publish(chunk)
        rig.spin(0.1)
        return bool(np.allclose([controller.at[name] for name in robot.joint_names], goal, atol=2e-3))

    rig.wait("the joints to be where the plan said", planned)
    steps = np.diff(np.array(controller.commands), axis=0)
    assert np.abs(steps).max() <= 0.12  # rad a message: no joint jumped
    assert statuses[-1][1].state == "walk"

    rig.wait("the robot to stand again without plans", lambda: statuses[-1][1].state == "stand")
    rig.kill("joint_command")
    before = len(controller.commands)
    rig.wait("the watchdog to hold the joints", lambda: len(controller.commands) > before + 5)
    held = np.array(controller.commands[before + 1 :])
    np.testing.assert_allclose(held, np.broadcast_to(held[0], held.shape), atol=1e-9)


def test_a_controller_with_another_order_is_sent_nothing(rig: Rig, tmp_path: Path):
    path = beetle(tmp_path)
    robot = load_robot(path)
    controller = Controller(rig, robot, sorted(robot.joint_names, reverse=True))
    rig.start("joint_command", robot=path, action_names=f"[{', '.join(robot.joint_names)}]", control_rate=100.0)
    reasons: list[str] = []

    def refused() -> bool:
        answer = ask(rig, "stand")
        assert not answer.success
        reasons.append(answer.message)
        return "make them alike" in answer.message

    rig.wait("the order to be found wrong", refused)
    assert f"{CONTROLLER} has the joints [tail_right_shin" in reasons[-1]
    rig.spin(0.5)
    assert not controller.commands
