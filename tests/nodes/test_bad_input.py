"""Bad input: one clear sentence each, and nothing leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jepa_ros_msgs.action import ReachGoal
from jepa_ros_msgs.msg import ActionChunk, JointCommand, SafetyStatus
from rclpy.action import ActionClient
from sensor_msgs.msg import CameraInfo, Image, Imu, JointState
from std_srvs.srv import Trigger

from jepa_ros.robots import load_robot
from jepa_ros_nodes import qos
from jepa_ros_nodes.conversions import image_to_message

from .conftest import Rig

pytestmark = pytest.mark.dds
VIEW = np.full((32, 32, 3), 90, np.uint8)


class Camera:
    """A camera of the test's own, publishing whatever it is told at 10 Hz."""

    def __init__(self, rig: Rig) -> None:
        self.message: Image = image_to_message(VIEW)
        self.info: CameraInfo | None = None
        self.is_stamped = True
        self._node = rig.probe
        self._images = rig.probe.create_publisher(Image, "camera/image_raw", qos.STATE)
        self._infos = rig.probe.create_publisher(CameraInfo, "camera/camera_info", qos.STATE)
        rig.probe.create_timer(0.1, self._publish)

    def _publish(self) -> None:
        if self.is_stamped:
            self.message.header.stamp = self._node.get_clock().now().to_msg()
        if self.info is not None:
            self._infos.publish(self.info)
        self._images.publish(self.message)


def drive(rig: Rig, goal: ReachGoal.Goal) -> Any:
    """Send a goal and wait for its result."""
    client = ActionClient(rig.probe, ReachGoal, "reach_goal")
    handle = rig.goal(client, goal)
    assert handle.accepted
    return rig.result(handle.get_result_async(), "the result").result


def toward_view() -> ReachGoal.Goal:
    other = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return ReachGoal.Goal(kind=ReachGoal.Goal.IMAGE, image=image_to_message(other), tolerance=-1.0, time_limit=5.0)


def deep(message: Image) -> None:
    message.encoding = "16UC1"


def short(message: Image) -> None:
    message.height *= 2


@pytest.mark.parametrize(("spoil", "sentence"), [(deep, "encoding 16UC1"), (short, "image data is 3072 bytes")])
def test_a_camera_that_cannot_be_read(rig: Rig, tiny_bundle: Path, spoil: Any, sentence: str) -> None:
    plans, camera = rig.listen(ActionChunk, "plan", qos.COMMAND), Camera(rig)
    spoil(camera.message)
    rig.start("world_model", bundle=tiny_bundle)
    result = drive(rig, toward_view())
    assert not result.reached
    assert sentence in result.reason
    assert sentence in rig.log("world_model")
    rig.wait("the end of the goal", lambda: plans)
    assert [message.steps for _, message in plans] == [0]


def test_an_image_of_another_size_than_camera_info_says(rig: Rig, tiny_bundle: Path) -> None:
    plans, camera = rig.listen(ActionChunk, "plan", qos.COMMAND), Camera(rig)
    camera.info = CameraInfo(width=64, height=48)
    rig.start("world_model", bundle=tiny_bundle)
    rig.spin(2.0)
    result = drive(rig, toward_view())
    assert "camera_info says 64×48" in result.reason
    rig.wait("the end of the goal", lambda: plans)
    assert [message.steps for _, message in plans] == [0]


def test_images_without_a_stamp(rig: Rig, tiny_bundle: Path) -> None:
    """A goal waited for a frame for ever, and nothing said why."""
    Camera(rig).is_stamped = False
    rig.start("world_model", bundle=tiny_bundle)
    result = drive(rig, toward_view())
    assert "header.stamp is empty; have the camera's driver set it" in result.reason


def test_a_goal_ends_with_joint_command(rig: Rig, tiny_bundle: Path) -> None:
    """One that came back went on with it as soon as an operator permitted walking."""
    Camera(rig)
    statuses = rig.probe.create_publisher(SafetyStatus, "safety_status", qos.COMMAND)
    speaks = [True]
    rig.probe.create_timer(0.1, lambda: statuses.publish(SafetyStatus(state="walk")) if speaks[0] else None)
    plans = rig.listen(ActionChunk, "plan", qos.COMMAND)
    rig.start("world_model", bundle=tiny_bundle)
    goal = toward_view()
    goal.time_limit = 0.0
    handle = rig.goal(ActionClient(rig.probe, ReachGoal, "reach_goal"), goal)
    result = handle.get_result_async()
    rig.wait("plans", lambda: sum(message.steps > 0 for _, message in plans) > 3)
    rig.spin(2.0)
    assert not result.done()
    speaks[0] = False
    assert rig.result(result, "the end", 10.0).result.reason.startswith("joint_command has said nothing for 1 s")


