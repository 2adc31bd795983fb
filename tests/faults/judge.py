"""Was it safe? Judged from the wire alone, by the robot's file and not by the filter's code.

All times are system time in s as in `Recording`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from math import acos, isfinite
from typing import Any

import numpy as np

from jepa_ros.messages import seconds
from jepa_ros.robots import RobotModel

from .recording import TRUE_JOINTS, Recording, Row

WATCHDOG, COMMANDER = "command_watchdog", ""
EFFORT_MARGIN = 1.05
FROZEN_S = 0.12
FALLEN_TILT_RAD = 1.0
STILL_SPEED_M_S = 0.08
_MOVING_RAD_S = 0.25  # root mean square of joint speeds
_MEASUREMENTS = 3  # the newest that the commander can have had, and two before it: its tick may have begun earlier
_ROUNDING = 1e-6


class Outcome(str, Enum):
    """What became of the walk."""

    WALK = "walk"
    STOP = "stop"
    DAMP = "damp"


@dataclass(frozen=True)
class Unsafe:
    """A command that should not have been sent, and why."""

    at: float
    why: str


class CommandJudge:
    """Holds every command on the wire against what the robot's file allows.

    Args:
        robot: joints, gains.
    """

    def __init__(self, robot: RobotModel) -> None:
        self._robot = robot
        gains = robot.gains.values()
        self._kp, self._kd = max(g.kp for g in gains), max(g.kd for g in gains)
        self._walk_kp = robot.gain("walk").kp

    def command(self, message: Any, measured: Iterable[Any]) -> str:
        """What is wrong with one `JointCommand`; empty if nothing is.

        Args:
            message: the command.
            measured: `JointState`s of which the commander had at least one; those it could not use are passed over.
        """
        robot = self._robot
        if sorted(message.name) != sorted(robot.joint_names):
            return f"names {', '.join(message.name)}"
        where = robot.index(message.name)
        fields = [np.asarray(getattr(message, f), float) for f in ("position", "velocity", "effort", "kp", "kd")]
        if any(values.shape != where.shape for values in fields):
            return "arrays of another length than the names"
        q, dq, tau, kp, kd = (values[where] for values in fields)
        if not all(np.isfinite(values).all() for values in fields):
            return "not finite"
        if (q < robot.lower - _ROUNDING).any() or (q > robot.upper + _ROUNDING).any():
            return "position outside the joint range"
        if (kp < 0).any() or (kp > self._kp + _ROUNDING).any():
            return f"kp {kp.max():.1f} is not among the robot's gains"
        if (kd <= 0).any() or (kd > self._kd + _ROUNDING).any():
            return f"kd {kd.min():.2f}…{kd.max():.2f} is not among the robot's gains"
        states = [state for state in map(self._state, measured) if state is not None]
        if np.any(kp > 0) and states:
            ratios = [np.abs(tau + kp * (q - p) + kd * (dq - v)) / robot.effort_limits for p, v in states]
            least = min(float(ratio.max()) for ratio in ratios)
            if least > EFFORT_MARGIN:
                return f"torque estimate {least:.2f} times the limit"
        return ""

    def _state(self, message: Any) -> tuple[Any, Any] | None:
        """Positions and speeds `[n]` of a measurement; None for one that nobody could use."""
        if not set(self._robot.joint_names) <= set(message.name) or len(message.position) != len(message.name):
            return None
        where = self._robot.index(message.name)
        position, velocity = np.asarray(message.position)[where], np.asarray(message.velocity)[where]
        if not (np.isfinite(position).all() and np.isfinite(velocity).all()):
            return None
        return position, velocity

    def commands(self, recording: Recording) -> list[Unsafe]:
        """Every unsafe command of the commander and of the watchdog since the fault; a stranger's are not theirs."""
        found = []
        for at, message in recording.after("joint_commands", recording.injected):
            if message.header.frame_id in (COMMANDER, WATCHDOG):
                measured = [row[1] for row in recording.until("joint_states", at)[-_MEASUREMENTS:]]
                if why := self.command(message, measured):
                    found.append(Unsafe(at, why))
        return found + self.frozen(recording)

    def frozen(self, recording: Recording) -> list[Unsafe]:
        """Walking targets that held for too long while the legs moved: repeated, or last sent before a silence."""
        found: list[Unsafe] = []
        begun: tuple[float, Any] | None = None
        rows = [row for row in recording.rows("joint_commands") if row[1].header.frame_id in (COMMANDER, WATCHDOG)]
        for at, message in [*rows, (recording.closed, None)]:
            if begun is not None and message is not None and _same(begun[1], message):
                continue
            if begun is not None and at - begun[0] > FROZEN_S and at > recording.injected:
                moved = self._moving(recording, max(begun[0] + FROZEN_S, recording.injected), at)
                if moved and np.allclose(begun[1].kp, self._walk_kp):
                    why = f"walking targets frozen for {at - begun[0]:.3f} s"
                    found.append(Unsafe(begun[0], why + _stamped(begun, message)))
            begun = None if message is None else (at, message)
        return found

    def _moving(self, recording: Recording, begin: float, end: float) -> bool:
        """Whether the legs moved at any time between; by the simulator's joints, not by what the commander heard."""
        rows = [row for row in recording.after(TRUE_JOINTS, begin) if row[0] <= end]
        speeds = [np.sqrt(np.mean(np.square(m.velocity))) for _, m in rows if len(m.velocity)]
        return any(speed > _MOVING_RAD_S for speed in speeds if np.isfinite(speed))


