"""The dog under its walking policy: body velocity held for a while in, physics forward, exactly as joint_command
drives it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_ros.motion.locomotion import LocomotionMotion
from jepa_ros.types import Float32, Float64, JointCommand, UInt8
from jepa_ros_simulation.dog import DogSim

SETTLE_S = 1.0


class Walker:
    """Drives a `DogSim` through the low-level walking policy at the policy's own rate.

    Args:
        sim: the dog; `sim.robot` must have a locomotion policy.
    """

    def __init__(self, sim: DogSim) -> None:
        if sim.robot.locomotion is None:
            raise ValueError(f"robot {sim.robot.name} has no locomotion policy")
        self.sim = sim
        self.motion = LocomotionMotion(sim.robot)
        self.tick_s = 1.0 / sim.robot.locomotion.rate_hz
        gains, count = sim.robot.gain("walk"), len(sim.robot.joint_names)
        self._zero = np.zeros(count)
        self._kp, self._kd = np.full(count, gains.kp), np.full(count, gains.kd)
        self._standing: NDArray[np.float64] | None = None

    def start(self, x: float, y: float, yaw: float) -> None:
        """Stand at rest at a pose (m, m, rad) under the walking policy, settled, ready for a first action."""
        self.sim.reset(x, y, yaw, posture="walk")
        self.motion.reset(self.sim.joint_state())
        self.drive(np.zeros(3), SETTLE_S)
        self.sim.place(x, y, yaw)

    def drive(self, action: Float32 | Float64, seconds: float) -> None:
        """Hold a body velocity (vx m/s, vy m/s, wz rad/s) for whole ticks of the policy."""
        sim, robot = self.sim, self.sim.robot
        velocity = np.asarray(action, dtype=np.float64)
        for _ in range(max(round(seconds / self.tick_s), 1)):
            joints = sim.joint_state()
            raw = self.motion.targets(velocity, joints, sim.imu())
            position = np.clip(raw, robot.lower, robot.upper)
            sim.apply(JointCommand(position, self._zero, self._zero, self._kp, self._kd))
            sim.step(self.tick_s)

    def goal_view(self, x: float, y: float, yaw: float) -> UInt8:
        """What the head camera sees when the dog stands at a pose (m, m, rad); the dog itself is put there."""
        self.start(x, y, yaw)
        return self.sim.render()
