"""LowCmd: the bytes of the standing posture, motors by name, nothing that is not a number."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from jepa_ros.errors import RobotError, WireError
from jepa_ros.robots import load_robot
from jepa_ros.types import JointCommand
from jepa_ros.unitree.crc import crc32_words
from jepa_ros.unitree.low_command import IGNORE_POSITION, LOW_COMMAND, LOW_COMMAND_WIRE, LowCommand
from jepa_ros.unitree.motors import GO2_MOTORS, foot_slots, slots

ROBOT = load_robot("go2")
GOLDEN = Path(__file__).parent / "golden" / "go2_low_command_stand.hex"
NUMBER = st.floats(-100, 100, width=32)


def standing():
    zero = np.zeros(12)
    return JointCommand(ROBOT.stance("stand"), zero, zero, np.full(12, 60.0), np.full(12, 5.0))


def low_command():
    return LowCommand(ROBOT.joint_names, ROBOT.output.motors)


def test_the_standing_posture_has_the_bytes_of_the_golden_file():
    command = low_command()
    command.encode(standing())
    # the head, a line for each of the 20 motors, the rest
    rows = [slice(0, 24), *(slice(i, i + 36) for i in range(24, 744, 36)), slice(744, 812)]
    found = "".join(command.packed()[row].hex(" ") + "\n" for row in rows)
    assert found == GOLDEN.read_text(), found


def test_the_struct_is_the_vendors():
    assert LOW_COMMAND.itemsize == 812
    assert [LOW_COMMAND.fields[name][1] for name in ("motor", "battery", "led", "reserve", "crc")] == [
        24,
        744,
        788,
        804,
        808,
    ]


def test_the_robot_file_has_the_motor_order_of_the_wire():
    assert tuple(ROBOT.output.motors) == GO2_MOTORS


@given(hn.arrays(np.float64, (5, 12), elements=NUMBER))
def test_every_joint_reaches_the_motor_of_its_name_and_nothing_else_moves(values):
    record, data = LOW_COMMAND_WIRE.decode(low_command().encode(JointCommand(*values)))
    for i, name in enumerate(ROBOT.joint_names):
        motor = record["motor"][GO2_MOTORS.index(name)]
        assert [motor[field] for field in ("q", "dq", "tau", "kp", "kd")] == values[:, i].astype(np.float32).tolist()
    assert (record["motor"]["mode"] == 1).all()
    unused = record["motor"][12:]
    assert (unused["q"] == np.float32(IGNORE_POSITION)).all()
    assert not unused["kp"].any()
    assert not unused["kd"].any()
    assert not unused["tau"].any()
    assert record["crc"] == crc32_words(data[:808])


@given(
    hn.arrays(np.float64, (5, 12), elements=NUMBER),
    st.integers(0, 59),
    st.sampled_from([np.nan, np.inf, -np.inf, 1e30, 16000.0]),
)
def test_what_is_not_a_number_or_means_something_else_is_refused(values, where, bad):
    values.flat[where] = bad
    with pytest.raises(RobotError, match="joint command"):
        low_command().encode(JointCommand(*values))


@given(st.binary(max_size=900))
def test_bytes_of_something_else_are_refused(data):
    if len(data) not in range(812, 816) or data[:2] != b"\x00\x01":
        with pytest.raises(WireError):
            LOW_COMMAND_WIRE.decode(data)


def test_motors_that_are_not_the_robots_are_refused():
    with pytest.raises(RobotError, match=r"output\.motors.*wheel"):
        slots(ROBOT.joint_names, [*GO2_MOTORS[:11], "wheel"])


def test_feet_are_found_by_the_name_of_their_leg():
    assert foot_slots(ROBOT.feet, GO2_MOTORS).tolist() == [1, 0, 3, 2]
    with pytest.raises(RobotError, match="tail"):
        foot_slots(["tail_foot"], GO2_MOTORS)


def test_a_command_is_made_in_a_small_part_of_the_2_ms_between_two():
    command, targets, took = low_command(), standing(), []
    for _ in range(300):
        began = time.perf_counter()
        command.encode(targets)
        took.append(time.perf_counter() - began)
    print(f"\nLowCmd, filled, summed and serialised: median {np.median(took) * 1e3:.4f} ms")  # noqa: T201
    assert np.median(took) < 0.3e-3
