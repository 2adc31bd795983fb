"""Body velocity → joint targets through a learned low-level walking policy, given as ONNX."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jepa_ros.errors import ModelError, RobotError
from jepa_ros.robots import RobotModel
from jepa_ros.runtime import Session
from jepa_ros.types import Float64, Imu, JointState

ACTION_UNITS = {"vx": "m/s", "vy": "m/s", "wz": "rad/s"}
ACTION_FRAME = "base_link"
ACTION_NAMES = tuple(ACTION_UNITS)


class LocomotionMotion:
    """The robot's walking policy, run at `rate_hz`.

    Observation and action layout are those of the robot file's `locomotion` block; joints are matched by name. The
    policy runs on the CPU, on buffers that are bound once: at batch 1 an accelerator only adds overhead.

    Args:
        robot: must have a locomotion block.
        action_names: what the entries of an action are, any of `vx`, `vy` (m/s, body frame) and `wz` (rad/s), in any
            order; those left out stay zero.

    Raises:
        RobotError: the robot has no locomotion block, or an action name is none of the three.
        ModelError: the policy cannot be opened or its shapes do not fit the robot.
    """

    def __init__(self, robot: RobotModel, action_names: Sequence[str] = ACTION_NAMES) -> None:
        if robot.locomotion is None:
            raise RobotError(f"robot {robot.name}: no locomotion policy; add a locomotion block to its file")
        unknown = [name for name in action_names if name not in ACTION_NAMES]
        if unknown or len(set(action_names)) != len(action_names):
            raise RobotError(
                f"robot {robot.name}: walking takes {', '.join(ACTION_NAMES)}, once each, not {', '.join(action_names)}"
            )
        block = robot.locomotion
        self.action_names = tuple(action_names)
        self.rate_hz = block.rate_hz
        self._column = [ACTION_NAMES.index(name) for name in action_names]
        self._to_robot = robot.index(block.joint_order)
        self._to_policy = np.argsort(self._to_robot)
        self._default = robot.stance(block.default_stance)
        count = len(block.joint_order)
        self._scale = np.resize(np.array(block.action_scale), count)
        self._gyro_scale, self._speed_scale = block.angular_velocity_scale, block.joint_velocity_scale
        self._command_scale = np.array(block.command_scale)
        self._low, self._high = np.array(block.command_low), np.array(block.command_high)
        self._command = np.zeros(len(ACTION_NAMES))
        self._observation = np.zeros((1, 9 + 3 * count), np.float32)
        self._output = np.zeros((1, count), np.float32)
        session = Session(robot.folder / block.policy, providers=("CPUExecutionProvider",))
        shapes = [shape for shape, _ in (*session.inputs.values(), *session.outputs.values())]
        if shapes != [self._observation.shape, self._output.shape]:
            raise ModelError(
                f"policy {block.policy}: shapes {shapes} do not fit the {count} joints of robot {robot.name}"
            )
        (name_in,), (name_out,) = session.inputs, session.outputs
        self._run = session.bind({name_in: self._observation}, {name_out: self._output})

    def reset(self, joint_state: JointState) -> None:
        """Forget the last action, as at the start of a walk."""
        self._output[:] = 0.0

    def targets(self, action: Float64, joint_state: JointState, imu: Imu) -> Float64:
        """Raw joint targets. Not-a-number in gives not-a-number out, which the safety filter refuses.

        Args:
            action: `[A]` in the order of `action_names`, m/s and rad/s; held to the policy's trained range.
            joint_state: measured joints, robot order.
            imu: measured angular velocity and orientation.

        Returns:
            `[n]` rad, robot order, not yet made safe.
        """
        row, n = self._observation[0], len(self._default)
        self._command[self._column] = action
        row[0:3] = imu.angular_velocity * self._gyro_scale
        row[3:6] = imu.gravity_direction()
        row[6:9] = np.clip(self._command, self._low, self._high) * self._command_scale
        row[9 : 9 + n] = (joint_state.position - self._default)[self._to_policy]
        row[9 + n : 9 + 2 * n] = joint_state.velocity[self._to_policy] * self._speed_scale
        row[9 + 2 * n :] = self._output[0]
        self._run()
        offset: Float64 = (self._output[0] * self._scale)[self._to_robot]
        return self._default + offset
