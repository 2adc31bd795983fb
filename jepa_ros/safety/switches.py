"""Limits by name, and which of them are switched off."""

from __future__ import annotations

from collections.abc import Iterable

from jepa_ros.errors import RobotError

MOTIONS = ("locomotion", "direct", "stance")
PER_MOTION = (
    "joint_range",
    "effort",
    "target_speed",
    "target_acceleration",
    "target_step",
    "joint_speed",
    "joint_acceleration",
)
ALWAYS = (
    "tilt",
    "tilt_rate",
    "no_foot_contact",
    "motor_hot",
    "stance_not_reached",
    "camera_stale",
    "plan_from_future",
    "clock_jump",
    "two_commanders",
)
"""What can be switched off besides. Not in it: values that are not numbers, silence of what control needs, and time."""
KNOWN = (*PER_MOTION, *(f"{motion}.{name}" for motion in MOTIONS for name in PER_MOTION), *ALWAYS)


class Switches:
    """Every limit is on unless it is named here: `effort` for all motions, or `stance.effort` for one.

    Args:
        disabled: names of limits.

    Raises:
        RobotError: a name that is no limit, or one that cannot be switched off.
    """

    def __init__(self, disabled: Iterable[str] = ()) -> None:
        self.disabled = tuple(dict.fromkeys(disabled))
        for name in self.disabled:
            if name not in KNOWN:
                raise RobotError(
                    f"disabled limits: {name!r} is none that can be switched off; there are "
                    f"{', '.join((*PER_MOTION, *ALWAYS))}; the first {len(PER_MOTION)} also of one motion, "
                    f"as in {MOTIONS[0]}.{PER_MOTION[0]} ({', '.join(MOTIONS)})"
                )

    def on(self, name: str, motion: str | None = None) -> bool:
        """Whether a limit holds; `motion` for those that are there per motion."""
        return name not in self.disabled and f"{motion}.{name}" not in self.disabled
