"""Changes of stance are judged by where the joints are, not by where they were sent."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.robots import RobotModel
from jepa_ros.safety import SafetyFilter

from .safety_rig import GO2, TICK_S, Rig, is_damping

LIMITS = GO2.safety


def stuck(rig: Rig, seconds: float) -> list[str]:
    """States passed through in so many seconds by a robot whose joints stay where they are."""
    states, joints = [rig.filter.state], rig.joints
    for _ in range(round(seconds / TICK_S)):
        state = rig.tick()[0].state
        rig.joints = joints
        if state != states[-1]:
            states.append(state)
    return states


def asked_to_stand(rig: Rig) -> Rig:
    rig.run(0.1)
    assert rig.filter.request("stand").accepted
    return rig


def test_a_robot_whose_joints_never_leave_sit_does_not_stand():
    rig = asked_to_stand(Rig())
    assert stuck(rig, 1.0 + LIMITS.stance_late_s - 0.1) == ["stand_up"]
    assert stuck(rig, 0.2) == ["stand_up", "damp"]
    assert is_damping(rig.tick()[1])
    assert rig.filter.counts == {"stance_not_reached": 1}
    assert "FL_calf_joint is 1.35 rad from its stance 1.0 s after" in rig.filter.update(rig.now).reason


def test_nor_does_one_that_sags_but_one_near_its_stance_does():
    for sag, states in ((0.36, ["stand_up", "damp"]), (0.34, ["stand_up", "stand"])):
        rig = asked_to_stand(Rig())
        position = GO2.stance("stand")
        position[2] -= sag
        rig.joints.position[:] = position
        assert stuck(rig, 2.4) == states


def test_what_stopped_it_does_not_stop_recovering():
    rig = asked_to_stand(Rig())
    assert stuck(rig, 2.4)[-1] == "damp"
    assert rig.filter.request("recover").accepted
    assert rig.filter.request("stand").accepted
    assert rig.run(2.0)[-1] == "stand"


def test_sitting_down_is_judged_too_and_then_where_it_sits_is_not():
    rig = Rig().standing()
    assert rig.filter.request("sit").accepted
    assert stuck(rig, 2.6)[-1] == "damp"
    rig = Rig().standing()
    assert rig.filter.request("sit").accepted
    assert rig.run(2.0)[-1] == "sit"
    rig.joints.position[:] = GO2.stance("stand")
    assert stuck(rig, 3.0) == ["sit"]


@pytest.mark.parametrize(
    ("robot", "disabled"),
    [(GO2, ("stance_not_reached",)), (GO2.with_output("cmd_vel"), ()), (GO2.with_output("sport"), ())],
    ids=["switched off", "cmd_vel", "sport"],
)
def test_a_stance_that_is_not_sent_or_not_judged_is_taken_for_reached(robot: RobotModel, disabled: tuple[str, ...]):
    rig = Rig(robot=robot)
    rig.filter = SafetyFilter(robot, disabled=disabled)
    assert stuck(asked_to_stand(rig), 3.0) == ["stand_up", "stand"]
    assert rig.filter.disabled_limits == disabled


@pytest.mark.parametrize("kind", ["forward_command", "trajectory"])
@pytest.mark.parametrize("direct", [False, True], ids=["stance", "direct"])
def test_positions_alone_are_moved_until_the_torque_estimate_holds(kind: str, direct: bool):
    for robot, position, kp in ((GO2.with_output(kind), 0.9 - 23.7 / 60, 60.0), (GO2, 0.0, 23.7 / 0.9)):
        rig = Rig(robot=robot, action_names=("FL_hip_joint",), action=np.zeros(1), raw=GO2.stance("stand"))
        rig = rig.walking() if direct else rig.standing()
        rig.joints.position[0] = 0.9  # pushed aside: 60 Nm/rad would make 54 Nm of a motor that has 23.7
        rig.joints.velocity[:] = 0.0
        command = rig.tick()[1]
        assert command.position[0] == pytest.approx(position)
        assert command.kp[0] == pytest.approx(kp)
        assert rig.filter.state == ("walk" if direct else "stand")