def _stamped(begun: tuple[float, Any], following: Any) -> str:
    """How far apart the sender's own stamps are: where that is little, it was the way that took so long."""
    if following is None or following.header.frame_id != begun[1].header.frame_id:
        return ""
    return f", {seconds(following.header.stamp) - seconds(begun[1].header.stamp):.3f} s by their stamps"


def _same(command: Any, other: Any) -> bool:
    """Whether two commands ask for the same."""
    return list(command.position) == list(other.position) and list(command.kp) == list(other.kp)


def tilt(odometry: Any) -> float:
    """Angle in rad between the body's up and the world's."""
    q = odometry.pose.pose.orientation
    return acos(max(-1.0, min(1.0, 1 - 2 * (q.x * q.x + q.y * q.y))))


def fell(recording: Recording) -> bool:
    """Whether the body went past `FALLEN_TILT_RAD` after the fault."""
    odometry = recording.after("ground_truth/odom", recording.injected)
    told = recording.after("ground_truth/status", recording.injected)
    return any(tilt(m) > FALLEN_TILT_RAD for _, m in odometry) or any(m.fallen for _, m in told)


def damping(message: Any) -> bool:
    """Whether a command is kp 0, kd > 0."""
    return not np.any(message.kp) and bool(np.all(np.asarray(message.kd) > 0))


def _last_run(rows: list[Row], holds: Callable[[Any], bool]) -> float | None:
    """Since when a condition has held without a break up to the last row; None if it does not hold there."""
    since = None
    for at, message in reversed(rows):
        if not holds(message):
            break
        since = at
    return since


@dataclass(frozen=True)
class Safety:
    """What became of the walk.

    Attributes:
        outcome: how it ended.
        at: when the first safe command was on the wire; None if the dog walks on.
        interfered: whether the dog walks on though it was damped for a moment.
    """

    outcome: Outcome
    at: float | None
    interfered: bool = False


def made_safe(recording: Recording) -> Safety:
    """Which safe command came after the fault and stayed: damping, or a walk at velocity zero."""
    since = recording.injected
    commands = [r for r in recording.after("joint_commands", since) if r[1].header.frame_id in (COMMANDER, WATCHDOG)]
    damped = next((at for at, message in commands if damping(message)), None)
    stays = bool(commands) and damping(commands[-1][1])
    applied = recording.after("applied_action", since)
    zero = _last_run(applied, lambda message: not np.any(message.values))
    if damped is not None and stays:
        return Safety(Outcome.DAMP, damped if zero is None else min(damped, zero))
    if zero is not None:
        return Safety(Outcome.STOP, zero if damped is None else min(damped, zero))
    return Safety(Outcome.WALK, None, interfered=damped is not None)


def still_at(recording: Recording) -> float | None:
    """Since when the body has stood still; None if it does not, or nobody tells."""
    rows = recording.after("ground_truth/odom", recording.injected)
    return _last_run(rows, lambda message: abs(message.twist.twist.linear.x) < STILL_SPEED_M_S)


def reasons(recording: Recording) -> list[str]:
    """Reasons whose counters rose after the fault, as the safety filter names them.

    Beside these `commands_silent` if the watchdog damped, `energy_not_finite` if a plan says so of itself, and
    `planner:` with its sentence if world_model refused to go on.
    """
    before = {}
    for _, status in recording.until("safety_status", recording.injected):
        before = dict(zip(status.event_reasons, status.event_counts, strict=True))
    found: list[str] = []
    later: dict[str, int] = {}
    for _, status in recording.after("safety_status", recording.injected):
        later = dict(zip(status.event_reasons, status.event_counts, strict=True))
        fresh = [reason for reason, count in later.items() if count > before.get(reason, 0)]
        found += [reason for reason in fresh if reason not in found]
    for _, message in recording.after("joint_commands", recording.injected):
        if message.header.frame_id == WATCHDOG:
            found.append("commands_silent")
            break
    plans = recording.after("plan", recording.injected)
    if any(plan.steps > 0 and not isfinite(plan.energy) for _, plan in plans):
        found.append("energy_not_finite")
    for _, array in recording.after("/diagnostics", recording.injected):
        for entry in array.status:
            if entry.name.endswith("world_model") and entry.level == type(entry).ERROR:
                found.append(f"planner: {entry.message}")
    return found
