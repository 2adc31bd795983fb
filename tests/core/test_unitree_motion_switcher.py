"""The sequence that frees the motors, played against robots that do and do not do as they are asked."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_ros.errors import RobotError
from jepa_ros.robots import load_robot
from jepa_ros.types import JointState
from jepa_ros.unitree.motion_switcher import (
    CHECK_MODE,
    RELEASE_MODE,
    SELECT_MODE,
    SPORT,
    STAND_DOWN,
    SWITCHER,
    Call,
    LyingWatch,
    Pause,
    Reply,
    give_back,
    lying,
    mode_of,
    release,
)


class Dog:
    """Answers as a Go2 does; `lies_after` s of waiting make it lie once it has been told."""

    def __init__(self, mode="normal", lies=False, lies_after=1.0, releases=True, takes=True, comes=True):
        self.mode, self.lies, self.lies_after, self.releases = mode, lies, lies_after, releases
        self.takes, self.comes = takes, comes
        self.told, self.time, self.asked = False, 0.0, []

    def play(self, lies=None, steps=None):
        steps, answer = steps or release(lies or (lambda: self.lies)), None
        try:
            while True:
                answer = self._answer(steps.send(answer))
        except StopIteration:
            return

    def _answer(self, step):
        if isinstance(step, Pause):
            self.time += step.seconds
            self.lies |= self.told and self.time >= self.lies_after
            return None
        self.asked.append((step.service, step.api))
        if (step.service, step.api) == (SPORT, STAND_DOWN):
            self.told = True
        elif step.api == RELEASE_MODE:
            assert self.lies, "released while it stood"
            self.mode = "" if self.releases else self.mode
        elif step.api == SELECT_MODE:
            if not self.takes:
                return Reply(7004)
            self.mode = json.loads(step.parameter)["name"] if self.comes else ""
        return Reply(0, json.dumps({"form": "0", "name": self.mode}) if step.api == CHECK_MODE else "")


def test_a_standing_dog_lies_down_before_it_is_released():
    dog = Dog()
    dog.play()
    assert dog.asked == [
        (SWITCHER, CHECK_MODE),
        (SPORT, STAND_DOWN),
        (SWITCHER, RELEASE_MODE),
        (SWITCHER, CHECK_MODE),
    ]


def test_a_released_dog_is_only_asked():
    dog = Dog(mode="")
    dog.play()
    assert dog.asked == [(SWITCHER, CHECK_MODE)]


def test_one_that_lies_already_is_told_to_all_the_same():
    dog = Dog(lies=True)
    dog.play()
    assert dog.asked[1:3] == [(SPORT, STAND_DOWN), (SWITCHER, RELEASE_MODE)]


def test_one_that_gets_up_again_is_not_released():
    dog = Dog(lies_after=0.5)
    looks = iter([True, False])  # when it lay down; just before the release
    with pytest.raises(RobotError, match="does not lie still any more"):
        dog.play(lambda: next(looks))
    assert (SWITCHER, RELEASE_MODE) not in dog.asked


def test_a_dog_that_goes_on_standing_is_never_released():
    dog = Dog(lies_after=100.0)
    with pytest.raises(RobotError, match="did not lie down"):
        dog.play()
    assert (SWITCHER, RELEASE_MODE) not in dog.asked


def test_a_mode_that_stays_is_said():
    with pytest.raises(RobotError, match="mode normal is kept"):
        Dog(lies=True, releases=False).play()


@given(st.text(max_size=40) | st.sampled_from(["[]", "{}", '{"name": 3}', "null", "[" * 9000]))
def test_an_answer_without_a_mode_is_refused(data):
    with pytest.raises(RobotError):
        mode_of(Reply(0, data))


def test_a_refusal_is_no_mode():
    with pytest.raises(RobotError, match="3203"):
        mode_of(Reply(3203, '{"name": ""}'))


ROBOT = load_robot("go2")
SIT = ROBOT.stance("sit")


def posture(hip: float, thigh: float, calf: float) -> np.ndarray:
    return np.tile([hip, thigh, calf], 4).astype(float)


def test_only_the_sitting_stance_is_lying():
    assert lying(SIT, SIT, ROBOT.joint_names)
    assert lying(posture(0.5, 1.2, -2.5), SIT, ROBOT.joint_names)
    assert not lying(ROBOT.stance("stand"), SIT, ROBOT.joint_names)
    assert not lying(ROBOT.stance("walk"), SIT, ROBOT.joint_names)


def test_a_dog_on_bent_legs_does_not_lie():
    """Its hips are 0.22 m high: 0.213 m cos 1.02 + 0.213 m cos(2.05 - 1.02)."""
    assert not lying(posture(0.0, 1.02, -2.05), SIT, ROBOT.joint_names)


@given(st.floats(0.0, 1.0))
def test_on_the_way_from_standing_nothing_higher_than_a_hand_is_lying(way):
    """Hips of a lying dog are 0.10 m high."""
    joints = (1.0 - way) * ROBOT.stance("stand") + way * SIT
    height = 0.213 * (np.cos(joints[1]) + np.cos(joints[1] + joints[2]))
    assert not lying(joints, SIT, ROBOT.joint_names) or height < 0.16


def heard(*states: tuple[float, np.ndarray, float]) -> LyingWatch:
    watch = LyingWatch(SIT, ROBOT.joint_names)
    for now, position, speed in states:
        watch.hear(now, JointState(position, np.full(12, speed), np.zeros(12)))
    return watch


def test_lying_is_lying_still_for_half_a_second_and_being_heard():
    still = [(0.05 * i, SIT, 0.05) for i in range(11)]
    assert heard(*still).lies(0.5)
    assert not heard(*still[:-1]).lies(0.45)
    assert not heard(*still).lies(0.7), "not heard any more"
    assert not heard(*still[:5], (0.25, SIT, 1.0), *still[6:]).lies(0.5), "it moved"
    assert not heard(*still[:2], *still[6:]).lies(0.5), "a silence is not stillness"
    assert not heard(*still[:-1], (0.5, posture(0.0, 1.02, -2.05), 0.0)).lies(0.5)
    assert not heard(*still[:-1], (0.5, np.full(12, np.nan), 0.0)).lies(0.5)


def test_a_body_with_other_joints_is_refused():
    with pytest.raises(RobotError, match="knee must be named"):
        LyingWatch(np.zeros(1), ["knee"])


def test_a_call_and_a_pause_are_values():
    assert Call(SPORT, 1) == Call(SPORT, 1)
    assert Pause(1.0) != Pause(2.0)


def test_a_lying_dog_s_own_gait_takes_the_motors_again():
    dog = Dog(mode="", lies=True)
    dog.play(steps=give_back("mcf", lambda: dog.lies))
    assert dog.mode == "mcf"
    assert dog.asked == [(SWITCHER, CHECK_MODE), (SWITCHER, SELECT_MODE), (SWITCHER, CHECK_MODE)]


@pytest.mark.parametrize(
    ("dog", "says"),
    [
        (Dog(mode=""), "does not lie still; ask joint_command to sit first"),
        (Dog(mode="", lies=True, takes=False), r"refuses mode mcf \(7004\)"),
    ],
)
def test_the_motors_stay_free(dog, says):
    with pytest.raises(RobotError, match=says):
        dog.play(steps=give_back("mcf", lambda: dog.lies))
    assert dog.mode == ""


def test_a_gait_that_has_the_motors_is_left_alone():
    dog = Dog(mode="normal")
    dog.play(steps=give_back("mcf", lambda: dog.lies))
    assert dog.asked == [(SWITCHER, CHECK_MODE)]


def test_a_mode_that_was_taken_and_never_came_is_said():
    dog = Dog(mode="", lies=True, comes=False)
    with pytest.raises(RobotError, match="was selected, and has not the motors 5 s later"):
        dog.play(steps=give_back("mcf", lambda: dog.lies))
    assert dog.time == 5.0
