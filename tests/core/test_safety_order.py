"""Measurements that come late or in another order than they were made."""

from __future__ import annotations

from jepa_ros.control import JointController

from .safety_rig import GO2, TICK_S, VELOCITIES, Rig, tilted


def test_one_late_message_is_counted_and_damps_nothing():
    rig = Rig().walking()
    assert not rig.filter.on_joint_state(rig.now - 0.5, rig.joints)
    assert not rig.filter.on_imu(rig.now - 0.5, tilted(1.5))
    assert rig.run(0.5) == ["walk"]
    assert rig.filter.counts == {"joint_state_out_of_order": 1, "imu_out_of_order": 1}
    assert [event.severity for event in rig.filter.events] == ["info", "info"]
    assert rig.filter.tilt == 0.0


def test_late_messages_alone_are_silence():
    for name in ("joints", "imu"):
        rig = Rig().walking()
        rig.reporting.discard(name)
        began = rig.now
        while rig.now < began + 0.12:
            rig.filter.on_joint_state(began - 0.01, rig.joints)
            rig.filter.on_imu(began - 0.01, rig.imu)
            assert rig.tick()[0].state == "walk"
        assert rig.run(3 * TICK_S)[-1] == "damp"


def test_one_from_the_future_makes_none_that_follow_late():
    rig = Rig().walking()
    rig.filter.on_joint_state(rig.now + 60.0, rig.joints)
    assert rig.filter.on_joint_state(rig.now + 0.01, rig.joints)
    assert rig.run(0.2) == ["walk"]


def test_the_motion_does_not_see_them_either():
    rig = Rig()
    controller = JointController(GO2, VELOCITIES, 50.0)
    controller.tick(1.0, 1.0)
    controller.on_joint_state(1.0, rig.joints)
    controller.on_joint_state(1.01, Rig().joints, age=0.5)
    assert controller._joints is rig.joints
