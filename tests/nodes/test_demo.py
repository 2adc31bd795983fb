"""The whole chain in its short form: launch, two goals, report, recording."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from jepa_ros.robots import load_robot
from jepa_ros_nodes.recorder_node import interface_files
from jepa_ros_simulation.tasks import errors_to

pytestmark = [pytest.mark.dds, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a drive to two goals leaves."""
    out = tmp_path_factory.mktemp("demo") / "drive"
    command = [sys.executable, "-m", "jepa_ros_nodes.demo", "--goals", "2", "--time-limit", "12", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    log = (out / "launch.log").read_text() if (out / "launch.log").exists() else ""
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:] + log[-2000:]
    assert "plan latency" in done.stdout
    return out


def test_summary_has_what_it_promises(demo: Path) -> None:
    summary = json.loads((demo / "summary.json").read_text())
    for key in ("goals", "reached", "plan_ms", "command_hz", "deadline_miss_rate", "safety_events"):
        assert key in summary
    assert summary["goals"] == 2
    assert 0 < summary["plan_ms"]["p50"] <= summary["plan_ms"]["p99"]
    assert summary["command_hz"] > 50


def test_the_dog_got_nearer_to_at_least_one_goal(demo: Path) -> None:
    rows = json.loads((demo / "summary.json").read_text())["rows"]
    before = [errors_to(tuple(row["target"]), tuple(row["start"]))[0] for row in rows]
    assert min(row["distance_m"] / d for row, d in zip(rows, before, strict=True)) < 0.6


def test_report_and_film_are_there(demo: Path) -> None:
    page = (demo / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert (demo / "drive.mp4").stat().st_size > 10_000


def test_recording_holds_named_finite_joint_commands_within_range(demo: Path) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    for path in interface_files():
        store.register(get_types_from_msg(path.read_text(), f"jepa_ros_msgs/msg/{path.stem}"))
    robot = load_robot("go2")
    commands = plans = images = 0
    with Reader(demo / "recording") as reader:
        for connection, _, data in reader.messages():
            commands += connection.topic == "/joint_commands"
            plans += connection.topic == "/plan"
            images += connection.topic == "/camera/image_raw"
            if connection.topic == "/joint_commands":
                message = store.deserialize_cdr(data, connection.msgtype)
                assert tuple(message.name) == robot.joint_names
                for field in (message.position, message.velocity, message.effort, message.kp, message.kd):
                    assert np.isfinite(field).all()
                assert (message.position >= robot.lower - 1e-9).all()
                assert (message.position <= robot.upper + 1e-9).all()
    assert commands > 500
    assert plans > 20
    assert images > 100
