"""Faults: each damps at once, is counted under its reason, and says what it saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from jepa_ros.types import Imu, JointState

from .safety_rig import GO2, TICK_S, Rig, is_damping, tilted

NAN = float("nan")


def bad_joint(value: float) -> JointState:
    position = GO2.stance("stand")
    position[3] = value
    return JointState(position, np.zeros(12), np.zeros(12))


FAULTS: dict[str, tuple[str, Callable[[Rig], object]]] = {
    "joint_state_stale": ("joint state stale", lambda rig: rig.reporting.discard("joints")),
    "imu_stale": ("inertial unit stale", lambda rig: rig.reporting.discard("imu")),
    "tilt": ("tilted by 0.70 rad", lambda rig: setattr(rig, "imu", tilted(0.7))),
    "joint_state_not_finite": ("not a number", lambda rig: setattr(rig, "joints", bad_joint(NAN))),
    "joint_state_implausible": ("FR_hip_joint is measured at 5", lambda rig: setattr(rig, "joints", bad_joint(5.0))),
    "imu_not_finite": (
        "not a number",
        lambda rig: setattr(rig, "imu", replace(rig.imu, angular_velocity=np.full(3, NAN))),
    ),
    "imu_implausible": ("length 0", lambda rig: setattr(rig, "imu", replace(rig.imu, orientation=np.zeros(4)))),
    "policy_not_finite": ("joint target", lambda rig: setattr(rig, "raw", np.full(12, np.inf))),
    "policy_shape": ("robot has 12 joints", lambda rig: setattr(rig, "raw", np.zeros(11))),
    "policy_silent": ("no joint targets for", lambda rig: setattr(rig, "raw", None)),
    "plan_not_finite": ("not a number", lambda rig: setattr(rig, "action", np.array([NAN, 0.0, 0.0]))),
    "plan_shape": ("shape (2,), not (3,)", lambda rig: setattr(rig, "action", np.zeros(2))),
}


@pytest.mark.parametrize("reason", FAULTS)
def test_a_fault_while_walking_damps_and_says_why(reason: str):
    sentence, break_it = FAULTS[reason]
    rig = Rig().walking()
    break_it(rig)
    began = rig.now
    while not is_damping(rig.tick()[1]):
        assert rig.now < began + 0.25
    decision = rig.filter.update(rig.now)
    assert decision.state == "damp"
    assert sentence in decision.reason
    assert rig.filter.counts == {reason: 1}
    event = rig.filter.events[-1]
    assert (event.severity, event.reason, event.detail) == ("error", reason, decision.reason)
    assert rig.now - 2 * TICK_S <= event.t <= rig.now


@pytest.mark.parametrize("reason", ["joint_state_stale", "imu_stale", "tilt"])
@pytest.mark.parametrize("request_", ["stand", "sit"])
def test_stances_are_watched_as_well(reason: str, request_: str):
    rig = Rig().standing()
    rig.filter.request(request_)
    rig.run(0.3)
    FAULTS[reason][1](rig)
    assert rig.run(0.3)[-1] == "damp"


def test_a_passive_robot_stays_passive_and_counts():
    rig = Rig()
    rig.filter.on_joint_state(rig.now, bad_joint(NAN))
    decision, command = rig.tick()
    assert (decision.state, command) == ("passive", None)
    assert rig.filter.counts == {"joint_state_not_finite": 1}


def test_joint_state_of_another_length_damps():
    rig = Rig().walking()
    rig.filter.on_joint_state(rig.now, JointState(np.zeros(11), np.zeros(11), np.zeros(11)))
    assert is_damping(rig.tick()[1])
    assert "map joints by name" in rig.filter.update(rig.now).reason


def test_a_joint_may_be_too_fast_for_a_moment_but_not_for_long():
    for ticks, state in ((3, "walk"), (7, "damp")):
        rig = Rig().walking()
        rig.speed = 16.0  # past the calves' 15.7 rad/s
        rig.run(ticks * TICK_S)
        rig.speed = 1.0
        assert rig.run(2 * TICK_S)[-1] == state
    assert rig.filter.counts == {"joint_speed": 1}


def test_times_that_are_not_numbers_damp():
    for given in ("on_joint_state", "on_imu", "on_camera", "on_plan", "update"):
        rig = Rig().walking()
        arguments = {
            "on_joint_state": (NAN, rig.joints),
            "on_imu": (NAN, rig.imu),
            "on_camera": (np.inf,),
            "on_plan": (rig.now, NAN),
            "update": (NAN,),
        }[given]
        getattr(rig.filter, given)(*arguments)
        assert is_damping(rig.tick()[1]), given


def test_measurements_from_the_future_count_as_stale():
    rig = Rig().standing()
    rig.reporting.discard("joints")
    rig.filter.on_joint_state(rig.now + 60.0, rig.joints)
    assert rig.run(0.04)[-1] == "damp"


def test_no_plan_is_believed_for_long_whatever_it_says():
    rig = Rig().walking()
    rig.plans = None
    rig.filter.on_plan(rig.now, rig.now + 1e9, b"goal 1")
    assert rig.run(GO2.safety.plan_validity_max_s - 0.1) == ["walk"]
    assert rig.run(0.2) == ["walk", "stopping"]


def test_the_caller_may_trip_it():
    rig = Rig().walking()
    rig.filter.trip(rig.now, "motion_failed", "the motion raised: no such file")
    assert is_damping(rig.tick()[1])
    assert rig.filter.counts == {"motion_failed": 1}


def test_ages_and_tilt_are_told():
    rig = Rig()
    assert rig.filter.ages(5.0).joint_state == np.inf
    rig.imu = tilted(0.2)
    rig.walking()
    ages = rig.filter.ages(rig.now + 0.5)
    assert [ages.plan, ages.joint_state, ages.imu, ages.camera] == pytest.approx([0.5] * 4)
    assert rig.filter.tilt == pytest.approx(0.2)


def test_damping_in_a_state_without_any_measurement_is_still_a_command():
    rig = Rig(reporting=set())
    rig.filter.request("damp")
    decision = rig.filter.update(rig.now)
    command = rig.filter.command(rig.now, decision, None, None, None)
    assert is_damping(command)


def test_an_old_decision_moves_nothing_after_a_fault():
    rig = Rig().walking()
    decision = rig.filter.update(rig.now)
    rig.filter.on_imu(rig.now, Imu(np.full(3, NAN), np.array([0.0, 0.0, 0.0, 1.0]), np.zeros(3)))
    assert (rig.filter.limit_action(rig.now, decision, np.ones(3)) == 0).all()
    assert is_damping(rig.filter.command(rig.now, decision, GO2.stance("walk"), rig.joints, rig.imu))
