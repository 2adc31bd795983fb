"""The same bag through the nodes: in lock-step it is planned as by the core alone, and nothing reaches a robot."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: run `make setup`")

from jepa_ros_nodes.launching import launch_command, private_environment
from jepa_ros_replay.engine import ReplaySettings, replay

from .made_bag import image, rows, write

pytestmark = [pytest.mark.dds, pytest.mark.slow]
LAUNCH = Path(__file__).resolve().parents[2] / "launch" / "replay.launch.py"


def launch(folder: Path, **arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**private_environment(), "ROS_DOMAIN_ID": str(100 + os.getpid() % 99)}
    arguments = {"remaps": ":=".join(REMAP), **arguments}
    command = launch_command(LAUNCH, {name: str(value) for name, value in arguments.items()})
    return subprocess.run(
        command, capture_output=True, text=True, timeout=180, check=False, env=environment, cwd=folder
    )


def renamed(row):
    """The camera has another name than usual: it is found by a remap."""
    return (row[0], "/front/rgb", row[2]) if row[1] == "/camera/image_raw" else row


REMAP = ("camera/image_raw", "/front/rgb")


@pytest.fixture
def bag(tmp_path):
    rng = np.random.default_rng(3)

    def flicker(row):
        pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        return (row[0], row[1], image(row[0], pixels)) if row[1] == "/camera/image_raw" else row

    cv2.imwrite(str(tmp_path / "goal.png"), rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    return write(tmp_path / "bag", rows(6.0), lambda row: renamed(flicker(row)))


def test_lock_step_and_core_agree_to_the_bit(tmp_path, bag, tiny_bundle):
    goal = tmp_path / "goal.png"
    found = replay(bag, tiny_bundle, ReplaySettings(goal=str(goal), remaps=(REMAP,)))
    done = launch(tmp_path, bag=bag, bundle=tiny_bundle, rate=0, goal=goal, out=tmp_path / "out")
    assert (tmp_path / "out" / "summary.json").exists(), done.stdout + done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["plans"] == len(found.plans) == 30
    assert summary["plan_sha256"] == found.plan_sha256
    assert summary["frames"] == 60
    mine = found.command_difference()
    assert mine
    for joint, off in summary["command_difference_rad"].items():
        assert off == pytest.approx(mine[joint], rel=1e-6)
    assert summary["safety_events"] == found.summary()["safety_events"]
    assert (tmp_path / "out" / "report.html").is_file()


def test_at_a_rate_it_plays_in_time(tmp_path, bag, tiny_bundle):
    done = launch(tmp_path, bag=bag, bundle=tiny_bundle, rate=1.0, goal=tmp_path / "goal.png", out=tmp_path / "out")
    assert (tmp_path / "out" / "summary.json").exists(), done.stdout + done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert 0.7 < summary["realtime_factor"] < 1.05
    assert summary["plans"] > 15


def test_a_bag_that_is_none_ends_the_launch_with_a_sentence(tmp_path, tiny_bundle):
    (tmp_path / "text.mcap").write_text("not a bag")
    done = launch(tmp_path, bag=tmp_path / "text.mcap", bundle=tiny_bundle, rate=0)
    said = done.stdout + done.stderr
    assert "not an MCAP file" in said
    assert "Traceback" not in said
