"""Taking the motors over from the Go2's own gait, and giving them back: the motion switcher, asked in a safe order.

`release` and `give_back` are coroutines without input or output of their own: they yield what is to be asked or waited
for and are sent the answer, so that the node that has the wire decides how, and a test needs none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np

from jepa_ros.errors import RobotError
from jepa_ros.types import Float64, JointState

SWITCHER, SPORT = "motion_switcher", "sport"
CHECK_MODE, SELECT_MODE, RELEASE_MODE = 1001, 1002, 1003
DAMP, STOP_MOVE, STAND_DOWN, MOVE = 1001, 1003, 1005, 1008
# How far from the stance `sit` a lying dog's joints may be, rad. The calves tell: at 0.6 rad from `sit` the hips are
# still 0.22 m high. Hips fall aside, and lift nothing.
_LYING_RAD = {"hip": 0.6, "thigh": 0.4, "calf": 0.25}
_STILL_RAD_S, _STILL_S = 0.3, 0.5
_GAP_S = 0.1  # silence for longer is no stillness
_LIE_DOWN_S, _SWITCH_S, _LOOK_S = 10.0, 5.0, 0.5


@dataclass(frozen=True)
class Call:
    """Something to ask the robot; answered by a `Reply`.

    Attributes:
        service: on `/api/<service>/request`.
        api: which call.
        parameter: JSON, or nothing.
    """

    service: str
    api: int
    parameter: str = ""


@dataclass(frozen=True)
class Reply:
    """The robot's answer: 0 or an error's number, and JSON."""

    code: int
    data: str = ""


@dataclass(frozen=True)
class Pause:
    """Time to let pass, s; answered by None."""

    seconds: float


Steps = Generator[Call | Pause, Reply | None, None]


def mode_of(reply: Reply | None) -> str:
    """Name of the mode that has the motors; empty when none has.

    Raises:
        RobotError: the robot refused to say, or said something else.
    """
    if reply is None or reply.code != 0:
        raise RobotError(f"the motion switcher refuses to tell its mode: {reply and reply.code}")
    try:
        name = json.loads(reply.data)["name"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RobotError(f"the motion switcher's answer has no name of a mode: {reply.data[:80]!r}") from error
    if not isinstance(name, str):
        raise RobotError(f"the motion switcher's answer has no name of a mode: {reply.data[:80]!r}")
    return name


def lying(position: Float64, sit: Float64, names: Sequence[str]) -> bool:
    """Whether joints `[n]` rad are those of a lying dog, near the stance `sit` `[n]`; one that stands would drop.

    Args:
        position: as measured.
        sit: of the stance.
        names: of the joints `[n]`, `FL_calf_joint` for instance; which part of a leg each is decides how near.

    Raises:
        RobotError: a joint that is none of a Go2's legs.
    """
    parts = [[*name.split("_"), ""][1] for name in names]
    if unknown := [name for name, part in zip(names, parts, strict=True) if part not in _LYING_RAD]:
        raise RobotError(
            f"joints: {', '.join(unknown)} must be named LEG_PART_joint, PART one of {', '.join(_LYING_RAD)}"
        )
    return bool((abs(position - sit) <= np.array([_LYING_RAD[part] for part in parts])).all())


class LyingWatch:
    """Knows whether the dog lies still, and has for 0.5 s: one on its way down passes through every posture.

    Args:
        sit: joint angles of the stance, `[n]` rad.
        names: of the joints.

    Raises:
        RobotError: a joint that is none of a Go2's legs.
    """

    def __init__(self, sit: Float64, names: Sequence[str]) -> None:
        self._sit, self._names = sit, tuple(names)
        lying(sit, sit, names)
        self._since, self._at = math.inf, -math.inf

    def hear(self, now: float, joints: JointState) -> None:
        """Take a state that came at monotonic `now` s."""
        still = bool((abs(joints.velocity) <= _STILL_RAD_S).all())
        if not (still and lying(joints.position, self._sit, self._names)):
            self._since = math.inf
        elif now - self._at > _GAP_S or self._since > now:
            self._since = now
        self._at = now

    def lies(self, now: float) -> bool:
        """Whether it does at monotonic `now` s; not once it is not heard any more."""
        return now - self._at <= _GAP_S and self._at - self._since >= _STILL_S


def release(is_lying: Callable[[], bool]) -> Steps:
    """Lie down, release the mode, and make sure that it is released.

    Args:
        is_lying: whether the dog lies still, by what was heard of its joints until now; see `LyingWatch`.

    Raises:
        RobotError: the dog does not lie, or the robot keeps its mode; in both cases it still stands by itself.
    """
    mode = mode_of((yield Call(SWITCHER, CHECK_MODE)))
    if not mode:
        return
    # Also where it seems to lie: a gait that goes on would stand up in the middle of the release.
    reply = yield Call(SPORT, STAND_DOWN)
    if (reply is None or reply.code != 0) and not is_lying():
        raise RobotError(f"mode {mode} is kept: it refuses to lie down ({reply and reply.code})")
    yield Pause(_LOOK_S)
    for _ in range(round(_LIE_DOWN_S / _LOOK_S)):
        if is_lying():
            break
        yield Pause(_LOOK_S)
    else:
        raise RobotError(f"mode {mode} is kept: the dog did not lie down within {_LIE_DOWN_S:.0f} s")
    yield Pause(_LOOK_S)  # the gait's own stand-down ends a little after the joints are there
    for _ in range(round(_SWITCH_S / (2 * _LOOK_S))):
        if not is_lying():
            raise RobotError(f"mode {mode} is kept: the dog does not lie still any more")
        yield Call(SWITCHER, RELEASE_MODE)
        yield Pause(2 * _LOOK_S)
        if not mode_of((yield Call(SWITCHER, CHECK_MODE))):
            return
    raise RobotError(f"mode {mode} is kept: it was released, and still has the motors {_SWITCH_S:.0f} s later")


def give_back(mode: str, is_lying: Callable[[], bool]) -> Steps:
    """Let a gait of the robot's own have the motors again.

    Args:
        mode: its name.
        is_lying: as of `release`; a gait that takes over a standing robot may jump.

    Raises:
        RobotError: the dog does not lie still, or the robot does not take the mode; in both cases the motors are free
            still, as far as is known.
    """
    if mode_of((yield Call(SWITCHER, CHECK_MODE))):
        return
    if not is_lying():
        raise RobotError("the motors stay free: the dog does not lie still; ask joint_command to sit first")
    reply = yield Call(SWITCHER, SELECT_MODE, json.dumps({"name": mode}))
    if reply is None or reply.code != 0:
        raise RobotError(f"the motors stay free: the robot refuses mode {mode} ({reply and reply.code})")
    for _ in range(round(_SWITCH_S / _LOOK_S)):
        yield Pause(_LOOK_S)
        if mode_of((yield Call(SWITCHER, CHECK_MODE))):
            return
    raise RobotError(f"mode {mode} was selected, and has not the motors {_SWITCH_S:.0f} s later")
