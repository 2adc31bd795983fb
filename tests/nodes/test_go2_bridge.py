"""go2_bridge over real DDS, against the stand-in of go2_wire.py and against messages made here."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from jepa_ros_msgs.msg import FootContacts, MotorTemperatures
from sensor_msgs.msg import Imu, JointState
from std_msgs.msg import Bool, UInt8MultiArray
from std_srvs.srv import Trigger
from unitree_go.msg import LowState

from jepa_ros.robots import load_robot
from jepa_ros.unitree.crc import crc32_words
from jepa_ros.unitree.low_state import LOW_STATE, LOW_STATE_WIRE
from jepa_ros.unitree.motors import GO2_MOTORS
from jepa_ros.unitree.remote import Button, Remote, write_remote
from jepa_ros_nodes import qos

pytestmark = pytest.mark.dds
ROBOT = load_robot("go2")


def start_robot(rig, tmp_path, **parameters):
    command = [sys.executable, str(Path(__file__).parent / "go2_wire.py"), "--ros-args"]
    for name, value in parameters.items():
        command += ["-p", f"{name}:={value!r}"]
    log = (tmp_path / "go2_wire.log").open("w")
    rig.processes["go2_wire"] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def bridge_values(rows):
    """What the bridge reported last."""
    found = [status.values for _, array in rows for status in array.status if status.name == "go2_bridge"]
    return {pair.key: pair.value for pair in found[-1]} if found else {}


def state(tick, crc=0, **motors):
    record, data = LOW_STATE_WIRE.new()
    record["tick"] = tick
    for name, q in motors.items():
        record["motor"]["q"][GO2_MOTORS.index(name)] = q
    record["crc"] = crc32_words(data[: LOW_STATE.itemsize - 4]) + crc
    return LOW_STATE_WIRE.encode(data)


def test_a_standing_robot_is_heard_by_name_and_its_motors_are_freed_only_lying(rig, tmp_path):
    joints = rig.listen(JointState, "joint_states", qos.SENSOR)
    imu = rig.listen(Imu, "imu", qos.SENSOR)
    feet = rig.listen(FootContacts, "foot_contacts", qos.SENSOR)
    warm = rig.listen(MotorTemperatures, "motor_temperatures", qos.SENSOR)
    ready = rig.listen(Bool, "low_level_ready", qos.LATCHED)
    release = rig.probe.create_client(Trigger, "go2_bridge/release")
    start_robot(rig, tmp_path)
    rig.start("unitree.bridge", rate=250.0)
    rig.wait("a second of states", lambda: len(joints) > 200 and feet and warm and ready)

    message = joints[-1][1]
    assert message.name == list(ROBOT.joint_names)
    assert list(message.position) == pytest.approx(ROBOT.stance("stand").tolist(), abs=0.15)
    turn = imu[-1][1].orientation
    assert abs(turn.w) == pytest.approx(1.0, abs=0.02)
    assert feet[-1][1].name == ROBOT.feet
    assert list(feet[-1][1].force) == [40.0] * 4
    assert list(warm[-1][1].temperature) == [35.0] * 12
    ages = sorted(at - (m.header.stamp.sec + m.header.stamp.nanosec * 1e-9) for at, m in joints[-200:])
    print(f"\nreceipt at the bridge to receipt here: median {ages[100] * 1e3:.1f} ms")  # noqa: T201
    assert 0.0 <= ages[100] < 0.05
    assert [row[1].data for row in ready] == [False]

    rig.wait("the service", release.service_is_ready)
    answer = rig.result(release.call_async(Trigger.Request()), "the release", 40.0)
    assert answer.success, answer.message
    rig.wait("free motors", lambda: ready[-1][1].data)
    seen = len(joints)
    rig.wait("newer states", lambda: len(joints) > seen + 20)
    assert list(joints[-1][1].position) == pytest.approx(ROBOT.stance("sit").tolist(), abs=0.6)


def test_the_remote_is_stop_and_deadman_until_the_robot_falls_silent(rig, tmp_path):
    stop = rig.listen(Bool, "stop", qos.DIAGNOSTICS)
    deadman = rig.listen(Bool, "deadman", qos.SENSOR)
    walk: list[float] = []

    def on_walk(_, answer):
        walk.append(time.time())
        answer.success = True
        return answer

    rig.probe.create_service(Trigger, "joint_command/walk", on_walk)
    remote = rig.probe.create_publisher(UInt8MultiArray, "go2_wire/remote", qos.STATE)

    def press(buttons):
        remote.publish(UInt8MultiArray(data=write_remote(Remote(Button(buttons), 0.0, 0.0, 0.0, 0.0))))

    start_robot(rig, tmp_path, posture="sit", mode="")
    rig.start("unitree.bridge", rate=250.0)
    rig.wait("the deadman", lambda: deadman and remote.get_subscription_count())
    assert not deadman[-1][1].data
    press(Button.R1)
    rig.wait("the deadman held", lambda: deadman[-1][1].data)
    press(Button.R1 | Button.L1 | Button.X)
    rig.wait("the call", lambda: walk)
    press(Button.R1 | Button.B)
    rig.wait("the stop", lambda: stop and stop[-1][1].data)
    press(Button.R1)
    rig.wait("its end", lambda: not stop[-1][1].data)
    assert len(walk) == 1
    assert deadman[-1][1].data
    at = rig.kill("go2_wire")
    rig.wait("the deadman released", lambda: not deadman[-1][1].data)
    released = next(when for when, message in deadman if when > at and not message.data)
    print(f"\nrobot silent to deadman released: {(released - at) * 1e3:.0f} ms")  # noqa: T201
    assert released - at < 0.3


def test_damaged_and_repeated_states_are_counted_and_not_passed_on(rig):
    joints = rig.listen(JointState, "joint_states", qos.SENSOR)
    reports = rig.listen(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
    send = rig.probe.create_publisher(LowState, "lowstate", qos.DIAGNOSTICS)
    rig.start("unitree.bridge", rate=250.0)
    rig.wait("the bridge", lambda: send.get_subscription_count() and bridge_values(reports))
    for tick, crc, q in ((100, 0, 0.1), (102, 1, 0.2), (108, 0, 0.3), (108, 0, 0.4), (106, 0, 0.5)):
        send.publish(state(tick, crc, FL_hip_joint=q))
        rig.spin(0.1)
    rig.wait("its report", lambda: bridge_values(reports).get("repeated") == "2")
    values = bridge_values(reports)
    assert {name: values[name] for name in ("states", "refused", "lost")} == {
        "states": "2",
        "refused": "1",
        "lost": "3",
    }
    assert [round(m.position[0], 3) for _, m in joints] == [0.1, 0.3]
    assert "CRC" in rig.log("unitree.bridge")
