"""Which motion carries out a bundle's actions."""

from __future__ import annotations

from collections.abc import Sequence

from jepa_ros.errors import RobotError
from jepa_ros.motion.direct import ACTION_UNIT, DirectMotion
from jepa_ros.motion.locomotion import ACTION_FRAME, ACTION_NAMES, ACTION_UNITS, LocomotionMotion
from jepa_ros.motion.velocity import VelocityMotion
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


def check_units(action_names: Sequence[str], units: Sequence[str], frame: str) -> None:
    """Refuse units and a frame that motions do not take: nothing converts a bundle's actions.

    Body velocities are in m/s and rad/s of base_link; whatever else is named must be a joint, in rad, in any frame.

    Args:
        action_names, units, frame: the manifest's `action`.

    Raises:
        RobotError: naming the field.
    """
    for name, unit in zip(action_names, units, strict=True):
        taken = ACTION_UNITS.get(name, ACTION_UNIT)
        if unit != taken:
            raise RobotError(
                f"action.units: {name} is in {unit}, and motions take {taken}; export it with the scaling inside"
            )
    if frame != ACTION_FRAME and set(action_names) & set(ACTION_UNITS):
        raise RobotError(f"action.frame is {frame}, and body velocities are of {ACTION_FRAME}; export it in that frame")


def make_motion(
    robot: RobotModel, action_names: Sequence[str], step_s: float = 0.2
) -> LocomotionMotion | DirectMotion | VelocityMotion:
    """The motion that accepts actions of these names, for the output that the robot has.

    Args:
        robot: who moves.
        action_names: the manifest's `action.names`.
        step_s: the manifest's model step; only direct joint motion needs it.

    Raises:
        RobotError: no motion of this robot accepts such an action, or it lacks the policy for it.
        ModelError: the walking policy cannot be opened.
    """
    if robot.sends_velocities:
        return VelocityMotion(robot, action_names)
    if motion_kind(robot, action_names) == "locomotion":
        return LocomotionMotion(robot, action_names)
    return DirectMotion(robot, action_names, step_s)
