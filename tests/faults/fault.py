"""What a fault is, and from when on it can be told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from jepa_ros.messages import seconds
from jepa_ros.robots import load_robot

from .bench import BODY, Bench, Setup
from .judge import COMMANDER, WATCHDOG, Outcome
from .recording import Recording

Clear = Callable[[], None]
Detectable = Callable[[Recording], float]

PLAIN = Setup()
WALK = frozenset({Outcome.WALK})
STOP = frozenset({Outcome.STOP})
DAMP = frozenset({Outcome.DAMP})
WALK_OR_STOP = WALK | STOP
ANY = WALK | STOP | DAMP

STATE_PERIOD_S = 1 / 125  # of joint_states and imu
COMMAND_PERIOD_S = 1 / 100
PERIODS = 3  # after so many nominal periods without a message a stream can be told to be stale
PLAN_VALIDITY_S = load_robot(BODY).safety.plan_validity_max_s
FRAME_DUE_S = 0.1 + 0.2  # a camera period and a model step: world_model looks at one frame a model step


def nothing() -> None:
    """There is nothing to end."""


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: of its row.
        inject: sets it off on a bench whose dog walks; returns what ends it.
        expected: what may become of the walk.
        reasons: beginnings of the reasons as which it has to be detected, one of them; none where it need not be.
        detectable: from when on it can be told, system time in s; time to safe runs from there.
        fall_permitted: whether the body may tilt past 1 rad.
        setup: how the nodes are started.
        arm: makes ready before the walk what would take too long in mid-walk; returns what takes it away.
        needs: a topic without which there is no such fault.
        watch_s: how long it is watched at most.
    """

    name: str
    inject: Callable[[Bench], Clear]
    expected: frozenset[Outcome]
    reasons: Sequence[str] = ()
    detectable: Detectable = lambda recording: recording.injected
    fall_permitted: bool = False
    setup: Setup = PLAIN
    arm: Callable[[Bench], Clear] = lambda _: nothing
    needs: str = ""
    watch_s: float = 3.5


def altering(alteration: str, *topics: str) -> Callable[[Bench], Clear]:
    """The relay alters these topics."""

    def inject(bench: Bench) -> Clear:
        def clear() -> None:
            for topic in topics:
                bench.alter(topic, "-")

        for topic in topics:
            bench.alter(topic, alteration)
        return clear

    return inject


def first(topic: str) -> Detectable:
    """With the first message after the fault."""

    def detectable(recording: Recording) -> float:
        later = recording.after(topic, recording.injected)
        return later[0][0] if later else recording.closed

    return detectable


def stale(topic: str, period_s: float) -> Detectable:
    """`PERIODS` nominal periods after the last good message."""

    def detectable(recording: Recording) -> float:
        good = recording.until(topic, recording.injected)
        return (good[-1][0] if good else recording.injected) + PERIODS * period_s

    return detectable


def frozen(topic: str, period_s: float) -> Detectable:
    """`PERIODS` nominal periods after the last message whose stamp was new: the first that came after the fault."""

    def detectable(recording: Recording) -> float:
        newest, at = 0.0, recording.injected
        for came, message in recording.rows(topic):
            stamp = seconds(message.header.stamp)
            if stamp > newest and came < recording.injected + period_s * PERIODS:
                newest, at = stamp, came
        return at + PERIODS * period_s

    return detectable


def commander_silent(recording: Recording) -> float:
    """`PERIODS` periods of the command stream after the commander's last command before its first silence."""
    rows = [at for at, message in recording.rows("joint_commands") if message.header.frame_id == COMMANDER]
    rows = [*(at for at in rows if at > recording.injected - 0.1), recording.closed]
    silence = PERIODS * COMMAND_PERIOD_S
    gaps = (a for a, b in pairwise(rows) if b - a > silence and b > recording.injected)
    return next(gaps, recording.injected) + silence


def second_commander(recording: Recording) -> float:
    """With the first command that is neither the commander's nor the watchdog's."""
    rows = recording.after("joint_commands", recording.injected)
    return next((at for at, message in rows if message.header.frame_id not in (COMMANDER, WATCHDOG)), recording.closed)


def plan_ends(recording: Recording) -> float:
    """When the last plan's validity was over that held when it came: what it says, at most `PLAN_VALIDITY_S` later."""
    plans = [(at, plan) for at, plan in recording.rows("plan") if plan.steps > 0 and seconds(plan.valid_until) > at]
    if not plans:
        return recording.injected
    at, plan = plans[-1]
    return min(seconds(plan.valid_until), at + PLAN_VALIDITY_S)


def old_picture(recording: Recording) -> float:
    """With the first plan whose picture is out of time, or when the last plan ends."""
    for at, plan in recording.after("plan", recording.injected):
        if plan.steps > 0 and abs(at - seconds(plan.observed)) > PLAN_VALIDITY_S:
            return at
    return plan_ends(recording)


def later(seconds_after: float) -> Detectable:
    """So long after the fault."""
    return lambda recording: recording.injected + seconds_after


next_frame = later(FRAME_DUE_S)
"""Once world_model must have looked at a frame."""
