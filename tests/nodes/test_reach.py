"""The command line that sends a goal: how it went is its exit code and its last line."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import rclpy
from jepa_ros_msgs.msg import ActionChunk
from rclpy.task import Future

from jepa_ros.errors import ImageError, JepaRosError
from jepa_ros_nodes import enabling, qos
from jepa_ros_nodes.reach import ReachGoal, goal_message

from .conftest import Rig
from .test_bad_input import Camera


def reach(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jepa_ros_nodes.reach", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_name_and_an_image(tmp_path: Path) -> None:
    named = goal_message("west", 5.0, 0.0)
    assert (named.kind, named.name, named.time_limit) == (ReachGoal.Goal.NAME, "west", 5.0)
    red = np.zeros((4, 6, 3), np.uint8)
    red[..., 2] = 255
    cv2.imwrite(str(tmp_path / "red.png"), red)
    shown = goal_message(str(tmp_path / "red.png"), 5.0, 0.0)
    assert (shown.kind, shown.image.width, shown.image.height) == (ReachGoal.Goal.IMAGE, 6, 4)
    assert list(shown.image.data[:3]) == [255, 0, 0]


@pytest.mark.parametrize("content", [None, b"not an image"])
@pytest.mark.parametrize("name", ["view.png", "view.webp", "view"])
def test_an_image_that_cannot_be_read(tmp_path: Path, name: str, content: bytes | None) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=rf"{name}: no such file, or not an image"):
        goal_message(str(path), 5.0, 0.0)


@pytest.mark.dds
def test_nobody_there() -> None:
    done = reach("west", "--wait", "0.5", "--namespace", "/nowhere")
    assert done.returncode == 1
    assert "nobody serves /nowhere/reach_goal" in " ".join(done.stdout.split())


@pytest.mark.dds
def test_outcomes(rig: Rig, tiny_bundle: Path, tmp_path: Path) -> None:
    camera = Camera(rig)
    rig.start("world_model", bundle=tiny_bundle)
    here = tmp_path / "here.png"
    cv2.imwrite(str(here), np.full((32, 32, 3), 90, np.uint8))
    processes = {}
    for name, arguments in {
        "unknown": ["attic"],
        "arrives": [str(here), "--time-limit", "8"],
        "runs out": [str(here), "--time-limit", "1", "--tolerance", "-1"],
    }.items():
        command = [sys.executable, "-m", "jepa_ros_nodes.reach", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        rig.wait(f"the goal that is {name}", lambda p=process: p.poll() is not None)
        processes[name] = (process.returncode, " ".join(process.stdout.read().split()))
    assert camera.message.header.stamp.sec > 0
    assert processes["unknown"][0] == 1
    assert "attic" in processes["unknown"][1]
    assert processes["arrives"][0] == 0, processes["arrives"][1]
    assert "arrived" in processes["arrives"][1]
    assert processes["runs out"][0] == 1
    assert "time limit of 1 s reached" in processes["runs out"][1]


def driving(rig: Rig, bundle: Path, folder: Path) -> tuple[subprocess.Popen[str], list[tuple[float, ActionChunk]]]:
    """The command, sent to a view that it never reaches, once plans come; and these."""
    Camera(rig)
    plans = rig.listen(ActionChunk, "plan", qos.COMMAND)
    rig.start("world_model", bundle=bundle)
    view = folder / "there.png"
    cv2.imwrite(str(view), np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    command = [sys.executable, "-m", "jepa_ros_nodes.reach", str(view), "--tolerance", "-1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    rig.wait("plans", lambda: any(message.steps for _, message in plans))
    return process, plans


@pytest.mark.dds
def test_it_ends_when_world_model_dies(rig: Rig, tiny_bundle: Path, tmp_path: Path) -> None:
    process, _ = driving(rig, tiny_bundle, tmp_path)
    rig.kill("world_model")
    rig.wait("reach to end", lambda: process.poll() is not None, 40.0)
    assert process.returncode == 1
    assert "world_model is gone" in " ".join(process.stdout.read().split())


@pytest.mark.dds
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_the_goal(rig: Rig, tiny_bundle: Path, tmp_path: Path, number: int) -> None:
    """A terminal that closed left the dog walking."""
    process, plans = driving(rig, tiny_bundle, tmp_path)
    process.send_signal(number)
    rig.wait("reach to end", lambda: process.poll() is not None, 20.0)
    said = " ".join(process.stdout.read().split())
    assert (process.returncode, "cancelled" in said) == (1, True), said
    rig.wait("the plans' end", lambda: plans[-1][1].steps == 0)


class Deaf:
    """A client whose first answers are lost."""

    srv_name = "joint_command/stand"

    def __init__(self, lost: int) -> None:
        self.calls, self._lost = 0, lost

    def wait_for_service(self, _seconds: float) -> bool:
        return True

    def call_async(self, _request: object) -> Future:
        self.calls += 1
        future = Future()
        if self.calls > self._lost:
            future.set_result("done")
        return future


@pytest.mark.dds
@pytest.mark.parametrize(("once", "calls"), [(False, 3), (True, 1)])
def test_a_word_whose_answer_is_lost_is_said_again_where_it_may_be(rig: Rig, monkeypatch, once: bool, calls: int):
    monkeypatch.setattr(enabling, "_AGAIN_S", 0.05)
    monkeypatch.setattr(rclpy, "spin_until_future_complete", lambda *_, timeout_sec, **__: rig.spin(timeout_sec))
    client = Deaf(2)
    if once:
        with pytest.raises(JepaRosError, match="no answer from joint_command/stand"):
            enabling._answer(rig.probe, client, None, 1.0, 0.5, once)
    else:
        assert enabling._answer(rig.probe, client, None, 1.0, 0.5, once) == "done"
    assert client.calls == calls


@pytest.mark.dds
def test_an_operators_word(rig: Rig) -> None:
    rig.start("joint_command")
    for what, code, says in (("stand", 1, "cannot stand"), ("damp", 0, "damped"), ("recover", 1, "cannot recover")):
        command = [sys.executable, "-m", "jepa_ros_nodes.ask", what, "--wait", "15"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        rig.wait(f"the answer to {what}", lambda p=process: p.poll() is not None, 40.0)
        said = " ".join(process.stdout.read().split())
        assert (process.returncode, says in said) == (code, True), said
