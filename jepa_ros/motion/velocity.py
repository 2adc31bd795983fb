"""Body velocities for a gait that is not ours: nothing to compute, and no joint is commanded."""

from __future__ import annotations

from collections.abc import Sequence

from jepa_ros.errors import RobotError
from jepa_ros.motion.locomotion import ACTION_NAMES
from jepa_ros.robots import RobotModel
from jepa_ros.types import Float64, Imu, JointState


class VelocityMotion:
    """Stands for the gait of the robot's maker, so that the safety filter runs as with a walking policy.

    Its joint targets, the standing posture, go through the filter and no further: the output sends the action, after
    its limits, and the robot's own gait moves the legs.

    Args:
        robot: with an output that carries velocities.
        action_names: any of `vx`, `vy`, `wz`.

    Raises:
        RobotError: an action name is none of the three.
    """

    def __init__(self, robot: RobotModel, action_names: Sequence[str]) -> None:
        unknown = [name for name in action_names if name not in ACTION_NAMES]
        if unknown or len(set(action_names)) != len(action_names):
            raise RobotError(
                f"robot {robot.name}: output {robot.output.kind} takes {', '.join(ACTION_NAMES)}, once each, not "
                f"{', '.join(action_names)}"
            )
        self.action_names = tuple(action_names)
        self.rate_hz = 50.0
        self._stance = robot.stance("stand")

    def reset(self, joint_state: JointState) -> None:
        """Nothing is remembered."""

    def targets(self, action: Float64, joint_state: JointState, imu: Imu) -> Float64:
        """The standing posture `[n]` rad."""
        return self._stance