def test_a_goal_does_not_end_where_nobody_commands(rig: Rig, tiny_bundle: Path) -> None:
    Camera(rig)
    rig.start("world_model", bundle=tiny_bundle)
    goal = toward_view()
    goal.time_limit = 3.0
    assert "time limit of 3 s" in drive(rig, goal).reason


def test_a_goal_that_does_not_exist(rig: Rig, tiny_bundle: Path) -> None:
    plans = rig.listen(ActionChunk, "plan", qos.COMMAND)
    Camera(rig)
    rig.start("world_model", bundle=tiny_bundle)
    result = drive(rig, ReachGoal.Goal(kind=ReachGoal.Goal.NAME, name="kitchen"))
    assert result.reason == "bundle tiny: no goal is named 'kitchen'; there are: none"
    assert plans == []


def test_a_bundle_with_one_byte_changed(rig: Rig, tiny_bundle: Path) -> None:
    graph = tiny_bundle / "predictor.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    process = rig.start("world_model", bundle=tiny_bundle)
    rig.wait("world_model to refuse", lambda: process.poll() is not None)
    assert process.returncode == 1
    lines = [line for line in rig.log("world_model").splitlines() if "predictor.onnx" in line]
    assert len(lines) == 1
    assert "sha256" in lines[0]


def test_joint_states_that_lack_a_joint(rig: Rig) -> None:
    commands = rig.listen(JointCommand, "joint_commands", qos.COMMAND)
    robot = load_robot("go2")
    names, stance = list(robot.joint_names[:-1]), robot.stance("sit").tolist()[:-1]
    joints = rig.probe.create_publisher(JointState, "joint_states", qos.STATE)
    imu = rig.probe.create_publisher(Imu, "imu", qos.STATE)
    level = Imu()
    level.orientation.w = 1.0

    def publish() -> None:
        joints.publish(JointState(name=names, position=stance))
        imu.publish(level)

    rig.probe.create_timer(0.02, publish)
    rig.start("joint_command", auto_stand=True, auto_walk=True)
    stand = rig.probe.create_client(Trigger, "joint_command/stand")
    rig.ready(stand, "~/stand")
    rig.spin(1.0)
    answer = rig.result(stand.call_async(Trigger.Request()), "an answer")
    assert not answer.success
    rig.spin(0.5)
    assert "joint_states refused: robot go2_sim: joint RR_calf_joint is missing" in rig.log("joint_command")
    assert not commands


def test_arrival_cancel_and_replacement(rig: Rig, tiny_bundle: Path) -> None:
    Camera(rig)
    plans = rig.listen(ActionChunk, "plan", qos.COMMAND)
    rig.start("world_model", bundle=tiny_bundle)
    client = ActionClient(rig.probe, ReachGoal, "reach_goal")
    first = rig.goal(client, toward_view())
    rig.wait("plans", lambda: len(plans) >= 3)
    bounds = np.array([[-0.4, -0.3, -0.9], [0.6, 0.3, 0.9]])
    values = np.asarray(plans[-1][1].values).reshape(-1, 3)
    assert np.isfinite(values).all()
    assert (values >= bounds[0]).all()
    assert (values <= bounds[1]).all()
    feedback: list[Any] = []
    second = rig.goal(client, toward_view(), feedback_callback=feedback.append)
    replaced = rig.result(first.get_result_async(), "the first result").result
    assert replaced.reason == "replaced by a new goal"
    rig.wait(
        "feedback", lambda: any(np.isfinite(m.feedback.energy) and m.feedback.remaining_time > 0 for m in feedback)
    )
    rig.result(second.cancel_goal_async(), "the cancel")
    assert rig.result(second.get_result_async(), "the second result").result.reason == "cancelled"
    here = ReachGoal.Goal(kind=ReachGoal.Goal.IMAGE, image=image_to_message(VIEW), time_limit=10.0)
    third = rig.goal(client, here)
    arrived = rig.result(third.get_result_async(), "the third result").result
    assert arrived.reached
    assert "arrived" in arrived.reason
    assert arrived.elapsed < 5.0
