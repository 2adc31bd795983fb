"""What `joint_command` does when what it decides cannot reach the robot, and how it says that it commands no more."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import rclpy
from jepa_ros_msgs.msg import JointCommand, SafetyStatus
from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from unitree_api.msg import Request
from unitree_go.msg import LowCmd

from jepa_ros.robots import load_robot
from jepa_ros.types import Imu, JointState
from jepa_ros_nodes import joint_command_node, qos
from jepa_ros_nodes.command_watchdog_node import CommandWatchdogNode
from jepa_ros_nodes.commanders import Commanders
from jepa_ros_nodes.joint_command_node import JointCommandNode

from .conftest import Rig

pytestmark = pytest.mark.dds
ROBOT = load_robot("go2_sim")
LYING = JointState(ROBOT.stance("sit"), np.zeros(12), np.zeros(12))
LEVEL = Imu(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.0, 0.0, 9.81]))


def ask(rig: Rig, what: str) -> Trigger.Response:
    client = rig.probe.create_client(Trigger, f"joint_command/{what}")
    rig.ready(client, f"the service {what}")
    return rig.result(client.call_async(Trigger.Request()), what)


def comes_to(rig: Rig, statuses: list[tuple[float, SafetyStatus]], goal: str) -> None:
    """Ask until it stands; a busy machine may have damped it."""

    def there() -> bool:
        state = statuses[-1][1].state if statuses else ""
        if state in ("damp", "passive"):
            ask(rig, "recover" if state == "damp" else "stand")
        rig.spin(0.2)
        return state == goal

    rig.wait(goal, there, 60.0)


def test_a_robot_whose_motors_were_taken_does_not_stand_on_when_they_are_free_again(rig: Rig):
    statuses = rig.listen(SafetyStatus, "safety_status", qos.STATE)
    low = rig.listen(LowCmd, "lowcmd", qos.RECENT)
    ready = rig.probe.create_publisher(Bool, "low_level_ready", qos.LATCHED)
    rig.start("sim_dog", room=0)
    rig.start("joint_command", robot="go2", output="low_command")
    assert "go2_bridge" in ask(rig, "stand").message
    ready.publish(Bool(data=True))
    comes_to(rig, statuses, "stand")
    ready.publish(Bool(data=False))
    rig.wait("damping", lambda: statuses[-1][1].state == "damp")
    assert "output_refused" in statuses[-1][1].event_reasons
    assert "own gait" in statuses[-1][1].reason
    low.clear()
    ready.publish(Bool(data=True))
    rig.wait("commands again", lambda: len(low) > 20)
    assert not any(motor.kp for _, message in low for motor in message.motor_cmd)
    assert statuses[-1][1].state == "damp"
    comes_to(rig, statuses, "stand")


@pytest.fixture
def node(rig: Rig) -> Iterator[JointCommandNode]:
    """In this process, its loop driven by hand."""
    rclpy.init()
    made = JointCommandNode()
    made.configure()
    made.activate()
    made._ticker.stop()
    yield made
    made.close()
    made.made.close()
    made.destroy_node()
    rclpy.shutdown()


def tick(node: JointCommandNode, now: float) -> str:
    node._controller.on_joint_state(now, LYING)
    node._controller.on_imu(now, LEVEL)
    node._act(now)
    return node._safety.state


def test_ticks_that_are_all_held_up_do_not_end_in_old_targets(node: JointCommandNode, monkeypatch):
    now = [time.monotonic()]
    monkeypatch.setattr(joint_command_node, "time", SimpleNamespace(monotonic=lambda: now[0]))
    assert tick(node, now[0]) == "passive"
    assert node._safety.request("stand").accepted
    now[0] += 0.01
    assert tick(node, now[0]) == "stand_up"
    now[0] += 0.01
    decide = node._controller.tick

    def held_up(began: float, clock: float):
        now[0] += 0.06  # s; later than a decision may be sent, sooner than the loop counts as stalled
        return decide(began, clock)

    node._controller.tick = held_up
    sent: list[str] = []
    send = node._sender.send

    def noted(at, done, damped_for):
        sent.append(done.decision.state)
        send(at, done, damped_for)

    node._sender.send = noted
    states = [tick(node, now[0]) for _ in range(5)]
    assert states[0] == "stand_up"
    assert states[-1] == "damp"
    assert set(sent) == {"damp"}, "what is late is not sent, unless it is damping"
    assert node._safety.counts["loop_stalled"] == 1
    assert "nothing was sent" in node._safety.events[-1].detail


def test_a_message_that_cannot_be_read_is_a_strangers(rig: Rig):
    commanders = Commanders(rig.probe, {"joint_commands"}, "command_watchdog")
    sender = Node("joint_command_too", context=rig.context)
    rig.add_node(sender)
    raw = sender.create_publisher(JointCommand, "joint_commands", qos.COMMAND)
    heard = rig.listen(JointCommand, "joint_commands", qos.RECENT)
    commanders._partners.add("joint_command_too")  # as DDS goes on naming one that was killed
    commanders.start()
    try:
        rig.wait("the match", lambda: raw.get_subscription_count() >= 2)
        rig.spin(0.3)
        assert commanders.count == 0
        for size in (0, 3, 4, 11, 15):
            commanders._heard_at = -np.inf
            commanders._on_command(bytes(size), 0)
            rig.wait("it to count", lambda: commanders.count == 1)
        commanders._heard_at = -np.inf
        rig.wait("it to be forgotten", lambda: commanders.count == 0)
        raw.publish(b"\x00\x01\x00\x00\x01\x00")
        rig.wait("bytes over the wire to count", lambda: commanders.count == 1)
        assert not heard
    finally:
        commanders.close()


def test_drivers_and_firmware_are_partners_on_their_topics_alone(rig: Rig):
    commanders = Commanders(rig.probe, {"joint_commands", "api/sport/request"}, "command_watchdog", ["go2_bridge"])
    commanders.start()
    try:
        nodes = {}
        for name in ("go2_bridge", "_CREATED_BY_BARE_DDS_APP_", "rival"):
            nodes[name] = Node(name, context=rig.context)
            rig.add_node(nodes[name])
        for name in ("go2_bridge", "_CREATED_BY_BARE_DDS_APP_"):
            nodes[name].create_publisher(Request, "api/sport/request", 1)
        rig.wait("both", lambda: rig.probe.count_publishers("api/sport/request") == 2)
        rig.spin(1.0)
        assert commanders.names == ()
        nodes["rival"].create_publisher(Request, "api/sport/request", 1)
        rig.wait("the rival", lambda: commanders.names == ("/rival",))
        for name in ("go2_bridge", "_CREATED_BY_BARE_DDS_APP_"):
            nodes[name].create_publisher(JointCommand, "joint_commands", 1)
        rig.wait("all three", lambda: commanders.count == 3)
    finally:
        commanders.close()


def test_recover_releases_and_a_sport_dog_is_left_standing_at_the_end(rig: Rig):
    statuses = rig.listen(SafetyStatus, "safety_status", qos.STATE)
    asked = rig.listen(Request, "api/sport/request", qos.RECENT)
    commands = rig.listen(JointCommand, "joint_commands", qos.RECORD)
    rig.start("sim_dog", room=0)
    watchdog = rig.start("command_watchdog", robot="go2", output="sport")
    node = rig.start("joint_command", robot="go2", output="sport")
    comes_to(rig, statuses, "stand")

    def apis() -> set[int]:
        return {message.header.identity.api_id for _, message in asked}

    asked.clear()
    assert ask(rig, "damp").success
    rig.wait("Damp", lambda: 1001 in apis())
    assert ask(rig, "recover").success
    rig.wait("passive", lambda: statuses[-1][1].state == "passive")
    rig.spin(0.5)
    asked.clear()
    commands.clear()
    rig.spin(1.0)
    assert (len(asked), len(commands)) == (0, 0)
    comes_to(rig, statuses, "stand")
    commands.clear()
    for process in (watchdog, node):
        process.send_signal(signal.SIGINT)
    rig.wait("both to end", lambda: node.poll() is not None and watchdog.poll() is not None, 15.0)
    assert (node.returncode, watchdog.returncode) == (0, 0)
    rig.spin(0.3)
    last = commands[-1][1]
    assert last.header.frame_id == "released"
    assert not np.any(last.kp)
    assert np.all(np.asarray(last.kd) > 0)
    assert 1001 not in apis()


def test_a_dry_run_whose_outputs_would_reach_the_robot_is_refused(rig: Rig):
    process = rig.start("joint_command", dry_run=True)
    rig.wait("the node to end", lambda: process.poll() is not None)
    assert process.returncode == 1
    assert "joint_commands would go to /joint_commands" in rig.log("joint_command")


def test_no_thread_uses_the_node_once_it_is_closed(node: JointCommandNode):
    def threads() -> set[str]:
        return {thread.name for thread in threading.enumerate()}

    assert "commanders" in threads()
    node.close()
    assert not {"commanders", "control"} & threads(), "destroying the node under them ends the process with an error"


def test_a_watchdog_that_was_stopped_while_it_looked_does_not_damp_for_what_has_just_come(rig: Rig):
    rclpy.init()
    node = CommandWatchdogNode()
    node._ticker.stop()
    publisher = rig.probe.create_publisher(JointCommand, "joint_commands", qos.STATE)

    def armed() -> bool:
        publisher.publish(JointCommand())
        rig.spin(0.02)
        node._tick(time.monotonic())
        return node._watchdog.armed

    rig.wait("the first command", armed)
    publisher.publish(JointCommand())
    rig.spin(0.02)
    node._tick(time.monotonic() - 0.25)  # when this look began, as far as it knows
    assert not node._watchdog.damping
    node.close()
    node.destroy_node()
    rclpy.shutdown()
