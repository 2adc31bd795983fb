"""Body velocity → joint targets through a learned low-level walking policy, given as ONNX."""

from __future__ import annotations

import numpy as np

from jepa_ros.errors import ModelError, RobotError
from jepa_ros.robots import RobotModel
from jepa_ros.runtime import Session
from jepa_ros.types import Float64, Imu, JointState

ACTION_NAMES = ("vx", "vy", "wz")


class LocomotionMotion:
    """The robot's walking policy, run at `rate_hz`.

    Observation and action layout are those of the robot file's `locomotion` block; joints are matched by name.

    Args:
        robot: must have a locomotion block.

    Raises:
        RobotError: it has none.
        ModelError: the policy cannot be opened.
    """

    action_names = ACTION_NAMES

    def __init__(self, robot: RobotModel) -> None:
        if robot.locomotion is None:
            raise RobotError(f"robot {robot.name}: no locomotion policy; add a locomotion block to its file")
        block = robot.locomotion
        self.rate_hz = block.rate_hz
        self._policy = Session(robot.folder / block.policy)
        self._to_robot = robot.index(block.joint_order)
        self._to_policy = np.argsort(self._to_robot)
        self._default = robot.stance(block.default_stance)
        self._scale = np.tile(block.action_scale, len(block.joint_order) // len(block.action_scale))
        self._gyro_scale, self._speed_scale = block.angular_velocity_scale, block.joint_velocity_scale
        self._command_scale = np.array(block.command_scale)
        self._low, self._high = np.array(block.command_low), np.array(block.command_high)
        count = len(block.joint_order)
        self._last = np.zeros(count, np.float32)
        self._observation = np.zeros((1, 9 + 3 * count), np.float32)
        self._count = count

    def reset(self, joint_state: JointState) -> None:
        """Forget the last action, as at the start of a walk."""
        self._last[:] = 0.0

    def targets(self, action: Float64, joint_state: JointState, imu: Imu) -> Float64:
        """Raw joint targets.

        Args:
            action: `[3]` vx m/s, vy m/s, wz rad/s; held to the policy's trained range.
            joint_state: measured joints, robot order.
            imu: measured angular velocity and orientation.

        Returns:
            `[n]` rad, robot order, not yet made safe.

        Raises:
            ModelError: the policy returned something that is not a number.
        """
        row, n = self._observation[0], self._count
        row[0:3] = imu.angular_velocity * self._gyro_scale
        row[3:6] = imu.gravity_direction()
        row[6:9] = np.clip(action, self._low, self._high) * self._command_scale
        row[9 : 9 + n] = (joint_state.position - self._default)[self._to_policy]
        row[9 + n : 9 + 2 * n] = joint_state.velocity[self._to_policy] * self._speed_scale
        row[9 + 2 * n :] = self._last
        output = self._policy.run(obs=self._observation)["actions"][0]
        if not np.isfinite(output).all():
            raise ModelError("the walking policy returned a value that is not a number")
        self._last[:] = output
        return self._default + (output.astype(np.float64) * self._scale)[self._to_robot]
