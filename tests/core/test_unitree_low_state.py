"""LowState: a real one's CRC, joints by name, damaged bytes, the robot's clock."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from jepa_ros.errors import WireError
from jepa_ros.robots import load_robot
from jepa_ros.unitree.crc import crc32_words
from jepa_ros.unitree.low_state import LOW_STATE, LOW_STATE_WIRE, LowStateReader, TickWatch
from jepa_ros.unitree.motors import GO2_MOTORS

ROBOT = load_robot("go2")
REAL = json.loads((Path(__file__).parent / "golden" / "go2_low_state.json").read_text())


def reader():
    return LowStateReader(ROBOT.joint_names, GO2_MOTORS, ROBOT.feet)


def message(fill):
    record, data = LOW_STATE_WIRE.new()
    fill(record)
    record["crc"] = crc32_words(data[: LOW_STATE.itemsize - 4])
    return LOW_STATE_WIRE.encode(data)


def real(record):
    """The state of a standing Go2, as `ros2 topic echo` printed it."""
    for name in ("head", "foot_force", "tick", "bit_flag", "adc_reel", "temperature_ntc", "power"):
        record[name] = REAL[name]
    for name in ("quaternion", "gyroscope", "accelerometer", "rpy", "temperature"):
        record["imu"][name] = REAL["imu"][name]
    for name in ("q", "dq", "tau_est", "temperature", "lost"):
        record["motor"][name][:12] = REAL["motor"][name]
    record["motor"]["mode"][:12], record["motor"]["reserve"][:12] = 1, (0, 525)
    for name in ("version", "status", "soc", "current", "cycle", "ntc"):
        record["battery"][name] = REAL["battery"][name]
    record["battery"]["cell_vol"][:8] = REAL["battery"]["cell_vol"]


def test_the_crc_of_a_real_robots_state_is_right():
    assert LOW_STATE.itemsize == 1180
    record, data = LOW_STATE_WIRE.decode(message(real))
    assert record["crc"] == REAL["crc"] == crc32_words(data[:1176])


def test_a_real_robots_state_arrives_by_name():
    state = reader().read(message(real))
    at = {name: i for i, name in enumerate(ROBOT.joint_names)}
    assert state.joints.position[at["FR_calf_joint"]] == pytest.approx(-1.5252063)
    assert state.joints.position[at["FL_hip_joint"]] == pytest.approx(0.0373396)
    assert state.joints.effort[at["RL_calf_joint"]] == pytest.approx(9.9571581)
    assert state.temperature[at["RR_calf_joint"]] == 72
    assert dict(zip(ROBOT.feet, state.foot_force, strict=True)) == {
        "FR_foot": 16,
        "FL_foot": 29,
        "RR_foot": 33,
        "RL_foot": 13,
    }
    assert state.imu.orientation == pytest.approx([0.0117459, 0.0023463, -0.3133923, -0.9495482], abs=1e-6)
    assert state.imu.gravity_direction() == pytest.approx([0.0, 0.0, -1.0], abs=0.05)
    assert np.linalg.norm(state.imu.linear_acceleration) == pytest.approx(9.6, abs=0.1)
    assert (state.tick, state.battery, state.remote) == (5129489, 63, bytes(40))


@given(hn.arrays(np.float32, (3, 20)), hn.arrays(np.float32, 4))
def test_any_numbers_pass_as_they_are(motors, quaternion):
    def fill(record):
        for row, name in zip(motors, ("q", "dq", "tau_est"), strict=True):
            record["motor"][name] = row
        record["imu"]["quaternion"] = quaternion

    state = reader().read(message(fill))
    for i, name in enumerate(ROBOT.joint_names):
        slot = GO2_MOTORS.index(name)
        found = [state.joints.position[i], state.joints.velocity[i], state.joints.effort[i]]
        np.testing.assert_array_equal(found, motors[:, slot].astype(np.float64))
    np.testing.assert_array_equal(state.imu.orientation, quaternion[[1, 2, 3, 0]].astype(np.float64))


@given(st.integers(0, LOW_STATE_WIRE.size * 8 - 33))
def test_any_bit_that_changes_on_the_way_is_noticed_or_means_nothing(bit):
    whole = message(real)
    broken = bytearray(whole)
    broken[bit // 8] ^= 1 << bit % 8
    try:
        found = reader().read(bytes(broken))
    except WireError:
        return
    # padding, which carries nothing, or the second half of the header
    assert found.tick == 5129489
    assert LOW_STATE_WIRE.decode(bytes(broken))[1].tobytes() == LOW_STATE_WIRE.decode(whole)[1].tobytes()


@given(st.binary(max_size=1200) | st.integers(0, 1179).map(lambda n: message(real)[:n]))
def test_bytes_of_something_else_and_cut_ones_are_refused(data):
    with pytest.raises(WireError):
        reader().read(data)


def fresh(watch, ticks, began=0.0, period=0.002):
    return [watch.fresh(tick, began + period * i) for i, tick in enumerate(ticks)]


def test_ticks_tell_lost_and_repeated_messages_and_a_robot_that_began_anew():
    watch = TickWatch(2.0)
    assert fresh(watch, (100, 102, 102, 110, 108)) == [True, True, False, True, False]
    assert (watch.lost, watch.repeated, watch.restarts) == (3, 2, 0)
    assert fresh(watch, (5000,), 0.1) == [True]
    assert fresh(watch, (4, 6), 0.7) == [True, True], "it was silent before"
    assert watch.restarts == 1


def test_a_clock_far_back_is_believed_after_half_a_second_of_silence_or_fifty_states():
    watch = TickWatch(2.0)
    assert watch.fresh(5000, 0.0)
    assert not any(fresh(watch, range(4, 102, 2), 0.01))
    assert watch.fresh(102, 0.11)
    assert watch.restarts == 1


def test_two_robots_in_one_domain_are_not_heard_in_turn():
    watch = TickWatch(2.0)
    both = [tick for i in range(500) for tick in (100_000 + 2 * i, 7_000 + 2 * i)]
    assert fresh(watch, both, period=0.001) == [True, False] * 500
    assert (watch.restarts, watch.repeated) == (0, 500)


def test_the_robots_clock_may_wrap():
    watch = TickWatch(2.0)
    assert fresh(watch, (2**32 - 2, 0, 2)) == [True] * 3
    assert (watch.lost, watch.repeated, watch.restarts) == (0, 0, 0)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=20))
def test_any_ticks_are_taken(ticks):
    watch = TickWatch(2.0)
    assert sum(fresh(watch, ticks)) + watch.repeated == len(ticks)
    assert watch.lost >= 0
