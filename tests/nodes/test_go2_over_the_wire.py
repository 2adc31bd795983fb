"""From a Go2 under its own gait to one that stands by our joint commands, all of it over LowState and LowCmd."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from jepa_ros_msgs.msg import ActionChunk, SafetyStatus
from rclpy.duration import Duration
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Bool, Float64MultiArray, UInt8MultiArray, UInt32MultiArray
from std_srvs.srv import Trigger
from unitree_go.msg import LowCmd

from jepa_ros.messages import imu_from
from jepa_ros.robots import load_robot
from jepa_ros.unitree.remote import Button, Remote, write_remote
from jepa_ros_nodes import qos

from .test_go2_bridge import start_robot

pytestmark = [pytest.mark.dds, pytest.mark.slow]
ROBOT = load_robot("go2")


def plan(node, velocity):
    """Body velocity vx, vy, wz for the next 0.4 s, as if planned on an image of now."""
    now = node.get_clock().now()
    message = ActionChunk(names=["vx", "vy", "wz"], units=["m/s", "m/s", "rad/s"], step=0.2, steps=2)
    message.header.stamp = message.observed = now.to_msg()
    message.valid_until = (now + Duration(seconds=0.8)).to_msg()
    message.values, message.goal_id = [*velocity, *velocity], [1] * 16
    return message


def caller(rig):
    """Calls a `Trigger` service by name."""

    def call(service):
        client = rig.probe.create_client(Trigger, service)
        rig.ready(client, service)
        return rig.result(client.call_async(Trigger.Request()), service, 40.0)

    return call


def stand_up(rig, status):
    """Have the dog stand. A machine that is busy with other things stalls the loop, which damps: then once more."""
    call = caller(rig)
    for _ in range(5):
        rig.wait("leave to stand", lambda: call("joint_command/stand").success)
        status.clear()  # of before
        rig.wait("the dog standing", lambda: status and status[-1][1].state in ("stand", "damp"))
        if status[-1][1].state == "stand":
            return
        rig.wait("recovery", lambda: call("joint_command/recover").success)
    pytest.fail(f"five tries, and damped by {status[-1][1].reason}")


def test_the_dog_is_released_stands_up_walks_and_is_damped_by_the_remote(rig, tmp_path):
    joints = rig.listen(JointState, "joint_states", qos.SENSOR)
    imu = rig.listen(Imu, "imu", qos.SENSOR)
    status = rig.listen(SafetyStatus, "safety_status", qos.RECENT)
    counts = rig.listen(UInt32MultiArray, "go2_wire/counts", qos.SENSOR)
    truth = rig.listen(Float64MultiArray, "go2_wire/truth", qos.SENSOR)
    plans = rig.probe.create_publisher(ActionChunk, "plan", qos.COMMAND)
    commands = rig.listen(LowCmd, "lowcmd", qos.SENSOR)
    remote = rig.probe.create_publisher(UInt8MultiArray, "go2_wire/remote", qos.STATE)

    call = caller(rig)

    def press(buttons):
        remote.publish(UInt8MultiArray(data=write_remote(Remote(Button(buttons), 0.0, 0.0, 0.0, 0.0))))

    def state():
        return status[-1][1].state if status else ""

    start_robot(rig, tmp_path)
    rig.start("unitree.bridge", rate=250.0)
    rig.start("joint_command", robot="go2", control_rate=100.0)
    rig.wait("states and status", lambda: joints and status and counts)

    rig.wait("the refusal", lambda: "go2_bridge/release" in call("joint_command/stand").message)
    assert call("go2_bridge/release").success
    stand_up(rig, status)
    rig.spin(1.0)

    assert np.abs(np.array(joints[-1][1].position) - ROBOT.stance("stand")).max() < 0.15
    assert imu_from(imu[-1][1]).gravity_direction() == pytest.approx([0.0, 0.0, -1.0], abs=0.1)
    done, refused, unheard = counts[-1][1].data
    print(f"\nLowCmd carried out: {done}; refused {refused}; while the gait had the motors {unheard}")  # noqa: T201
    assert done > 50
    assert (refused, unheard) == (0, 0)

    x, y, *_ = truth[-1][1].data
    press(Button.L1 | Button.X)
    rig.wait("leave to walk", lambda: status[-1][1].motion_allowed)
    for _ in range(25):  # 5 s of plans
        plans.publish(plan(rig.probe, [0.4, 0.0, 0.0]))
        rig.spin(0.2)
    far = float(np.hypot(truth[-1][1].data[0] - x, truth[-1][1].data[1] - y))
    tilt = max(message.data[3] for _, message in truth)
    print(f"walked {far:.2f} m in 5 s, largest tilt {tilt:.2f} rad; counts {list(counts[-1][1].data)}")  # noqa: T201
    assert far > 0.4
    assert tilt < 1.0, "it fell"

    press(Button.L2 | Button.B)
    rig.wait("damp", lambda: state() == "damp")
    rig.wait("soft motors", lambda: {motor.kp for motor in commands[-1][1].motor_cmd[:12]} == {0.0})
    assert all(motor.kd > 0 for motor in commands[-1][1].motor_cmd[:12])
    press(0)
    rig.spin(0.5)
    press(Button.L1 | Button.A)
    rig.spin(1.0)
    assert state() == "damp", "damp latches: an operator has to recover first"


def test_a_signal_to_every_node_at_once_lays_the_dog_down(rig, tmp_path):
    joints = rig.listen(JointState, "joint_states", qos.SENSOR)
    status = rig.listen(SafetyStatus, "safety_status", qos.RECENT)
    ready = rig.listen(Bool, "low_level_ready", qos.LATCHED)
    start_robot(rig, tmp_path, posture="sit", mode="")
    nodes = [
        rig.start("unitree.bridge", rate=250.0),
        rig.start("joint_command", robot="go2", control_rate=100.0),
    ]
    rig.wait("the motors free", lambda: ready and ready[-1][1].data and status)
    seen = len(joints)
    rig.wait("a second of states", lambda: len(joints) > seen + 200)  # three processes have come up by then
    stand_up(rig, status)
    for node in nodes:
        node.send_signal(signal.SIGINT)
    rig.wait("their end", lambda: all(node.poll() is not None for node in nodes), 20.0)
    rig.spin(0.5)
    assert [node.returncode for node in nodes] == [0, 0]
    assert status[-1][1].state == "sit"
    assert np.abs(np.array(joints[-1][1].position) - ROBOT.stance("sit")).max() < 0.3
