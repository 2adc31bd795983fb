"""Dead processes: the dog stops upright when its planner dies, and is damped when its commander dies."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from jepa_ros_msgs.action import ReachGoal
from jepa_ros_msgs.msg import ActionChunk, AppliedAction, JointCommand, SafetyStatus
from nav_msgs.msg import Odometry
from rclpy.action import ActionClient
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from jepa_ros.messages import JointOrder, seconds
from jepa_ros.robots import load_robot
from jepa_ros.types import UInt8
from jepa_ros_nodes import qos
from jepa_ros_nodes.conversions import image_to_message
from jepa_ros_simulation.dog import DogSim
from jepa_ros_simulation.rooms import Room

from .conftest import Rig

pytestmark = pytest.mark.dds
BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "default"


def walking(rig: Rig, on_result: Callable[[ReachGoal.Result], None] | None = None) -> None:
    """Bring the whole chain up and the dog to a walk, toward a view it will not reach within the test.

    A machine that is held up for a moment damps the dog, as it should: then it is begun anew, three times at most.
    """
    statuses = rig.listen(SafetyStatus, "safety_status", qos.COMMAND)
    odometry = rig.listen(Odometry, "ground_truth/odom", qos.SENSOR)
    rig.start("sim_dog", start="[-1.0,-1.2,0.8]")
    rig.start("command_watchdog")
    rig.start("joint_command")
    rig.start("world_model", bundle=BUNDLE)
    client = ActionClient(rig.probe, ReachGoal, "reach_goal")
    goal = ReachGoal.Goal(kind=ReachGoal.Goal.IMAGE, image=image_to_message(far_view()), tolerance=-1.0)

    # a second and a half without a gap: a simulator that has just started may still stall
    def steady() -> bool:
        recent = [message.joint_state_age for _, message in statuses[-15:]]
        return len(recent) == 15 and max(recent) < 0.1

    def state() -> str:
        return statuses[-1][1].state

    def moves() -> bool:
        return state() == "walk" and odometry[-1][1].twist.twist.linear.x > 0.15

    for _ in range(3):
        rig.wait("steady joint states", steady)
        if not stands(rig, state):
            continue
        handle = rig.goal(client, goal)
        assert handle.accepted
        rig.until(lambda: moves() or state() == "damp", 30.0)
        if moves():
            break
    assert moves(), f"{state()}: {statuses[-1][1].reason}"
    if on_result is not None:
        handle.get_result_async().add_done_callback(lambda future: on_result(future.result().result))


def far_view() -> UInt8:
    """What the dog would see from the other side of the room, RGB `[h, w, 3]`."""
    sim = DogSim(Room(0))
    sim.reset(1.2, 0.6, 0.8)
    view = sim.render()
    sim.close()
    return view


def stands(rig: Rig, state: Callable[[], str]) -> bool:
    """Have the dog stand with leave to walk; whether it does, and was not damped meanwhile."""
    if state() == "damp":
        ask(rig, "recover")
        rig.wait("the damped dog to be let go", lambda: state() == "passive")
    if not all(ask(rig, request, unless=lambda: state() == "damp") for request in ("stand", "walk")):
        return False
    rig.wait("the dog to stand", lambda: state() in ("stand", "damp"))
    return state() == "stand"


def ask(rig: Rig, request: str, unless: Callable[[], bool] = lambda: False) -> bool:
    """Call one of joint_command's services until it accepts, as an operator would; whether it did.

    A machine that is held up for a moment has stale joint states just then, and the request is rightly refused. It is
    asked for 15 s, or until `unless()`.
    """
    service = rig.probe.create_client(Trigger, f"joint_command/{request}")
    rig.ready(service, request)
    until = time.monotonic() + 15.0
    while not (answer := rig.result(service.call_async(Trigger.Request()), request)).success and not unless():
        assert time.monotonic() < until, answer.message
        rig.spin(0.2)
    rig.probe.destroy_client(service)
    return bool(answer.success)


def sent(message: AppliedAction | JointCommand) -> float:
    """Wall time at which a message was made, s: on a machine that is held up, this process hears it late."""
    return seconds(message.header.stamp)


def tilt(message: Odometry) -> float:
    """Angle in rad between the body's up and the world's."""
    q = message.pose.pose.orientation
    return math.acos(max(-1.0, min(1.0, 1 - 2 * (q.x * q.x + q.y * q.y))))


def test_killed_planner_stops_the_dog_upright(rig: Rig) -> None:
    plans = rig.listen(ActionChunk, "plan", qos.COMMAND)
    applied = rig.listen(AppliedAction, "applied_action", qos.COMMAND)
    walking(rig)
    odometry, statuses = rig.heard["ground_truth/odom"], rig.heard["safety_status"]
    killed = rig.kill("world_model")
    rig.spin(4.0)
    ends = seconds(plans[-1][1].valid_until)
    assert ends > killed - 0.05
    done = [(sent(message), message) for _, message in applied]
    moved = [at for at, message in done if killed < at < ends and np.any(message.values)]
    assert moved, "the plan was not carried out to its end"
    stopped = next(at for at, message in done if at > killed and not np.any(message.values))
    assert stopped - ends < 0.1
    after = [(at, message) for at, message in odometry if at > ends]
    assert max(tilt(message) for _, message in after) < math.radians(15)
    assert max(message.twist.twist.linear.x for at, message in after if at > ends + 2.0) < 0.08
    final = statuses[-1][1]
    assert final.state in ("stopping", "stand")
    assert "plan stale" in final.reason
    assert "plan_stale" in final.event_reasons
    assert "plan_stale" in rig.log("joint_command")


def test_killed_commander_leaves_damping_on_the_wire(rig: Rig) -> None:
    commands = rig.listen(JointCommand, "joint_commands", qos.COMMAND)
    walking(rig)
    killed = rig.kill("joint_command")
    rig.spin(1.0)
    damping = [message for _, message in commands if message.header.frame_id == "command_watchdog"]
    after = [(sent(message), message) for message in damping if sent(message) > killed]
    assert after, "no damping came"
    assert after[0][0] - killed < 0.1
    assert not np.any(after[0][1].kp)
    assert np.all(np.asarray(after[0][1].kd) > 0)
    assert after[-1][0] > killed + 0.8, "damping must go on"
    assert "damping" in rig.log("command_watchdog")


def test_interrupted_commander_sits_before_it_leaves_and_the_watchdog_damps_last(rig: Rig) -> None:
    joints = rig.listen(JointState, "joint_states", qos.SENSOR)
    commands = rig.listen(JointCommand, "joint_commands", qos.RECORD)
    walking(rig)
    process, watchdog = rig.processes["joint_command"], rig.processes["command_watchdog"]
    for one in (watchdog, process):
        one.send_signal(signal.SIGINT)
    rig.wait("joint_command to end", lambda: process.poll() is not None, 12.0)
    assert process.returncode == 0
    rig.wait("command_watchdog to end", lambda: watchdog.poll() is not None, 3.0)
    assert watchdog.returncode == 0
    last = commands[-1][1]
    assert last.header.frame_id == "command_watchdog"
    assert not np.any(last.kp)
    assert np.all(np.asarray(last.kd) > 0)
    robot = load_robot("go2")
    posture = JointOrder(robot).joint_state(joints[-1][1]).position
    assert np.abs(posture - robot.stance("sit")).max() < 0.35
