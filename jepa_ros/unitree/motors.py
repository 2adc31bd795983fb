"""Which motor of a Go2 is in which slot of LowCmd and LowState. Everything else goes by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jepa_ros.errors import RobotError

SLOTS = 20
GO2_MOTORS = tuple(f"{leg}_{part}_joint" for leg in ("FR", "FL", "RR", "RL") for part in ("hip", "thigh", "calf"))
"""Unitree's order; not that of its URDF and MJCF, which run FL, FR, RL, RR."""


def slots(joints: Sequence[str], motors: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """The slot of each joint `[n]`.

    Args:
        joints: names in the robot's order.
        motors: names in the order of the slots.

    Raises:
        RobotError: not the same joints.
    """
    if sorted(joints) != sorted(motors) or len(motors) > SLOTS:
        differs = ", ".join(sorted(set(joints) ^ set(motors))) or "their number"
        raise RobotError(
            f"output.motors must name each of the robot's joints once, {SLOTS} at most; differs: {differs}"
        )
    return np.array([list(motors).index(name) for name in joints], np.intp)


def foot_slots(feet: Sequence[str], motors: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Where the force of each foot `[F]` stands: in the order of the legs, with which the motors' names begin.

    Raises:
        RobotError: a foot whose leg has no motor.
    """
    legs = list(dict.fromkeys(name.partition("_")[0] for name in motors))
    wanted = [name.partition("_")[0] for name in feet]
    if lost := [foot for foot, leg in zip(feet, wanted, strict=True) if leg not in legs]:
        raise RobotError(f"feet: {', '.join(lost)} must begin with the name of a leg, one of {', '.join(legs)}")
    return np.array([legs.index(leg) for leg in wanted], np.intp)
