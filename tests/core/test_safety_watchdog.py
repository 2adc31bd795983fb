"""The command watchdog: silent while commands flow, damping within 50 ms of silence, never first."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jepa_ros.safety import CommandWatchdog, damping_command

from .safety_rig import GO2, is_damping


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
