"""The remote's bytes, and what its buttons ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_ros.errors import WireError
from jepa_ros.unitree.remote import Button, Operator, Remote, read_remote, write_remote

STICK = st.floats(-1, 1, width=32)


def pressed(buttons):
    return Remote(Button(buttons), 0.0, 0.0, 0.0, 0.0)


@given(st.integers(0, 0xFFFF), STICK, STICK, STICK, STICK)
def test_there_and_back(buttons, lx, ly, rx, ry):
    remote = Remote(Button(buttons), lx, ly, rx, ry)
    assert read_remote(write_remote(remote)) == remote


@given(st.binary(min_size=40, max_size=40))
def test_any_bytes_give_sticks_between_minus_one_and_one(data):
    remote = read_remote(data)
    assert all(-1.0 <= stick <= 1.0 for stick in (remote.lx, remote.ly, remote.rx, remote.ry))


@given(st.binary(max_size=60).filter(lambda data: len(data) != 40))
def test_another_number_of_bytes_is_refused(data):
    with pytest.raises(WireError, match="wireless_remote"):
        read_remote(data)


def test_buttons_have_the_vendors_bits():
    data = bytearray(40)
    data[2:4] = (0x0203).to_bytes(2, "little")
    assert read_remote(bytes(data)).buttons == Button.R1 | Button.L1 | Button.B


def test_a_request_is_made_once_for_each_press():
    operator = Operator()
    assert operator.update(pressed(Button.L1)) == []
    assert operator.update(pressed(Button.L1 | Button.A)) == ["stand"]
    assert operator.update(pressed(Button.L1 | Button.A)) == []
    assert operator.update(pressed(0)) == []
    assert operator.update(pressed(Button.L1 | Button.X)) == ["walk"]


def test_b_stops_for_as_long_as_it_is_down_and_wins_over_walk():
    operator = Operator()
    assert operator.update(pressed(Button.B | Button.L1 | Button.X)) == []
    assert operator.stop
    operator.update(pressed(0))
    assert not operator.stop


def test_l2_and_b_damp_and_stop():
    operator = Operator()
    assert operator.update(pressed(Button.L2 | Button.B)) == ["damp"]
    assert operator.stop


def test_silence_lets_the_deadman_go_and_is_no_release_of_a_button():
    operator = Operator()
    operator.update(pressed(Button.R1 | Button.L1 | Button.X))
    assert operator.deadman
    assert operator.update(None) == []
    assert not operator.deadman
    assert operator.update(pressed(Button.R1 | Button.L1 | Button.X)) == []
    assert operator.deadman


@given(st.lists(st.none() | st.integers(0, 0xFFFF), max_size=20))
def test_no_buttons_ever_ask_for_walking_while_stop_is_down(states):
    operator = Operator()
    for state in states:
        asked = operator.update(None if state is None else pressed(state))
        assert not (operator.stop and {"walk", "stand"} & set(asked))
        assert operator.deadman == bool(state is not None and state & Button.R1)
