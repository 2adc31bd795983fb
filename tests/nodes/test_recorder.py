"""The recorder as a process: what it heard is in the bag however it ends, and a full disk ends nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from jepa_ros_msgs.msg import Goal
from rclpy.parameter import Parameter
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Header

from jepa_ros_nodes import qos
from jepa_ros_nodes.conversions import image_to_message
from jepa_ros_nodes.launching import launch_command
from jepa_ros_nodes.recorder_node import TOPICS, RecorderNode
from jepa_ros_replay.bags import Bag
from jepa_ros_replay.typestores import known_types

from .conftest import Rig

pytestmark = pytest.mark.dds
ROOT = Path(__file__).resolve().parents[2]
JOINTS = "joint_states:sensor_msgs/msg/JointState"
TWO = [JOINTS, "goal:jepa_ros_msgs/msg/Goal"]


class Publisher:
    """Publishes joint states, each with a number.

    Attributes:
        sent: what was published, from the first message on that the recorder heard.
    """

    def __init__(self, rig: Rig, topic: str = "joint_states") -> None:
        self._rig = rig
        self._topic = rig.probe.resolve_topic_name(topic)
        self._publisher = rig.probe.create_publisher(JointState, topic, qos.STATE)
        self._number = 0
        self.sent: list[bytes] = []

    def wait_until_heard(self, bag: Path) -> None:
        """Send until the first message is in the bag.

        That the publisher knows of the subscription is not enough: until the subscription knows of the publisher too,
        it drops what comes.
        """

        def heard() -> bool:
            self.send()
            self._rig.spin(0.1)
            found = data_of(Bag(bag), self._topic) if any(bag.glob("*.mcap")) else []
            if found:
                del self.sent[: self.sent.index(found[0])]
            return bool(found)

        self._rig.wait("the recorder to hear", heard)

    def send(self, count: int = 1, doubles: int = 12) -> None:
        for _ in range(count):
            values = np.random.default_rng(self._number).standard_normal(doubles)
            message = JointState(name=[f"number {self._number}"], position=values.tolist())
            message.header.stamp = Time(sec=self._number)
            self._number += 1
            self.sent.append(serialize_message(message))
            self._publisher.publish(self.sent[-1])  # these bytes: no two serialisations fill the gaps alike
            self._rig.spin(0.005)


def listeners(rig: Rig) -> list[str]:
    topic = rig.probe.resolve_topic_name("joint_states")
    return [found.node_name for found in rig.probe.get_subscriptions_info_by_topic(topic)]


def data_of(bag: Bag, topic: str = "/joint_states") -> list[bytes]:
    return [message.data for message in bag.messages([topic])]


def goal() -> Goal:
    return Goal(
        header=Header(stamp=Time(sec=5)), goal_id=list(range(16)), kind=Goal.NAME, name="west", tolerance=0.5,
        image=image_to_message(np.arange(27, dtype=np.uint8).reshape(3, 3, 3)), latent=[0.5, -1.0], bundle="default",
    )  # fmt: skip


def test_every_topic_it_records_by_default_has_a_definition() -> None:
    kinds = dict(entry.rsplit(":", 1) for entry in TOPICS)
    assert kinds["goal"] == "jepa_ros_msgs/msg/Goal"
    assert set(kinds.values()) <= set(known_types().fielddefs)
    for name in (
        "camera/image_raw", "camera/camera_info", "joint_states", "imu", "joint_commands", "applied_action", "plan",
        "stage_latency", "safety_status", "ground_truth/odom", "/diagnostics",
    ):  # fmt: skip
        assert name in kinds


def test_sigint_finishes_the_bag(rig: Rig, tmp_path: Path) -> None:
    goals = rig.probe.create_publisher(Goal, "goal", qos.DIAGNOSTICS)
    joints = Publisher(rig)  # after the goals: publishers become known in the order in which they were made
    process = rig.start("recorder", output=tmp_path / "bag", topics=TWO)
    joints.wait_until_heard(tmp_path / "bag")
    rig.wait("the recorder to hear of goals", lambda: goals.get_subscription_count() > 0)
    joints.send(100)
    goals.publish(goal())
    rig.spin(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0, rig.log("recorder")
    bag = Bag(tmp_path / "bag")
    assert bag.topics == {"/joint_states": "sensor_msgs/msg/JointState", "/goal": "jepa_ros_msgs/msg/Goal"}
    assert data_of(bag) == joints.sent
    (message,) = bag.messages(["/goal"])
    found = bag.deserialize(message)
    assert (found.name, found.bundle, found.tolerance) == ("west", "default", 0.5)
    assert found.goal_id.tolist() == list(range(16))
    assert found.latent.tolist() == [0.5, -1.0]
    assert found.image.data.tolist() == list(range(27))
    assert bag.faults == []
    assert (tmp_path / "bag" / "metadata.yaml").is_file()


def test_sigkill_leaves_a_readable_bag(rig: Rig, tmp_path: Path) -> None:
    """All but the last second at most, although nothing came in that second to push it out."""
    joints = Publisher(rig)
    rig.start("recorder", output=tmp_path / "bag", topics=TWO)
    joints.wait_until_heard(tmp_path / "bag")
    joints.send(100)
    rig.spin(1.3)
    before = len(joints.sent)
    joints.send(10)
    rig.kill("recorder")
    bag = Bag(tmp_path / "bag")
    found = data_of(bag)
    assert len(found) >= before
    assert found == joints.sent[: len(found)]
    assert any("the recorder was killed" in fault.what for fault in bag.faults)


def test_log_times_are_those_of_the_clock_where_a_simulator_gives_the_time(rig: Rig, tmp_path: Path) -> None:
    joints = Publisher(rig)
    clock = rig.probe.create_publisher(Clock, "/clock", qos.STATE)
    process = rig.start("recorder", output=tmp_path / "bag", topics=[JOINTS], use_sim_time=True)
    joints.wait_until_heard(tmp_path / "bag")
    rig.wait("the recorder to listen to the clock", lambda: clock.get_subscription_count() > 0)
    for second in (7, 8):
        clock.publish(Clock(clock=Time(sec=second)))
        rig.spin(0.3)
        joints.send()
        rig.spin(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0, rig.log("recorder")
    *before, seven, eight = (message.time for message in Bag(tmp_path / "bag").messages())
    assert set(before) == {0}, "no time had been given yet"
    assert (seven, eight) == (7 * 10**9, 8 * 10**9)


@pytest.mark.parametrize("received", [0, -1])
def test_a_middleware_that_does_not_say_when_a_message_came(rig: Rig, tmp_path: Path, received: int) -> None:
    """Cyclone DDS: everything was recorded at time 0."""
    told = [Parameter("output", value=str(tmp_path / "bag")), Parameter("topics", value=[JOINTS])]
    node = RecorderNode(context=rig.context, parameter_overrides=told)
    node._write("/joint_states", serialize_message(JointState()), received)
    node.close()
    node.destroy_node()
    (message,) = Bag(tmp_path / "bag").messages()
    assert abs(message.time - time.time_ns()) < 60e9


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("may not mount a small file system here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_ends_the_recording_but_not_the_node(rig: Rig, small_disk: Path) -> None:
    joints = Publisher(rig)
    process = rig.start("recorder", output=small_disk / "bag", topics=[JOINTS])
    joints.wait_until_heard(small_disk / "bag")
    joints.send(150, doubles=2000)
    rig.wait("the recorder to give up", lambda: "the disk is full" in rig.log("recorder"))
    joints.send(50, doubles=2000)
    rig.wait("nobody to listen", lambda: not listeners(rig))
    assert process.poll() is None, "the robot goes on"
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 1
    log = rig.log("recorder")
    (line,) = [line for line in log.splitlines() if "[ERROR]" in line]
    assert f"bag {small_disk / 'bag'}: the disk is full; " in line
    assert "are saved and readable" in line
    assert "Traceback" not in log
    found = data_of(Bag(small_disk / "bag"))
    assert len(found) > 30
    assert found == joints.sent[: len(found)]


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"topics": ["imu"]}, "parameter topics, 'imu': must be topic:package/msg/Type"),
        ({"topics": ["imu:a_msgs/msg/B"]}, "message a_msgs/msg/B: not in ROS 2 Jazzy or jepa_ros_msgs"),
        ({"output": "/proc/none/bag"}, "bag /proc/none/bag: cannot be made"),
        ({"output": "{here}"}, "exists already; give another path"),
    ],
)
def test_what_cannot_be_recorded_is_said_at_once(
    rig: Rig, tmp_path: Path, parameters: dict[str, Any], says: str
) -> None:
    given = {"output": str(tmp_path / "bag"), "topics": [JOINTS], **parameters}
    given["output"] = given["output"].replace("{here}", str(tmp_path))
    process = rig.start("recorder", **given)
    assert process.wait(20) == 1
    assert says in rig.log("recorder")
    assert not (tmp_path / "bag").exists()


# ---- jepa-record, and the launch file


def record(*arguments: object) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "jepa_ros_nodes.record", *map(str, arguments)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def test_the_command_records_for_some_seconds(rig: Rig, tmp_path: Path) -> None:
    """In a namespace, with an absolute topic besides."""
    joints, imposter = Publisher(rig, "/dog/joint_states"), Publisher(rig)
    process = record("--out", tmp_path / "bag", "--seconds", 6, "--topic", "joint_states", "--namespace", "dog")
    joints.wait_until_heard(tmp_path / "bag")
    joints.send(60)
    imposter.send(5)
    code, output = ended(process)
    assert code == 0, output
    assert f"{tmp_path / 'bag'}: {len(joints.sent)} messages, " in output
    bag = Bag(tmp_path / "bag")
    assert bag.topics == {"/dog/joint_states": "sensor_msgs/msg/JointState"}
    assert data_of(bag, "/dog/joint_states") == joints.sent


def test_ctrl_c_ends_the_command_cleanly(rig: Rig, tmp_path: Path) -> None:
    joints = Publisher(rig, "other")
    process = record("--out", tmp_path / "bag", "--topic", "/other:sensor_msgs/msg/JointState")
    joints.wait_until_heard(tmp_path / "bag")
    joints.send(30)
    rig.spin(0.2)
    process.send_signal(signal.SIGINT)
    code, output = ended(process)
    assert code == 0, output
    assert "Traceback" not in output
    bag = Bag(tmp_path / "bag")
    assert data_of(bag, "/other") == joints.sent
    assert bag.faults == []


def test_a_command_that_heard_nothing_says_so_and_leaves_nothing(rig: Rig, tmp_path: Path) -> None:
    code, output = ended(record("--out", tmp_path / "bag", "--seconds", 0.5))
    assert code == 1
    assert f"record: nothing was heard on {len(TOPICS)} topic(s): is the robot running" in output
    assert not (tmp_path / "bag").exists()


def test_the_command_refuses_a_topic_that_it_does_not_know(tmp_path: Path) -> None:
    code, output = ended(record("--out", tmp_path / "bag", "--topic", "fish"))
    assert code == 1
    assert "topic fish: its kind is not known here; give it as fish:package/msg/Type" in output


@pytest.mark.parametrize("topics", ["", "[joint_states:sensor_msgs/msg/JointState]"], ids=["usual", "given"])
def test_the_launch_file_runs_the_recorder_alone(rig: Rig, tmp_path: Path, topics: str) -> None:
    joints = Publisher(rig, "/dog/joint_states")
    given = {"output": str(tmp_path / "deep" / "bag"), "namespace": "dog", "topics": topics}
    line = launch_command(ROOT / "launch" / "record.launch.py", given)
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        joints.wait_until_heard(tmp_path / "deep" / "bag")
        joints.send(30)
        rig.spin(0.2)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    bag = Bag(tmp_path / "deep" / "bag")
    assert len(bag.topics) == (1 if topics else len(TOPICS))
    assert data_of(bag, "/dog/joint_states") == joints.sent
    assert bag.faults == []
