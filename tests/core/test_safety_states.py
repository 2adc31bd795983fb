"""The way through the states: what an operator asks, what plans and faults do, and what never happens by itself."""

from __future__ import annotations

import numpy as np
import pytest

from .safety_rig import GO2, TICK_S, Rig, is_damping, tilted


def test_nothing_is_sent_before_a_request_to_stand():
    rig = Rig(plans=b"goal")
    for _ in range(50):
        decision, command = rig.tick()
        assert decision.state == "passive"
        assert command is None


def test_standing_up_takes_a_second_or_more_and_ends_in_the_stance():
    rig = Rig()
    rig.run(0.1)
    rig.filter.request("stand")
    _, first = rig.tick()
    assert first is not None
    assert np.abs(first.position - GO2.stance("sit")).max() < 0.02
    assert rig.run(0.9) == ["stand_up"]
    assert rig.run(1.0) == ["stand_up", "stand"]
    _, command = rig.tick()
    assert command is not None
    np.testing.assert_allclose(command.position, GO2.stance("stand"))
    assert (command.kp == 60.0).all()
    assert (command.kd == 5.0).all()


@pytest.mark.parametrize(("absent", "sentence"), [("joints", "no joint state yet"), ("imu", "no inertial unit yet")])
def test_standing_is_refused_without_measurements(absent: str, sentence: str):
    rig = Rig()
    rig.reporting.discard(absent)
    rig.run(0.1)
    reply = rig.filter.request("stand")
    assert not reply.accepted
    assert sentence in reply.message
    assert rig.tick()[1] is None


def test_standing_is_refused_before_any_update_and_when_lying_on_the_side():
    assert not Rig().filter.request("stand").accepted
    rig = Rig(imu=tilted(1.5))
    rig.run(0.1)
    assert "tilted by 1.50 rad" in rig.filter.request("stand").message


def test_a_walk_needs_the_request_and_a_plan_and_a_camera():
    rig = Rig(plans=b"goal").standing()
    assert rig.run(1.0) == ["stand"]
    assert rig.filter.request("walk").accepted
    assert rig.filter.motion_allowed
    assert rig.run(1.0)[-1] == "walk"

    rig = Rig().standing()
    rig.filter.request("walk")
    assert rig.run(1.0) == ["stand"]

    rig = Rig(plans=b"goal", reporting={"joints", "imu"}).standing()
    rig.filter.request("walk")
    assert rig.run(1.0) == ["stand"]


def test_walking_cannot_be_asked_for_at_rest():
    rig = Rig()
    rig.run(0.1)
    reply = rig.filter.request("walk")
    assert not reply.accepted
    assert "ask for stand first" in reply.message


def test_velocity_is_zero_within_a_tick_of_the_plans_end_with_the_policy_running():
    rig = Rig().walking()
    assert rig.applied[0] == pytest.approx(0.4)
    rig.plans = None
    last_plan = rig.now
    while rig.tick()[0].state == "walk":
        assert rig.applied[0] == pytest.approx(0.4)
    assert rig.now - (last_plan + 0.3) <= 2 * TICK_S
    assert (rig.applied == 0).all()
    decision, command = rig.tick()
    assert (decision.state, decision.velocity_scale, decision.use_policy) == ("stopping", 0.0, True)
    assert "plan stale" in decision.reason
    assert command is not None
    assert (command.kp == 20.0).all()
    assert rig.filter.counts == {"plan_stale": 1}


def test_once_still_it_blends_to_the_stance_without_a_jump():
    rig = Rig().walking()
    rig.plans = None
    before = rig.tick()[1]
    blend = []
    while True:
        decision, command = rig.tick()
        assert command is not None
        assert before is not None
        assert np.abs(command.position - before.position).max() < 0.02
        assert np.abs(command.kp - before.kp).max() <= 1.0
        before = command
        if decision.state == "stand":
            break
        blend.append(decision.use_policy)
    np.testing.assert_allclose(before.position, GO2.stance("stand"), atol=1e-9)
    assert blend.count(False) * TICK_S == pytest.approx(GO2.safety.stance_time_s, abs=2 * TICK_S)
    assert "plan stale" in decision.reason


def test_a_robot_that_never_gets_still_is_blended_after_the_time_out():
    rig = Rig(settles_s=60.0).walking()
    rig.filter.request("stop")
    moving = 0
    while rig.tick()[0].use_policy:
        moving += 1
    assert moving * TICK_S == pytest.approx(GO2.safety.stop.timeout_s, abs=2 * TICK_S)


def test_a_camera_that_stops_ends_the_walk():
    rig = Rig().walking()
    rig.reporting.discard("camera")
    assert rig.run(1.5)[:2] == ["walk", "stopping"]
    assert rig.filter.counts == {"camera_stale": 1}


