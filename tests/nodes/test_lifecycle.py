"""Lifecycle: configured again and again, nothing is there twice, nothing moves by itself, and an operator is heard."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from jepa_ros_msgs.action import ReachGoal
from jepa_ros_msgs.msg import ActionChunk, JointCommand, SafetyStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.action import ActionClient
from std_srvs.srv import Trigger

from jepa_ros_nodes import qos

from .conftest import Rig
from .test_bad_input import Camera, toward_view
from .test_kills import walking

pytestmark = pytest.mark.dds
CONFIGURE, ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE
DEACTIVATE, CLEANUP = Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP


def change(rig: Rig, node: str, transition: int) -> bool:
    client = rig.probe.create_client(ChangeState, f"{node}/change_state")
    rig.ready(client, "change_state")
    request = ChangeState.Request(transition=Transition(id=transition))
    done = rig.result(client.call_async(request), f"transition {transition}")
    rig.probe.destroy_client(client)
    return bool(done.success)


def ask(rig: Rig, what: str) -> Trigger.Response:
    client = rig.probe.create_client(Trigger, f"joint_command/{what}")
    rig.ready(client, what)
    return rig.result(client.call_async(Trigger.Request()), what)


def test_joint_command_twice_around(rig: Rig) -> None:
    statuses = rig.listen(SafetyStatus, "safety_status", qos.COMMAND)
    commands = rig.listen(JointCommand, "joint_commands", qos.COMMAND)
    rig.start("joint_command", autostart=False)
    for _ in range(2):
        assert change(rig, "joint_command", CONFIGURE)
        answer = ask(rig, "stand")
        assert not answer.success
        assert "not active" in answer.message
        assert change(rig, "joint_command", ACTIVATE)
        statuses.clear()
        rig.wait("status", lambda: len(statuses) > 3)
        assert {message.state for _, message in statuses} == {"passive"}
        assert rig.probe.count_publishers("joint_commands") == 1
        assert rig.probe.count_subscribers("plan") == 1
        assert change(rig, "joint_command", DEACTIVATE)
        assert change(rig, "joint_command", CLEANUP)
        rig.wait("its publishers to go", lambda: rig.probe.count_publishers("joint_commands") == 0)
    assert commands == []


def test_a_bundle_that_is_refused_can_be_put_right_and_configured_again(rig: Rig, tiny_bundle: Path) -> None:
    broken = tiny_bundle / "manifest.yaml"
    text = broken.read_text()
    broken.write_text("nonsense")
    rig.start("world_model", autostart=False, bundle=tiny_bundle)
    assert not change(rig, "world_model", CONFIGURE)
    assert "must be a mapping" in rig.log("world_model")
    broken.write_text(text)
    assert change(rig, "world_model", CONFIGURE)


def test_a_goal_does_not_outlive_deactivation(rig: Rig, tiny_bundle: Path) -> None:
    plans, _camera = rig.listen(ActionChunk, "plan", qos.COMMAND), Camera(rig)
    rig.start("world_model", bundle=tiny_bundle)
    client = ActionClient(rig.probe, ReachGoal, "reach_goal")
    handle = rig.goal(client, toward_view())
    rig.wait("plans", lambda: any(message.steps for _, message in plans))
    assert change(rig, "world_model", DEACTIVATE)
    result = rig.result(handle.get_result_async(), "the result").result
    assert "deactivated" in result.reason
    assert not rig.goal(client, toward_view()).accepted
    assert change(rig, "world_model", ACTIVATE)
    plans.clear()
    rig.spin(1.0)
    assert not any(message.steps for _, message in plans)
    assert rig.goal(client, toward_view()).accepted
    rig.wait("plans", lambda: any(message.steps for _, message in plans))


def test_a_goal_ends_when_the_operator_stops_the_walk_and_damp_is_heard_during_deactivation(rig: Rig) -> None:
    results = []
    walking(rig, on_result=results.append)
    assert ask(rig, "stop").success
    rig.wait("the goal to end", lambda: results)
    assert not results[0].reached
    assert results[0].reason == "stopped by joint_command: stopping on request"
    statuses = rig.heard["safety_status"]
    rig.wait("the dog to stand", lambda: statuses[-1][1].state == "stand")
    client = rig.probe.create_client(ChangeState, "joint_command/change_state")
    rig.ready(client, "change_state")
    begin = time.monotonic()
    down = client.call_async(ChangeState.Request(transition=Transition(id=DEACTIVATE)))
    rig.wait("the dog to sit down", lambda: statuses[-1][1].state == "sit_down")
    assert ask(rig, "damp").success
    assert rig.result(down, "the deactivation").success
    assert time.monotonic() - begin < 7.0
    rig.spin(0.2)
    assert statuses[-1][1].state == "damp"
    assert change(rig, "joint_command", ACTIVATE)
    statuses.clear()
    rig.wait("status", lambda: len(statuses) > 3)
    assert {message.state for _, message in statuses} == {"damp"}, "damp stays latched"
