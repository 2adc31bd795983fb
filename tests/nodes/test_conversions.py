"""Messages to values and back; joints by name in any order."""

from __future__ import annotations

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from hypothesis import given
from hypothesis import strategies as st
from jepa_ros_msgs.msg import ActionChunk
from jepa_ros_msgs.msg import JointCommand as CommandMessage
from sensor_msgs.msg import CompressedImage, Imu, JointState

from jepa_ros.errors import ImageError, RobotError
from jepa_ros.messages import JointOrder, chunk_from, image_view, imu_from, seconds
from jepa_ros.robots import load_robot
from jepa_ros.types import JointCommand
from jepa_ros_nodes.conversions import doubles, fill_chunk, fill_joint_command, image_to_message, stamp

ROBOT = load_robot("go2")
NAMES = list(ROBOT.joint_names)


@given(st.floats(0, 2**31 - 1, allow_nan=False))
def test_times_survive_to_the_microsecond(at):
    assert seconds(stamp(at)) == pytest.approx(at, abs=1e-6)


@pytest.mark.parametrize("at", [-1.0, float("nan"), float("inf"), 2.0**40])
def test_a_time_that_is_none_becomes_zero(at):
    assert stamp(at) == Time()


def test_an_image_there_and_back():
    rgb = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    message = image_to_message(rgb, Time(sec=3), "camera")
    assert (message.encoding, message.step, message.header.frame_id) == ("rgb8", 18, "camera")
    np.testing.assert_array_equal(image_view(message), rgb)
    np.testing.assert_array_equal(image_view(image_to_message(rgb[:, ::-1])), rgb[:, ::-1])


def test_a_broken_jpeg():
    with pytest.raises(ImageError, match="not a whole JPEG"):
        image_view(CompressedImage(format="jpeg", data=[1, 2, 3]))


def chunk_message(**fields):
    values = {"names": ["vx", "wz"], "step": 0.2, "steps": 1, "values": [1.0, 2.0], "goal_id": [7] * 16, **fields}
    return ActionChunk(**values)


def test_a_plan_there_and_back():
    message = chunk_message(steps=2, values=[1.0, 2.0, 3.0, 4.0])
    message.header.stamp, message.observed, message.valid_until = Time(sec=10), Time(sec=9), Time(sec=11)
    chunk = chunk_from(message)
    assert (chunk.start, chunk.observed, chunk.valid_until, chunk.goal) == (10.0, 9.0, 11.0, bytes([7] * 16))
    np.testing.assert_array_equal(chunk.values, [[1, 2], [3, 4]])
    again = ActionChunk()
    fill_chunk(again, chunk)
    assert again == message


@pytest.mark.parametrize("fields", [{"values": [1.0, 2.0, 3.0]}, {"names": []}, {"steps": 3}])
def test_a_plan_whose_values_do_not_make_its_steps(fields):
    with pytest.raises(RobotError, match=r"values do not make \d steps of \d actions"):
        chunk_from(chunk_message(**fields))


def joint_state(names, **arrays):
    return JointState(name=names, **{key: list(map(float, value)) for key, value in arrays.items()})


def test_joints_are_matched_by_name():
    mixed = ["head", *reversed(NAMES)]
    state = JointOrder(ROBOT).joint_state(joint_state(mixed, position=range(13), velocity=range(100, 113)))
    np.testing.assert_array_equal(state.position, range(12, 0, -1))
    np.testing.assert_array_equal(state.velocity, range(112, 100, -1))
    assert not state.effort.any()


def test_a_driver_may_change_its_order():
    order = JointOrder(ROBOT)
    order.joint_state(joint_state(NAMES, position=range(12), velocity=range(12)))
    again = order.joint_state(joint_state(NAMES[::-1], position=range(12), velocity=range(12)))
    np.testing.assert_array_equal(again.position, range(11, -1, -1))


def test_a_missing_joint_is_named():
    with pytest.raises(RobotError, match=NAMES[3]):
        JointOrder(ROBOT).joint_state(joint_state(NAMES[:3] + NAMES[4:], position=range(11)))


def test_an_array_of_another_length():
    with pytest.raises(RobotError, match=r"joint_states\.position has 11 entries for 12 names"):
        JointOrder(ROBOT).joint_state(joint_state(NAMES, position=range(11)))


def test_a_refused_message_leaves_no_order_behind():
    order = JointOrder(ROBOT)
    for _ in range(2):
        with pytest.raises(RobotError):
            order.joint_state(joint_state(NAMES[1:], position=range(11)))


def command_message():
    fields = (np.arange(12.0) + offset for offset in (0, 20, 40, 60, 80))
    message = CommandMessage(name=NAMES)
    fill_joint_command(message, JointCommand(*fields))
    return message


def test_a_command_there_and_back():
    found = JointOrder(ROBOT).joint_command(command_message())
    np.testing.assert_array_equal(found.position, np.arange(12.0))
    np.testing.assert_array_equal(found.kd, np.arange(12.0) + 80)


@pytest.mark.parametrize("field", ["position", "velocity", "effort", "kp", "kd"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_command_that_is_not_a_number_is_refused(field, value):
    message = command_message()
    getattr(message, field)[5] = value
    with pytest.raises(RobotError, match="not a number"):
        JointOrder(ROBOT).joint_command(message)


def test_doubles_keep_every_bit():
    values = np.array([0.1, np.nan, -np.inf])
    np.testing.assert_array_equal(np.array(doubles(values)), values)


def test_inertial_values_keep_their_order():
    message = Imu()
    message.orientation.x, message.orientation.w = 0.6, 0.8
    message.angular_velocity.z, message.linear_acceleration.y = 3.0, 4.0
    found = imu_from(message)
    np.testing.assert_array_equal(found.angular_velocity, [0, 0, 3])
    np.testing.assert_array_equal(found.orientation, [0.6, 0, 0, 0.8])
    np.testing.assert_array_equal(found.linear_acceleration, [0, 4, 0])