def test_a_recovered_plan_does_not_resume_but_a_new_goal_does():
    rig = Rig().walking(b"goal 1")
    rig.plans = None
    assert rig.run(4.0) == ["walk", "stopping", "stand"]
    rig.plans = b"goal 1"
    assert rig.run(3.0) == ["stand"]
    rig.plans = b"goal 2"
    assert rig.run(1.0) == ["stand", "walk"]


def test_a_new_request_to_walk_resumes_the_same_goal():
    rig = Rig().walking(b"goal 1")
    rig.plans = None
    rig.run(4.0)
    rig.plans = b"goal 1"
    assert rig.filter.request("walk").accepted
    assert rig.run(1.0) == ["stand", "walk"]


def test_a_new_goal_takes_over_without_a_stop_and_the_old_one_stays_over():
    rig = Rig().walking(b"goal 1")
    rig.plans = b"goal 2"
    assert rig.run(1.0) == ["walk"]
    rig.plans = b"goal 1"
    assert rig.run(3.0)[:2] == ["walk", "stopping"]


def test_a_new_goal_while_the_policy_still_stops_walks_on():
    rig = Rig().walking(b"goal 1")
    rig.plans = None
    assert rig.run(0.4) == ["walk", "stopping"]
    rig.plans = b"goal 2"
    assert rig.run(0.2) == ["stopping", "walk"]


def test_the_end_of_a_goal_stops_and_is_no_fault():
    rig = Rig().walking(b"goal 1")
    rig.filter.on_goal_end(b"another")
    assert rig.run(0.1) == ["walk"]
    rig.filter.on_goal_end(b"goal 1")
    rig.plans = None
    assert rig.run(4.0) == ["stopping", "stand"]
    assert rig.filter.counts == {}
    assert rig.filter.motion_allowed


def test_stop_withdraws_the_permission():
    rig = Rig().walking()
    assert rig.filter.request("stop").accepted
    rig.plans = b"goal 2"
    assert rig.run(4.0) == ["stopping", "stand"]
    assert not rig.filter.motion_allowed


def test_sit_from_a_walk_stops_first():
    rig = Rig().walking()
    assert rig.filter.request("sit").accepted
    assert rig.run(6.0) == ["stopping", "stand", "sit_down", "sit"]
    np.testing.assert_allclose(rig.joints.position, GO2.stance("sit"))
    assert rig.filter.request("stand").accepted
    assert rig.run(3.0) == ["stand_up", "stand"]


def test_sit_half_way_up_turns_back_and_stand_half_way_down_too():
    rig = Rig()
    rig.run(0.1)
    rig.filter.request("stand")
    rig.run(0.6)
    assert rig.filter.request("sit").accepted
    assert rig.run(0.3) == ["sit_down"]
    assert rig.filter.request("stand").accepted
    assert rig.run(3.0) == ["stand_up", "stand"]


@pytest.mark.parametrize("state", ["passive", "stand", "walk"])
def test_damp_on_request_latches_until_recover(state: str):
    rig = Rig()
    if state == "passive":
        rig.run(0.1)
    else:
        rig.standing() if state == "stand" else rig.walking()
    assert rig.filter.request("damp").accepted
    for request in ("stand", "walk", "sit"):
        assert not rig.filter.request(request).accepted
    for _ in range(100):
        decision, command = rig.tick()
        assert decision.state == "damp"
        assert is_damping(command)
    assert rig.filter.request("recover").accepted
    assert rig.tick()[1] is None
    assert rig.filter.request("stand").accepted
    assert rig.run(3.0)[-1] == "stand"
    assert not rig.filter.motion_allowed


def test_recover_is_refused_while_the_cause_lasts_and_where_there_is_none():
    rig = Rig().walking()
    rig.imu = tilted(1.0)
    assert rig.run(0.1)[-1] == "damp"
    assert "tilted by 1.00 rad" in rig.filter.request("recover").message
    rig.imu = tilted(0.0)
    rig.run(0.1)
    assert rig.filter.request("recover").accepted
    assert "nothing to recover from" in rig.filter.request("recover").message


def test_an_unknown_request_names_those_that_exist():
    reply = Rig().filter.request("dance")
    assert not reply.accepted
    assert "stand, walk, stop, sit, damp and recover" in reply.message


def test_direct_motion_stops_by_changing_stance_at_once():
    names = ("FL_calf_joint",)
    rig = Rig(action_names=names, action=np.array([-1.3]), raw=GO2.stance("stand")).walking()
    rig.plans = None
    while rig.tick()[0].state == "walk":
        pass
    decision = rig.tick()[0]
    assert (decision.state, decision.use_policy) == ("stopping", False)
    assert rig.run(2.0)[-1] == "stand"
