"""Feet, motors, clock, other commanders and the operator's switches: what each stops, damps or refuses."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.safety import SafetyFilter

from .safety_rig import GO2, TICK_S, VELOCITIES, Rig, is_damping

LOADED, AIR = np.full(4, 40.0), np.full(4, 2.0)


class FeltRig(Rig):
    """A rig whose feet, motors and deadman switch report as well, once they are set."""

    forces: np.ndarray | None = None
    celsius: np.ndarray | None = None
    held: bool | None = None

    def tick(self):
        at = self.now + TICK_S
        if self.forces is not None:
            self.filter.on_foot_contacts(at, self.forces)
        if self.celsius is not None:
            self.filter.on_temperatures(at, self.celsius)
        if self.held is not None:
            self.filter.on_deadman(at, self.held)
        return super().tick()


def test_a_dog_that_is_picked_up_is_damped():
    rig = FeltRig()
    rig.forces = LOADED
    rig.walking()
    rig.forces = AIR
    assert rig.run(GO2.safety.feet.trip_after_s - 0.04) == ["walk"]
    assert rig.run(0.1)[-1] == "damp"
    assert rig.filter.counts == {"no_foot_contact": 1}
    assert "no foot has carried 10 N" in rig.filter.update(rig.now).reason


def test_a_gait_lifts_its_feet_for_a_moment_and_one_foot_is_enough():
    rig = FeltRig()
    rig.forces = LOADED
    rig.walking()
    for forces in (AIR, np.array([0.0, 0.0, 0.0, 11.0])) * 3:
        rig.forces = forces
        assert rig.run(0.2) == ["walk"]


def test_feet_in_the_air_while_it_lies_are_no_fault():
    rig = FeltRig()
    rig.forces = AIR
    rig.run(1.0)
    assert rig.filter.request("stand").accepted
    assert rig.run(0.8) == ["stand_up"]


def test_contacts_that_ceased_stop_a_walk_and_those_that_never_came_do_not():
    rig = FeltRig()
    rig.forces = LOADED
    rig.walking()
    rig.forces = None
    assert rig.run(4.0) == ["walk", "stopping", "stand"]
    assert rig.filter.counts == {"foot_contacts_stale": 1}
    assert Rig().walking().run(2.0) == ["walk"]


def test_a_hot_motor_stops_and_a_hotter_one_damps():
    rig = FeltRig()
    rig.celsius = np.full(12, 40.0)
    rig.walking()
    rig.celsius = np.where(np.arange(12) == 2, 91.0, 40.0)
    assert rig.run(4.0) == ["walk", "stopping", "stand"]
    assert "FL_calf_joint is at 91 °C" in rig.filter.request("walk").message
    rig.celsius = np.full(12, 101.0)
    assert rig.run(0.1)[-1] == "damp"
    assert rig.filter.counts == {"motor_hot": 2}
    rig.celsius = np.full(12, 85.0)
    rig.run(0.1)
    assert rig.filter.request("recover").accepted


def test_temperatures_that_ceased_are_an_event_and_nothing_else():
    rig = FeltRig()
    rig.celsius = np.full(12, 40.0)
    rig.walking()
    rig.celsius = None
    assert rig.run(GO2.safety.motors.timeout_s + 1.0) == ["walk"]
    assert rig.filter.counts == {"temperatures_stale": 1}
    assert rig.filter.events[-1].severity == "warning"


@pytest.mark.parametrize("jump", [-10.0, 10.0, 0.3])
def test_a_clock_that_jumps_ends_the_walk_and_the_plans(jump: float):
    rig = Rig().walking()
    assert not rig.filter.on_clock(rig.now, 1e9 + rig.now)
    rig.run(0.1)
    assert not rig.filter.on_clock(rig.now, 1e9 + rig.now + 0.1)
    assert rig.filter.on_clock(rig.now, 1e9 + rig.now + 0.1 + jump)
    assert rig.run(4.0)[-1] == "stand"
    assert rig.filter.counts == {"clock_jump": 1}
    assert f"jumped by {jump:+.3f} s" in rig.filter.events[-1].detail
    rig.plans = b"goal 2"
    assert rig.run(1.0)[-1] == "walk"


def test_a_second_commander_damps_a_robot_that_stands_and_refuses_one_that_lies():
    rig = Rig().standing()
    rig.filter.on_commanders(rig.now, 1)
    assert is_damping(rig.tick()[1])
    assert rig.filter.counts == {"two_commanders": 1}
    assert "1 more on the command topic" in rig.filter.request("recover").message
    rig.filter.on_commanders(rig.now, 0)
    assert rig.filter.request("recover").accepted
    rig.filter.on_commanders(rig.now, 2)
    assert not rig.filter.request("stand").accepted


def test_the_stop_signal_ends_the_walk_and_nothing_goes_on_by_itself():
    rig = Rig().walking()
    rig.filter.on_stop_signal(rig.now, True)
    rig.filter.on_stop_signal(rig.now, True)
    assert rig.run(4.0) == ["stopping", "stand"]
    for what in ("stand", "walk"):
        assert rig.filter.request(what).message == f"cannot {what}: the stop signal is on"
    rig.plans = b"goal 2"
    rig.filter.on_stop_signal(rig.now, False)
    assert rig.run(2.0) == ["stand"]
    assert rig.filter.counts == {"stop_signal": 1}
    assert rig.filter.request("sit").accepted
    assert rig.filter.request("walk").accepted


@pytest.mark.parametrize(("held", "says"), [(False, "is not held"), (None, "deadman switch stale")])
def test_a_deadman_that_is_released_or_silent_ends_the_walk_and_the_permission(held: bool | None, says: str):
    rig = FeltRig()
    rig.filter = SafetyFilter(GO2, action_names=VELOCITIES, deadman=True)
    rig.held = True
    rig.walking()
    rig.held = held
    assert rig.run(0.5) == ["walk", "stopping"]
    assert says in rig.filter.update(rig.now).reason
    assert rig.filter.counts == {"deadman_released": 1}
    rig.plans = b"goal 2"
    assert rig.run(3.0)[-1] == "stand"
    assert not rig.filter.request("walk").accepted
    rig.held = True
    assert rig.run(1.0) == ["stand"]
    assert rig.filter.request("walk").accepted
    assert rig.run(0.2)[-1] == "walk"


def test_without_a_deadman_nobody_needs_to_hold_one():
    rig = FeltRig()
    rig.held = False
    assert rig.walking().run(1.0) == ["walk"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (lambda safety, now: safety.on_foot_contacts(now, np.zeros(3)), "foot_contacts_shape"),
        (lambda safety, now: safety.on_foot_contacts(now, np.full(4, np.nan)), "foot_contacts_not_finite"),
        (lambda safety, now: safety.on_temperatures(now, np.zeros((12, 1))), "temperatures_shape"),
        (lambda safety, now: safety.on_temperatures(now, np.full(12, np.inf)), "temperatures_not_finite"),
        (lambda safety, now: safety.on_clock(now, np.nan), "time_not_finite"),
        (lambda safety, now: safety.on_deadman(np.nan, True), "time_not_finite"),
        (lambda safety, now: safety.on_commanders(np.inf, 0), "time_not_finite"),
    ],
)
def test_nonsense_damps(given, reason: str):
    rig = Rig().walking()
    given(rig.filter, rig.now)
    assert is_damping(rig.tick()[1])
    assert rig.filter.counts == {reason: 1}
