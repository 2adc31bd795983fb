"""What joint_command tells of its safety filter: `safety_status` and `/diagnostics`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from jepa_ros_msgs.msg import SafetyStatus

from jepa_ros.safety import Decision, SafetyFilter, State
from jepa_ros_nodes.diagnostics import diagnostic


class Ticks(Protocol):
    """What a control loop counts."""

    ticks: int
    missed: int
    measured_hz: float


def safety_status(at: Time, now: float, safety: SafetyFilter, decision: Decision, loop: Ticks) -> SafetyStatus:
    """The status at `now` (monotonic s), stamped `at`."""
    ages, events = safety.ages(now), safety.counts
    message = SafetyStatus(state=decision.state, reason=decision.reason, motion_allowed=safety.motion_allowed)
    message.header.stamp = at
    message.tilt, message.plan_age, message.camera_age = safety.tilt, ages.plan, ages.camera
    message.joint_state_age, message.imu_age = ages.joint_state, ages.imu
    message.disabled_limits = list(safety.disabled_limits)
    message.event_reasons, message.event_counts = list(events), list(events.values())
    message.control_rate, message.ticks, message.missed_ticks = loop.measured_hz, loop.ticks, loop.missed
    if safety.stopped_goal is not None:
        goal, message.stopped_reason = safety.stopped_goal
        if len(goal) == len(message.stopped_goal):
            message.stopped_goal = list(goal)
    return message


def safety_diagnostics(
    at: Time, safety: SafetyFilter, decision: Decision, loop: Ticks, recent: bool, more: Mapping[str, object]
) -> DiagnosticArray:
    """Error while damped; a warning after a fault (`recent`) and for as long as a limit is switched off.

    Args:
        at: stamp.
        safety, decision, loop: told of.
        recent: whether there was an event since the last one.
        more: further values.
    """
    disabled = safety.disabled_limits
    level = "error" if decision.state == State.DAMP.value else "warning" if recent or disabled else "ok"
    values = {
        "state": decision.state,
        "control_rate_hz": f"{loop.measured_hz:.1f}",
        "missed_ticks": loop.missed,
        "disabled_limits": ", ".join(disabled) or "none",
        **more,
    }
    array = diagnostic("joint_command", level, decision.reason, {**values, **safety.counts})
    array.header.stamp = at
    return array
