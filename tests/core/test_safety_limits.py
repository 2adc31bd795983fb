"""Named limits: what trips, what plans are refused, and how a limit is switched off and seen to be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jepa_ros.errors import RobotError
from jepa_ros.safety import SafetyFilter
from jepa_ros.safety.monitors import JointMonitor
from jepa_ros.safety.switches import ALWAYS, KNOWN, PER_MOTION, Switches
from jepa_ros.types import JointState

from .safety_rig import GO2, TICK_S, Rig, is_damping, tilted

_THIGH = np.arange(12) % 3 == 1
ENDS = [np.where(_THIGH, end, GO2.stance("walk")) for end in (GO2.lower, GO2.upper)]


def without(*names: str, rig: Rig | None = None) -> Rig:
    """A rig with limits switched off."""
    rig = rig or Rig()
    rig.filter = SafetyFilter(rig.robot, action_names=rig.action_names, disabled=names)
    return rig


def leap(rig: Rig, seconds: float) -> str:
    """Targets from one end of the range to the other at every tick; where it leads."""
    for number in range(round(seconds / TICK_S)):
        rig.raw = ENDS[number % 2]
        state = rig.tick()[0].state
    return state


def test_a_leap_that_no_gait_makes_is_not_even_sent():
    rig = without("effort").walking()
    rig.raw = ENDS[0]
    assert not is_damping(rig.tick()[1])
    rig.raw = ENDS[1]
    assert is_damping(rig.tick()[1])
    assert rig.filter.counts == {"target_step": 1}


def test_targets_that_leap_at_every_tick_trip_by_their_speed():
    rig = without("effort", "target_step").walking()
    assert leap(rig, 0.08) == "walk"
    assert leap(rig, 0.12) == "damp"
    assert rig.filter.counts == {"target_speed": 1}
    assert "the limit is 220" in rig.filter.update(rig.now).reason


def test_or_by_their_acceleration():
    rig = without("effort", "target_step", "target_speed").walking()
    assert leap(rig, 0.3) == "damp"
    assert rig.filter.counts == {"target_acceleration": 1}


def test_the_gait_of_the_simulator_passes_where_its_limits_are_named_for_one_motion():
    names = ("effort", "target_step", "locomotion.target_speed", "locomotion.target_acceleration")
    assert leap(without(*names).walking(), 1.0) == "walk"


@pytest.mark.parametrize(("speed", "trips"), [(20.0, False), (30.0, True)])
@pytest.mark.parametrize("jitter", [0.0, 1e-9])
def test_a_joint_speed_that_flickers_trips_though_it_is_never_too_fast(speed: float, trips: bool, jitter: float):
    monitor, limits = JointMonitor(GO2, GO2.safety, Switches()), GO2.safety.motions.locomotion
    hip, found = np.arange(12) % 3 == 0, None
    for number in range(20):
        at = 0.008 * number
        for repeated in (at, at + jitter):  # the same again a moment later must not look like a blow
            velocity = np.where(hip, speed * (-1) ** number, 0.0)
            assert monitor.take(repeated, JointState(GO2.stance("walk"), velocity, np.zeros(12))) is None
        found = found or monitor.fault(at, "locomotion", limits)
    # The low pass of 20 ms makes 2 v / 48 ms of leaps of 2 v every 8 ms: 830 and 1250 rad/s².
    assert monitor.acceleration == pytest.approx(2 * speed / 0.048, rel=0.01)
    assert (found is not None) is trips
    assert not trips or found.reason == "joint_acceleration"


@pytest.mark.parametrize(("rate", "ticks", "state"), [(9.0, 10, "walk"), (11.0, 3, "walk"), (11.0, 5, "damp")])
def test_a_body_that_tips_fast_for_long_damps(rate: float, ticks: int, state: str):
    rig = Rig().walking()
    rig.imu = replace(tilted(0.1), angular_velocity=np.array([0.0, rate, 50.0]))  # turning about z is no tipping
    for _ in range(ticks):
        last = rig.tick()[0].state
    assert last == state
    assert rig.filter.counts == ({"tilt_rate": 1} if state == "damp" else {})


def test_a_tilt_is_borne_for_a_moment():
    rig = Rig().walking()
    rig.imu = tilted(0.65)
    assert rig.run(0.04) == ["walk"]
    assert rig.run(0.06)[-1] == "damp"


def test_a_plan_from_the_future_ends_the_walk_and_is_counted_once_while_it_lasts():
    rig = Rig().walking(b"1")
    for _ in range(3):
        assert not rig.filter.on_plan(rig.now, rig.now + 0.5, b"1", made=rig.now + 0.2)
    assert rig.filter.state == "stopping"
    assert rig.filter.counts == {"plan_from_future": 1}


def test_plans_of_the_past_change_nothing():
    rig = Rig().walking(b"1")
    rig.plans = None
    rig.filter.on_plan(rig.now, rig.now + 0.3, b"1", made=rig.now - 0.1)
    for valid_until, made in ((0.9, -0.3), (-0.1, 0.0)):  # older than the one followed; over already
        assert not rig.filter.on_plan(rig.now, rig.now + valid_until, b"1", made=rig.now + made)
    assert rig.run(0.28) == ["walk"]
    assert rig.run(0.06) == ["walk", "stopping"]
    assert rig.filter.counts == {"plan_out_of_order": 1, "plan_stale": 1}
    assert rig.filter.events[0].severity == "info"


@pytest.mark.parametrize("name", KNOWN)
def test_every_name_may_be_switched_off_and_shows(name: str):
    assert SafetyFilter(GO2, disabled=[name]).disabled_limits == (name,)


def test_none_is_off_unless_named_and_the_robot_file_may_name_some():
    assert SafetyFilter(GO2).disabled_limits == ()
    limits = GO2.safety.model_copy(update={"disabled": ("tilt",)})
    assert SafetyFilter(GO2, limits, disabled=["tilt", "stance.effort"]).disabled_limits == ("tilt", "stance.effort")


@pytest.mark.parametrize("name", ["policy_not_finite", "joint_state_stale", "dance", "gait.effort", ""])
def test_what_is_no_limit_or_must_hold_is_refused_with_those_that_are(name: str):
    with pytest.raises(RobotError, match="none that can be switched off") as refused:
        SafetyFilter(GO2, disabled=[name])
    assert all(known in str(refused.value) for known in (*PER_MOTION, *ALWAYS))


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("tilt", lambda rig: setattr(rig, "imu", tilted(1.0))),
        ("tilt_rate", lambda rig: setattr(rig, "imu", replace(rig.imu, angular_velocity=np.full(3, 20.0)))),
        ("joint_speed", lambda rig: setattr(rig, "speed", 16.0)),
        ("camera_stale", lambda rig: rig.reporting.discard("camera")),
        ("two_commanders", lambda rig: rig.filter.on_commanders(rig.now, 1)),
        ("clock_jump", lambda rig: [rig.filter.on_clock(rig.now, clock) for clock in (0.0, 9.0)]),
    ],
)
def test_a_limit_that_is_off_stops_nothing(name: str, harm):
    for disabled, walks_on in (((), False), ((name,), True)):
        rig = without(*disabled).walking()
        harm(rig)
        assert (rig.run(1.5) == ["walk"]) is walks_on, disabled


def test_without_a_range_targets_pass_and_without_a_torque_limit_gains_stay():
    rig = without("joint_range", "effort").walking()
    rig.raw = GO2.stance("walk") + np.where(np.arange(12) % 3 == 0, 1.3, 0.0)
    command = rig.tick()[1]
    np.testing.assert_array_equal(command.position, rig.raw)
    assert (command.kp == 20.0).all()
