"""LowCmd and the sport service as what sends to a Go2, over real DDS."""

from __future__ import annotations

import json

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from std_msgs.msg import Bool
from unitree_api.msg import Request
from unitree_go.msg import LowCmd

from jepa_ros.errors import RobotError
from jepa_ros.robots import load_robot
from jepa_ros.types import JointCommand
from jepa_ros_nodes import qos
from jepa_ros_nodes.conversions import stamp
from jepa_ros_nodes.outputs.low_command import LowCommandOutput
from jepa_ros_nodes.outputs.sport import SportOutput

pytestmark = pytest.mark.dds
ROBOT = load_robot("go2")
ZERO = np.zeros(12)
STAND = JointCommand(ROBOT.stance("stand"), ZERO, ZERO, np.full(12, 60.0), np.full(12, 5.0))
DAMP = JointCommand(ROBOT.stance("stand"), ZERO, ZERO, ZERO, np.full(12, 3.0))
NOW = Time()


@pytest.fixture
def low(rig):
    output = LowCommandOutput(rig.probe, ROBOT)
    output.heard = rig.listen(LowCmd, "lowcmd", qos.RECENT)
    output.ready = rig.probe.create_publisher(Bool, "low_level_ready", qos.LATCHED)
    rig.wait("the match", lambda: rig.probe.count_subscribers("lowcmd") and output.ready.get_subscription_count())
    yield output
    output.close()


def tell(rig, output, ready):
    """Whether the motors are free, and wait until the output has heard it."""
    was = output.refusal()
    output.ready.publish(Bool(data=ready))
    rig.wait("the output to hear", lambda: output.refusal() != was)


def test_nothing_is_sent_before_the_motors_are_free(rig, low):
    assert "go2_bridge" in low.refusal()
    tell(rig, low, False)
    assert "go2_bridge/release" in low.refusal()
    low.send(NOW, STAND, None)
    low.damp(NOW, DAMP)
    tell(rig, low, True)
    assert low.refusal() is None
    low.send(NOW, STAND, None)
    rig.wait("a command", lambda: low.heard)
    rig.spin(0.2)
    assert len(low.heard) == 1


def test_damping_is_sent_while_nobody_says_who_has_the_motors(rig, low):
    low.damp(NOW, DAMP)
    rig.wait("damping", lambda: low.heard)
    motors = low.heard[0][1].motor_cmd[:12]
    assert {motor.kp for motor in motors} == {0.0}
    assert {motor.kd for motor in motors} == {3.0}


def test_unitrees_message_says_what_was_sent(rig, low):
    tell(rig, low, True)
    low.send(NOW, STAND, None)
    rig.wait("a command", lambda: low.heard)
    message = low.heard[0][1]
    for name, motor in zip(ROBOT.output.motors, message.motor_cmd[:12], strict=True):
        assert motor.q == pytest.approx(ROBOT.stances["stand"][name])
        assert (motor.mode, motor.dq, motor.tau, motor.kp, motor.kd) == (1, 0.0, 0.0, 60.0, 5.0)
    assert all(motor.q == pytest.approx(2.146e9) and motor.dq == 16000.0 for motor in message.motor_cmd[12:])
    assert (list(message.head), message.level_flag, message.crc) == ([0xFE, 0xEF], 0xFF, 0x8FE6977E)


def test_what_is_not_a_number_becomes_damping(rig, low):
    tell(rig, low, True)
    low.send(NOW, JointCommand(np.full(12, np.nan), ZERO, ZERO, ZERO, ZERO), None)
    rig.wait("damping", lambda: low.heard)
    motors = low.heard[0][1].motor_cmd[:12]
    assert {(motor.kp, motor.kd) for motor in motors} == {(0.0, 3.0)}
    assert all(np.isfinite(motor.q) for motor in motors)


def test_no_command_is_no_message(rig, low):
    tell(rig, low, True)
    low.send(NOW, None, None)
    low.send(NOW, STAND, None)
    rig.wait("a command", lambda: low.heard)
    rig.spin(0.2)
    assert len(low.heard) == 1


def test_an_output_of_another_kind_is_refused(rig):
    with pytest.raises(RobotError, match="low_command"):
        LowCommandOutput(rig.probe, ROBOT.with_output("sport"))
    with pytest.raises(RobotError, match="sport"):
        SportOutput(rig.probe, ROBOT)


@pytest.fixture
def sport(rig):
    output = SportOutput(rig.probe, ROBOT.with_output("sport"))
    output.heard = rig.listen(Request, "api/sport/request", qos.RECENT)
    rig.wait("the match", lambda: rig.probe.count_subscribers("api/sport/request"))
    return output


def asked(output):
    return [message.header.identity.api_id for _, message in output.heard]


def test_a_motion_is_moves_at_the_rate_of_the_file_and_three_stops(rig, sport):
    for tick in range(100):  # 1 s at 100 Hz
        sport.send(stamp(10.0 + tick * 0.01), STAND, np.array([0.3, -0.1, 0.5]))
        rig.spin(0.002)  # a publisher that keeps its last message only must have sent the one before
    rig.wait("moves", lambda: len(sport.heard) >= 17)
    for tick in range(200):
        sport.send(stamp(11.0 + tick * 0.01), STAND, None)
    rig.wait("stops", lambda: 1003 in asked(sport))
    rig.spin(0.3)
    found = asked(sport)
    assert 17 <= found.count(1008) <= 20
    assert found[found.index(1003) :] == [1003] * 3
    first = sport.heard[0][1]
    assert json.loads(first.parameter) == {"x": 0.3, "y": -0.1, "z": 0.5}
    assert first.header.policy.noreply
    numbers = [message.header.identity.id for _, message in sport.heard]
    assert len(set(numbers)) == len(numbers)


def test_a_dog_that_was_not_moved_is_not_stopped(rig, sport):
    sport.send(stamp(10.0), STAND, None)
    sport.sink(stamp(10.1))
    rig.wait("damping", lambda: sport.heard)
    sport.send(stamp(11.0), STAND, None)
    rig.spin(0.2)
    assert asked(sport) == [1001]


def test_a_velocity_that_is_not_a_number_stops(rig, sport):
    sport.send(stamp(10.0), STAND, np.array([0.3, 0.0, 0.0]))
    sport.send(stamp(10.01), STAND, np.array([np.nan, 0.0, 0.0]))
    rig.wait("the stop", lambda: len(sport.heard) == 2)
    assert asked(sport) == [1008, 1003]


def test_a_gait_that_nobody_commands_is_stopped_for_a_second_and_not_dropped(rig, sport):
    def die(begin):
        for tick in range(300):  # 3 s at 100 Hz
            sport.damp(stamp(begin + tick * 0.01), DAMP)
            rig.spin(0.001)

    die(10.0)
    rig.wait("stops", lambda: len(sport.heard) >= 5)
    rig.spin(0.2)
    assert asked(sport) == [1003] * 5
    sport.send(stamp(20.0), None, None)
    die(20.1)
    rig.wait("stops again", lambda: len(sport.heard) >= 10)
    assert asked(sport) == [1003] * 10
