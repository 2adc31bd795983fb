"""Which motion carries out a bundle's actions."""

from __future__ import annotations

from collections.abc import Sequence

from jepa_ros.errors import RobotError
from jepa_ros.motion.direct import DirectMotion
from jepa_ros.motion.locomotion import ACTION_NAMES, LocomotionMotion
from jepa_ros.robots import RobotModel


def motion_kind(robot: RobotModel, action_names: Sequence[str]) -> str:
    """`locomotion` for body velocities, `direct` for joints of the robot.

    Raises:
        RobotError: no motion of this robot accepts such an action.
    """
    names = set(action_names)
    if names and names <= set(ACTION_NAMES):
        return "locomotion"
    if names and names <= set(robot.joint_names):
        return "direct"
    strange = sorted(names - set(ACTION_NAMES) - set(robot.joint_names))
    why = f"{', '.join(strange)} is neither" if strange else "a mixture or nothing at all is given"
    raise RobotError(
        f"robot {robot.name}: no motion accepts the action [{', '.join(action_names)}]: it takes either "
        f"body velocities ({', '.join(ACTION_NAMES)}) or joint names, and {why}"
    )


def make_motion(robot: RobotModel, action_names: Sequence[str], step_s: float = 0.2) -> LocomotionMotion | DirectMotion:
    """The motion that accepts actions of these names.

    Args:
        robot: who moves.
        action_names: the manifest's `action.names`.
        step_s: the manifest's model step; only direct joint motion needs it.

    Raises:
        RobotError: no motion of this robot accepts such an action, or it lacks the policy for it.
        ModelError: the walking policy cannot be opened.
    """
    if motion_kind(robot, action_names) == "locomotion":
        return LocomotionMotion(robot, action_names)
    return DirectMotion(robot, action_names, step_s)
