"""Stop topic, deadman, a second commander, limits that are switched off, parameters at run time: over real topics."""

from __future__ import annotations

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from jepa_ros_msgs.msg import FootContacts, JointCommand, MotorTemperatures, SafetyStatus
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from jepa_ros.robots import load_robot
from jepa_ros_nodes import qos

from .conftest import Rig

pytestmark = pytest.mark.dds
ROBOT = load_robot("go2_sim")


def ask(rig: Rig, what: str) -> Trigger.Response:
    client = rig.probe.create_client(Trigger, f"joint_command/{what}")
    rig.wait(f"the service {what}", client.service_is_ready)
    return rig.result(client.call_async(Trigger.Request()), what)


def standing(rig: Rig, **parameters: object) -> list[tuple[float, SafetyStatus]]:
    """The simulated dog, stood up by an operator, who asks again where a busy machine made it damp."""
    statuses = rig.listen(SafetyStatus, "safety_status", qos.STATE)
    rig.start("sim_dog", room=0)
    rig.start("joint_command", **parameters)

    def stands() -> bool:
        state = statuses[-1][1].state if statuses else ""
        if state == "damp":
            ask(rig, "recover")
        elif state == "passive":
            ask(rig, "stand")
        rig.spin(0.2)
        return state == "stand"

    rig.wait("the dog to stand", stands, 60.0)
    return statuses


def test_stop_topic_and_deadman(rig: Rig):
    statuses = standing(rig, deadman_required=True)
    stop = rig.probe.create_publisher(Bool, "stop", 10)
    deadman = rig.probe.create_publisher(Bool, "deadman", qos.STATE)
    assert "deadman" in ask(rig, "walk").message

    def allowed() -> bool:
        deadman.publish(Bool(data=True))
        return bool(ask(rig, "walk").success)

    rig.wait("walking to be allowed while the deadman is held", allowed)
    assert rig.wait("permission", lambda: statuses[-1][1].motion_allowed or allowed())

    def withdrawn() -> bool:
        deadman.publish(Bool(data=True))
        stop.publish(Bool(data=True))
        rig.spin(0.02)
        return not statuses[-1][1].motion_allowed and "stop_signal" in statuses[-1][1].event_reasons

    rig.wait("permission to be withdrawn", withdrawn)
    assert "stop" in ask(rig, "stand").message
    stop.publish(Bool(data=False))
    rig.spin(0.5)
    assert not statuses[-1][1].motion_allowed  # a stop that ends resumes nothing


def test_a_second_commander_is_counted_and_a_dead_or_partner_one_is_not(rig: Rig):
    rig.start("command_watchdog")
    statuses = standing(rig)
    rig.spin(3.0)
    assert "two_commanders" not in statuses[-1][1].event_reasons
    stranger = Node("stranger", context=rig.context)
    rig.add_node(stranger)
    stranger.create_publisher(JointCommand, "joint_commands", qos.COMMAND)

    def seen() -> bool:
        if "two_commanders" in statuses[-1][1].event_reasons:
            return True
        # A busy machine may have made it damp before; then the stranger stands in the way of `recover`.
        return statuses[-1][1].state == "damp" and "more on the command topic" in ask(rig, "recover").message

    rig.wait("the stranger to be seen", seen)


def test_one_that_was_killed_does_not_stand_in_the_way_of_its_successor(rig: Rig):
    statuses = standing(rig)
    rig.kill("joint_command")
    rig.start("joint_command")
    seen = len(statuses)
    rig.wait("the new one", lambda: len(statuses) > seen and statuses[-1][1].state == "passive")
    rig.spin(2.5)  # it has looked at least once; DDS names the dead one for 20 s
    assert ask(rig, "stand").success
    rig.spin(1.0)
    assert "two_commanders" not in statuses[-1][1].event_reasons


def test_what_is_switched_off_is_shown_and_parameters_stay_as_they_are(rig: Rig):
    statuses = rig.listen(SafetyStatus, "safety_status", qos.STATE)
    diagnostics = rig.listen(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
    rig.start("joint_command", disabled_limits="[motor_hot]")
    rig.wait("a status and a diagnostic", lambda: statuses and diagnostics)
    assert statuses[-1][1].disabled_limits == ["motor_hot"]
    shown = diagnostics[-1][1].status[0]
    assert {pair.key: pair.value for pair in shown.values}["disabled_limits"] == "motor_hot"
    assert shown.level == b"\x01"
    client = rig.probe.create_client(SetParameters, "joint_command/set_parameters")
    rig.wait("the service", client.service_is_ready)
    value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=1e6)
    request = SetParameters.Request(parameters=[Parameter(name="control_rate", value=value)])
    (result,) = rig.result(client.call_async(request), "an answer").results
    assert not result.successful


def test_an_unknown_limit_is_refused(rig: Rig):
    process = rig.start("joint_command", disabled_limits="[gravity]")
    rig.wait("the node to end", lambda: process.poll() is not None)
    assert process.returncode == 1
    assert "'gravity'" in rig.log("joint_command")


def test_feet_and_motors_by_name(rig: Rig):
    statuses = standing(rig)
    motors = rig.probe.create_publisher(MotorTemperatures, "motor_temperatures", qos.STATE)
    feet = rig.probe.create_publisher(FootContacts, "foot_contacts", qos.STATE)

    def hot() -> bool:
        now = rig.probe.get_clock().now().to_msg()
        contacts = FootContacts(name=list(reversed(ROBOT.feet)), force=[40.0] * 4)
        temperatures = MotorTemperatures(name=list(reversed(ROBOT.joint_names)), temperature=[30.0] * 11 + [109.0])
        contacts.header.stamp = temperatures.header.stamp = now
        feet.publish(contacts)
        motors.publish(temperatures)
        rig.spin(0.05)
        return "motor_hot" in statuses[-1][1].event_reasons

    rig.wait("the hot motor to be noticed", hot)
    assert "no_foot_contact" not in statuses[-1][1].event_reasons
    assert ROBOT.joint_names[0] in statuses[-1][1].reason
