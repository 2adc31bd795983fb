"""What each output puts on the wire, and when it keeps silent: real publishers and subscriptions over DDS."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Twist, TwistStamped
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from jepa_ros.messages import seconds
from jepa_ros.robots import load_robot
from jepa_ros.robots.outputs import CmdVelSpec
from jepa_ros.safety.watchdog import damping_command
from jepa_ros.types import JointCommand
from jepa_ros_nodes import qos
from jepa_ros_nodes.conversions import stamp
from jepa_ros_nodes.outputs.cmd_vel import CmdVelOutput
from jepa_ros_nodes.outputs.factory import make_output
from jepa_ros_nodes.outputs.trajectory import Stretches
from jepa_ros_nodes.outputs.velocities import HeldVelocity

from .conftest import Rig

GO2 = load_robot("go2")
ZERO = np.zeros(12)


def targets(position: np.ndarray) -> JointCommand:
    return JointCommand(position, ZERO, ZERO, np.full(12, 20.0), np.full(12, 0.5))


def state(position: np.ndarray, names: list[str]) -> JointState:
    order = [GO2.joint_names.index(name) for name in names]
    return JointState(name=names, position=position[order].tolist(), velocity=[0.0] * len(names))


@pytest.mark.dds
def test_forward_command_waits_for_every_joint_and_keeps_its_order(rig: Rig, tmp_path: Path):
    order = list(reversed(GO2.joint_names))
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"extends: go2\nname: mine\noutput: {{kind: forward_command, joints: {order}, check_order: false}}\n"
    )
    output = make_output(rig.probe, load_robot(path))
    heard = rig.listen(Float64MultiArray, "forward_position_controller/commands", qos.STATE)
    states = rig.probe.create_publisher(JointState, "joint_states", qos.STATE)
    position = GO2.stance("stand") + np.arange(12) * 1e-3
    output.send(Time(), targets(position), None)
    assert "no joint_states came yet" in output.refusal()
    rig.wait("a joint that is missing to be noticed", lambda: said(rig, states, output, "RR_calf_joint is missing", 11))
    output.send(Time(), targets(position), None)
    rig.spin(0.3)
    assert not heard
    rig.wait("all joints to be seen", lambda: said(rig, states, output, None, 12))
    rig.wait("commands", lambda: (output.send(Time(), targets(position), None), heard)[1])
    assert dict(zip(order, heard[-1][1].data, strict=True)) == dict(zip(GO2.joint_names, position, strict=True))


def said(rig: Rig, states, output, sentence: str | None, count: int) -> bool:
    """Publish a joint state of the first `count` joints; whether the output says so."""
    states.publish(state(GO2.stance("sit"), list(GO2.joint_names)[:count]))
    found = output.refusal()
    return found is None if sentence is None else found is not None and sentence in found


@pytest.mark.dds
def test_positions_without_gains_hold_where_they_were_measured(rig: Rig):
    robot = GO2.with_output("trajectory")
    output = make_output(rig.probe, robot)
    heard = rig.listen(JointTrajectory, "joint_trajectory_controller/joint_trajectory", qos.RECENT)
    states = rig.probe.create_publisher(JointState, "joint_states", qos.STATE)
    rig.wait("all joints to be seen", lambda: said(rig, states, output, None, 12))
    at = iter(np.arange(100.0, 200.0, 0.01))

    def damp() -> bool:
        output.damp(stamp(next(at)), damping_command(robot))
        return len(heard) > 2

    rig.wait("the joints to be held", damp)
    for _, message in heard:
        assert list(message.joint_names) == list(GO2.joint_names)
        for point in message.points:
            np.testing.assert_allclose(point.positions, GO2.stance("sit"))
            np.testing.assert_array_equal(point.velocities, 0.0)


@pytest.mark.dds
def test_trajectories_are_continuous_across_messages(rig: Rig):
    robot = GO2.with_output("trajectory")
    output = make_output(rig.probe, robot)
    heard = rig.listen(JointTrajectory, "joint_trajectory_controller/joint_trajectory", qos.RECENT)
    states = rig.probe.create_publisher(JointState, "joint_states", qos.STATE)
    rig.wait("all joints to be seen", lambda: said(rig, states, output, None, 12))
    stand = GO2.stance("stand")
    for tick in range(200):
        output.send(stamp(100.0 + tick * 0.002), targets(stand + 0.1 * np.sin(tick * 0.01)), None)
        rig.spin(0.002)
    rig.wait("messages", lambda: len(heard) >= 5)
    messages = [message for _, message in heard]
    for before, after in pairwise(messages):
        first, last = after.points[0], before.points[-1]
        assert seconds(after.header.stamp) == pytest.approx(seconds(before.header.stamp) + 0.04, abs=1e-6)
        np.testing.assert_array_equal(first.positions, last.positions)
        np.testing.assert_array_equal(first.velocities, last.velocities)


@given(
    st.lists(st.tuples(st.floats(-0.1, 0.3), st.floats(-2.0, 2.0)), min_size=2, max_size=40),
)
def test_stretches_join_and_stay_in_range_whatever_the_targets_and_the_clock(ticks: list[tuple[float, float]]):
    made, now, end = Stretches(GO2, 0.04), 100.0, None
    for step, offset in ticks:
        now += step
        target = np.clip(GO2.stance("stand") + offset, GO2.lower, GO2.upper)
        found = made.next(now, target)
        if found is None:
            continue
        begin, start, stop = found
        if end is not None and begin == pytest.approx(end[0]):
            np.testing.assert_array_equal(start[0], end[1][0])
            np.testing.assert_array_equal(start[1], end[1][1])
        else:
            np.testing.assert_array_equal(start[1], 0.0)
        assert (np.abs(stop[1]) <= GO2.velocity_limits).all()
        assert not stop[1][(stop[0] <= GO2.lower) | (stop[0] >= GO2.upper)].any()
        end = (begin + 0.04, stop)


@pytest.mark.dds
@pytest.mark.parametrize("stamped", [True, False])
def test_cmd_vel_keeps_its_rate_and_stops_at_once(rig: Rig, stamped: bool):
    output = CmdVelOutput(rig.probe, CmdVelSpec(stamped=stamped))
    heard = rig.listen(TwistStamped if stamped else Twist, "cmd_vel", qos.RECENT)
    rig.wait("a listener", lambda: rig.probe.count_subscribers("cmd_vel"))
    rig.spin(0.5)
    walk = targets(GO2.stance("stand"))
    output.send(stamp(9.9), None, None)  # passive: a gamepad may drive
    for tick in range(500):
        output.send(stamp(10.0 + tick * 0.002), walk, np.array([0.3, 0.0, -0.2]))
    output.send(stamp(11.0), walk, None)
    output.damp(stamp(11.002), damping_command(GO2))
    rig.wait("the stop", lambda: heard and twist(heard[-1][1]).linear.x == 0.0)
    assert len(heard) == 21  # 1 s at 20 Hz, and one stop
    assert twist(heard[3][1]).linear.x == 0.3
    assert twist(heard[3][1]).angular.z == -0.2


@pytest.mark.dds
def test_cmd_vel_of_a_dead_commander_stops_for_a_second_and_leaves_the_gamepad_alone(rig: Rig):
    output = CmdVelOutput(rig.probe, CmdVelSpec())
    heard = rig.listen(TwistStamped, "cmd_vel", qos.RECENT)
    rig.wait("a listener", lambda: rig.probe.count_subscribers("cmd_vel"))
    for tick in range(300):
        output.damp(stamp(10.0 + tick * 0.01), damping_command(GO2))
        rig.spin(0.001)
    rig.wait("stops", lambda: len(heard) >= 16)
    rig.spin(0.2)
    stops = len(heard)
    assert stops <= 20  # 1 s at 20 Hz, each up to a tick late
    assert not any(twist(message).linear.x for _, message in heard)
    output.send(stamp(20.0), None, None)
    output.damp(stamp(21.0), damping_command(GO2))
    rig.wait("a stop after the next death", lambda: len(heard) == stops + 1)


def twist(message: TwistStamped | Twist) -> Twist:
    return message.twist if isinstance(message, TwistStamped) else message


def test_the_last_velocity_holds_between_the_ticks_of_the_motion():
    held = HeldVelocity(["wz", "vx"])
    assert held.update(True, None) is None
    np.testing.assert_array_equal(held.update(True, np.array([0.5, 0.2])), [0.2, 0.0, 0.5])
    np.testing.assert_array_equal(held.update(True, None), [0.2, 0.0, 0.5])
    assert held.update(False, None) is None
    assert held.update(True, None) is None
