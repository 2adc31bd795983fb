"""The command watchdog: silent while commands flow, damping within 50 ms of silence, never first."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jepa_ros.safety import CommandWatchdog, SafetyFilter, damping_command
from jepa_ros.types import JointState

from .safety_rig import GO2, Rig, is_damping, tilted


def test_silent_before_the_first_command():
    watchdog = CommandWatchdog(GO2)
    assert all(watchdog.update(t) is None for t in (0.0, 1.0, 1e6))
    assert watchdog.trips == 0


def test_damps_after_fifty_milliseconds_until_commands_flow_again():
    watchdog = CommandWatchdog(GO2)
    watchdog.on_command(10.0)
    assert watchdog.update(10.049) is None
    assert is_damping(watchdog.update(10.051))
    assert is_damping(watchdog.update(11.0))
    assert (watchdog.damping, watchdog.trips) == (True, 1)
    watchdog.on_command(11.01)
    assert watchdog.update(11.02) is None
    assert not watchdog.damping
    assert watchdog.update(11.055) is None
    assert is_damping(watchdog.update(11.065))
    assert watchdog.trips == 2


@given(
    commands=st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=6),
    now=st.floats(allow_nan=True, allow_infinity=True),
)
def test_any_times_give_silence_or_damping(commands: list[float], now: float):
    watchdog = CommandWatchdog(GO2)
    for t in commands:
        watchdog.on_command(t)
    command = watchdog.update(now)
    finite = [t for t in commands if np.isfinite(t)]
    if not finite:
        assert command is None
    elif not abs(now - max(finite)) <= 0.05:
        assert is_damping(command)


def test_damping_shows_the_measured_posture_within_the_range():
    command = damping_command(GO2, GO2.upper + 1.0)
    np.testing.assert_array_equal(command.position, GO2.upper)
    assert is_damping(command)
    assert not command.velocity.any()
    assert not command.effort.any()


def test_a_watchdog_that_stood_still_itself_gives_commands_time_to_be_heard_again():
    watchdog = CommandWatchdog(GO2)
    watchdog.on_command(10.0)
    assert watchdog.update(10.005) is None
    assert watchdog.update(10.5) is None, "it has been blind for half a second, not the commander silent"
    assert watchdog.update(10.54) is None
    assert is_damping(watchdog.update(10.56)), "and now it is"
    assert is_damping(watchdog.update(11.5)), "a damping robot stays so, however late the look"


def test_a_watchdog_that_is_always_late_spares_a_dead_commander_once():
    watchdog = CommandWatchdog(GO2)
    watchdog.on_command(10.0)
    found = [watchdog.update(10.0 + 0.06 * look) for look in range(200)]
    assert found[:2] == [None, None]
    assert all(is_damping(command) for command in found[2:])
    watchdog.on_command(22.0)
    assert watchdog.update(22.01) is None
    assert watchdog.update(22.2) is None, "a real command earns it once more"
    assert is_damping(watchdog.update(22.4))


def test_released_commands_leave_the_robot_to_itself_until_the_next():
    watchdog = CommandWatchdog(GO2)
    watchdog.on_command(10.0)
    assert is_damping(watchdog.update(10.051))
    watchdog.release()
    assert (watchdog.armed, watchdog.update(10.06), watchdog.update(99.0)) == (False, None, None)
    watchdog.on_command(100.0)
    assert watchdog.update(100.04) is None
    assert is_damping(watchdog.update(100.06))
    assert watchdog.trips == 2


def test_a_passive_robot_is_told_of_a_fault_once_while_it_lasts_and_what_damped_it_is_known():
    safety = SafetyFilter(GO2)
    bad = JointState(np.full(12, np.nan), np.zeros(12), np.zeros(12))
    for tick in range(1000):
        safety.update(100.0 + tick * 0.002)
        safety.on_joint_state(100.0 + tick * 0.002, bad)
    assert safety.counts["joint_state_not_finite"] == 1
    safety.update(104.0)
    safety.on_joint_state(104.0, bad)
    assert safety.counts["joint_state_not_finite"] == 2
    safety.request("damp")
    assert safety.damped_for == "damped_on_request"
    rig = Rig().standing()
    rig.imu = tilted(1.0)
    rig.run(0.2)
    assert (rig.filter.state, rig.filter.damped_for) == ("damp", "tilt")
