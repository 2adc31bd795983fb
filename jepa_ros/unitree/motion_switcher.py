"""Taking the motors over from the Go2's own gait: the motion switcher, asked in the order that keeps the dog safe.

`release` is a coroutine without input or output of its own: it yields what is to be asked or waited for and is sent
the answer, so that the node that has the wire decides how, and a test needs none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from dataclasses import dataclass

from jepa_ros.errors import RobotError
from jepa_ros.types import Float64

SWITCHER, SPORT = "motion_switcher", "sport"
CHECK_MODE, SELECT_MODE, RELEASE_MODE = 1001, 1002, 1003
DAMP, STOP_MOVE, STAND_DOWN, MOVE = 1001, 1003, 1005, 1008
_LYING_RAD = 0.6  # between the stances stand and sit some joint of each leg moves by more
_LIE_DOWN_S, _AFTER_RELEASE_S, _LOOK_S = 6.0, 5.0, 0.5


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


def lying(position: Float64, sit: Float64) -> bool:
    """Whether joints `[n]` rad are those of a lying dog, near the stance `sit` `[n]`; one that stands would drop."""
    return bool((abs(position - sit) <= _LYING_RAD).all())


def release(is_lying: Callable[[], bool]) -> Steps:
    """Lie down, release the mode, and make sure that it is released.

    Args:
        is_lying: whether the newest joint state is that of a lying dog.

    Raises:
        RobotError: the dog does not lie, or the robot keeps its mode; in both cases it still stands by itself.
    """
    mode = mode_of((yield Call(SWITCHER, CHECK_MODE)))
    if not mode:
        return
    if not is_lying():
        reply = yield Call(SPORT, STAND_DOWN)
        if reply is None or reply.code != 0:
            raise RobotError(f"mode {mode} is kept: it refuses to lie down ({reply and reply.code})")
    for _ in range(round(_LIE_DOWN_S / _LOOK_S)):
        if is_lying():
            break
        yield Pause(_LOOK_S)
    else:
        raise RobotError(f"mode {mode} is kept: the dog did not lie down within {_LIE_DOWN_S:.0f} s")
    yield Pause(_LOOK_S)  # the gait's own stand-down ends a little after the joints are there
    for _ in range(round(_AFTER_RELEASE_S / (2 * _LOOK_S))):
        yield Call(SWITCHER, RELEASE_MODE)
        yield Pause(2 * _LOOK_S)
        if not mode_of((yield Call(SWITCHER, CHECK_MODE))):
            return
    raise RobotError(f"mode {mode} is kept: it was released, and still has the motors {_AFTER_RELEASE_S:.0f} s later")
