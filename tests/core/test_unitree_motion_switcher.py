"""The sequence that frees the motors, played against robots that do and do not do as they are asked."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_ros.errors import RobotError
from jepa_ros.robots import load_robot
from jepa_ros.unitree.motion_switcher import (
    CHECK_MODE,
    RELEASE_MODE,
    SPORT,
    STAND_DOWN,
    SWITCHER,
    Call,
    Pause,
    Reply,
    lying,
    mode_of,
    release,
)


class Dog:
    """Answers as a Go2 does; `lies_after` s of waiting make it lie once it has been told."""

    def __init__(self, mode="normal", lies=False, lies_after=1.0, releases=True):
        self.mode, self.lies, self.lies_after, self.releases = mode, lies, lies_after, releases
        self.told, self.time, self.asked = False, 0.0, []

    def play(self):
        steps, answer = release(lambda: self.lies), None
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


def test_only_the_sitting_stance_is_lying():
    robot = load_robot("go2")
    sit = robot.stance("sit")
    assert lying(sit, sit)
    assert not lying(robot.stance("stand"), sit)
    assert not lying(robot.stance("walk"), sit)


def test_a_call_and_a_pause_are_values():
    assert Call(SPORT, 1) == Call(SPORT, 1)
    assert Pause(1.0) != Pause(2.0)
