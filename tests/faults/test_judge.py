"""The judge must be able to say no: every rule is broken once, and an ordinary walk is passed."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: run `make setup`")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from jepa_ros_msgs.msg import AppliedAction, JointCommand, SafetyStatus
from nav_msgs.msg import Odometry
from sensor_msgs.msg import JointState

from jepa_ros.robots import load_robot

from . import judge
from .judge import WATCHDOG, CommandJudge, Outcome
from .recording import TRUE_JOINTS, Recording

ROBOT = load_robot("go2")
STANCE = ROBOT.stance("walk")


def command(position=STANCE, kp=20.0, kd=0.5, **fields):
    """A command of the walking policy's gains."""
    row = np.ones(len(STANCE))
    message = JointCommand(name=list(ROBOT.joint_names), position=list(position))
    message.velocity, message.effort = list(0.0 * row), list(0.0 * row)
    message.kp, message.kd = list(kp * row), list(kd * row)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def measured(position=STANCE, speed=0.0):
    return JointState(name=list(ROBOT.joint_names), position=list(position), velocity=[speed] * len(STANCE))


def moved(joint, to):
    position = STANCE.copy()
    position[joint] = to
    return position


def said(message, state=None):
    return CommandJudge(ROBOT).command(message, [state or measured()])


def test_an_ordinary_command_passes():
    assert said(command()) == ""
    assert said(command(kp=0.0, kd=3.0)) == ""


@pytest.mark.parametrize("field", ["position", "velocity", "effort", "kp", "kd"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_unsafe(field, value):
    message = command()
    getattr(message, field)[3] = value
    assert said(message) == "not finite"


def test_a_position_outside_its_range_is_unsafe():
    above = moved(2, ROBOT.upper[2] + 0.01)
    assert said(command(above), measured(above)) == "position outside the joint range"


def test_gains_that_the_robot_does_not_have_are_unsafe():
    assert said(command(kp=61.0)).startswith("kp 61")
    assert said(command(kd=6.0)).startswith("kd 6")
    assert said(command(kp=0.0, kd=0.0)).startswith("kd 0")


def test_too_much_torque_is_unsafe_where_no_measurement_excuses_it():
    limit = ROBOT.effort_limits[1]
    far = command(moved(1, STANCE[1] + 1.1 * limit / 20.0))
    assert said(far) == "torque estimate 1.10 times the limit"
    near = measured(moved(1, STANCE[1] + 0.2 * limit / 20.0))
    assert CommandJudge(ROBOT).command(far, [measured(), near]) == ""


def test_a_measurement_that_nobody_could_use_excuses_nothing():
    far = command(moved(1, STANCE[1] + 1.1 * ROBOT.effort_limits[1] / 20.0))
    broken, short = measured(moved(1, math.nan)), measured()
    short.name, short.position = short.name[:-1], short.position[:-1]
    assert CommandJudge(ROBOT).command(far, [broken, short, measured()]) == "torque estimate 1.10 times the limit"


def test_names_are_matched_and_missing_ones_are_unsafe():
    order = list(reversed(range(len(STANCE))))
    turned = command(STANCE[order], name=[ROBOT.joint_names[i] for i in order])
    assert said(turned) == ""
    assert said(command(name=[*ROBOT.joint_names[:-1], "tail_joint"])).startswith("names ")


def walk(until=1.0, speed=2.0):
    """A second of walking from 0 to 1 s, commands at 100 Hz and new targets at 50 Hz; the fault is at 0.5 s."""
    commands = [(0.01 * i, command(STANCE + 0.001 * (i // 2))) for i in range(round(until / 0.01))]
    joints = [(0.008 * i, measured(speed=speed)) for i in range(125)]
    return Recording({"joint_commands": commands, "joint_states": joints, TRUE_JOINTS: joints}, 0.5, 1.0)


def test_a_walk_has_no_frozen_targets():
    assert CommandJudge(ROBOT).commands(walk()) == []


def test_repeated_targets_in_mid_gait_are_unsafe():
    recording = walk(0.6)
    recording.topics["joint_commands"] += [(0.6 + 0.01 * i, command(STANCE)) for i in range(40)]
    (found,) = CommandJudge(ROBOT).commands(recording)
    assert found.why == "walking targets frozen for 0.400 s"
    last = command(STANCE + 0.1)
    last.header.stamp.sec = 1
    recording.topics["joint_commands"].append((0.99, last))
    (found,) = CommandJudge(ROBOT).commands(recording)
    assert found.why == "walking targets frozen for 0.390 s, 1.000 s by their stamps"


def test_a_silence_leaves_the_last_targets_in_force_until_the_watchdog_damps():
    (found,) = CommandJudge(ROBOT).commands(walk(0.6))
    assert found.at == pytest.approx(0.58)
    quick = walk(0.6)
    damp = command(kp=0.0, kd=3.0)
    damp.header.frame_id = WATCHDOG
    quick.topics["joint_commands"].append((0.65, damp))
    assert CommandJudge(ROBOT).commands(quick) == []


def test_targets_may_stand_while_the_legs_do():
    assert CommandJudge(ROBOT).commands(walk(0.6, speed=0.01)) == []


def test_a_strangers_commands_are_not_the_commanders():
    recording, bad = walk(), command(kp=900.0)
    bad.header.frame_id = "stranger"
    recording.topics["joint_commands"].append((0.995, bad))
    assert CommandJudge(ROBOT).commands(recording) == []
    bad.header.frame_id = ""
    assert [unsafe.why for unsafe in CommandJudge(ROBOT).commands(recording)] == [
        "kp 900.0 is not among the robot's gains"
    ]


def applied(*rows):
    return [(at, AppliedAction(names=["vx", "vy", "wz"], values=[value, 0.0, 0.0])) for at, value in rows]


def test_a_walk_that_goes_on_is_a_walk():
    recording = walk()
    recording.topics["applied_action"] = applied((0.4, 0.3), (0.7, 0.0), (0.9, 0.3))
    assert judge.made_safe(recording) == judge.Safety(Outcome.WALK, None)


def test_a_stop_counts_from_the_first_zero_that_stays():
    recording = walk()
    recording.topics["applied_action"] = applied((0.4, 0.3), (0.55, 0.0), (0.6, 0.3), (0.7, 0.0), (0.9, 0.0))
    assert judge.made_safe(recording) == judge.Safety(Outcome.STOP, 0.7)


def test_damping_counts_where_it_stays():
    recording = walk(0.7)
    recording.topics["applied_action"] = applied((0.4, 0.3), (0.6, 0.3))
    recording.topics["joint_commands"].append((0.71, command(kp=0.0, kd=3.0)))
    assert judge.made_safe(recording) == judge.Safety(Outcome.DAMP, 0.71)
    recording.topics["joint_commands"].append((0.75, command()))
    assert judge.made_safe(recording) == judge.Safety(Outcome.WALK, None, interfered=True)


def tilted(by, speed=0.0):
    message = Odometry()
    message.pose.pose.orientation.x, message.pose.pose.orientation.w = math.sin(by / 2), math.cos(by / 2)
    message.twist.twist.linear.x = speed
    return message


def test_a_body_past_one_radian_fell():
    for by, fell in ((0.9, False), (1.1, True)):
        assert judge.fell(Recording({"ground_truth/odom": [(0.7, tilted(by))]}, 0.5, 1.0)) is fell


def test_still_is_still_until_the_end():
    rows = [(0.6, tilted(0, 0.01)), (0.7, tilted(0, 0.3)), (0.8, tilted(0, 0.02)), (0.9, tilted(0, 0.01))]
    assert judge.still_at(Recording({"ground_truth/odom": rows}, 0.5, 1.0)) == 0.8
    assert judge.still_at(Recording({"ground_truth/odom": rows[:2]}, 0.5, 1.0)) is None


def test_reasons_are_those_that_came_after_the_fault():
    before = SafetyStatus(event_reasons=["tilt", "plan_stale"], event_counts=[1, 2])
    after = SafetyStatus(event_reasons=["tilt", "plan_stale", "imu_stale"], event_counts=[1, 3, 1])
    refusal = DiagnosticArray(
        status=[DiagnosticStatus(level=DiagnosticStatus.ERROR, name="world_model", message="no finite energy")]
    )
    rows = {"safety_status": [(0.4, before), (0.6, after)], "/diagnostics": [(0.7, refusal)]}
    assert judge.reasons(Recording(rows, 0.5, 1.0)) == ["plan_stale", "imu_stale", "planner: no finite energy"]


def test_messages_are_whatever_has_the_fields():
    assert judge.damping(SimpleNamespace(kp=[0.0], kd=[3.0]))
    assert not judge.damping(SimpleNamespace(kp=[0.0], kd=[0.0]))
