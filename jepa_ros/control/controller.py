"""`JointController`: plans and measurements in, a joint command out at every tick. The node and the replay share it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jepa_ros.control.plans import PlanFollower
from jepa_ros.errors import JepaRosError, RobotError
from jepa_ros.motion import DirectMotion, make_motion
from jepa_ros.motion.factory import motion_kind
from jepa_ros.robots import RobotModel
from jepa_ros.safety import Decision, SafetyFilter
from jepa_ros.safety.events import Fault
from jepa_ros.types import Float64, Imu, JointCommand, JointState, PlanChunk


@dataclass(frozen=True)
class Tick:
    """What one tick came to: the command to send, if any, and the action `[A]` that was carried out, if one was."""

    decision: Decision
    command: JointCommand | None
    applied: Float64 | None


class JointController:
    """The plan in force, through the motion, and last of all the safety filter.

    `now` is monotonic seconds, by which everything's age is judged; `clock` is the plans' clock (ROS time), by which it
    is judged which action holds. Both are the caller's. One thread calls `tick` and the `on_…` methods; `safety` may be
    asked from others.

    Args:
        robot: joints, motion, limits.
        action_names: what the plans' actions are.
        rate_hz: how often `tick` is called; a whole multiple of the motion's rate.
        step_s: model step; only direct joint motion needs it.
        disabled: names of limits to switch off.
        deadman: whether walking needs a deadman switch that is held.

    Raises:
        RobotError: no motion of the robot accepts such actions, a rate that the motion cannot be run at, or a name that
            is no limit.
        ModelError: the walking policy cannot be opened.
    """

    def __init__(
        self,
        robot: RobotModel,
        action_names: Sequence[str],
        rate_hz: float,
        step_s: float = 0.2,
        disabled: Sequence[str] = (),
        deadman: bool = False,
    ) -> None:
        self.safety = SafetyFilter(robot, action_names=action_names, disabled=disabled, deadman=deadman)
        self._motion = make_motion(robot, action_names, step_s)
        divider = rate_hz / self._motion.rate_hz
        if divider < 1 or abs(divider - round(divider)) > 1e-6:
            raise RobotError(
                f"control rate {rate_hz:g} Hz: must be a whole multiple of the motion's {self._motion.rate_hz:g} Hz"
            )
        self._divider = round(divider)
        if isinstance(self._motion, DirectMotion):  # a gait is held between its ticks, joints go on along their cubic
            self._motion.run_at(rate_hz)
        self._plans = PlanFollower(action_names)
        self._walks = motion_kind(robot, action_names) == "locomotion"
        self._column = [] if self._walks else [robot.joint_names.index(name) for name in action_names]
        self._count = 0
        self._policy_ran = False
        self._joints: JointState | None = None
        self._imu: Imu | None = None
        self._rest: Float64 = np.zeros(len(action_names))

    def on_joint_state(self, now: float, joints: JointState, age: float = 0.0) -> None:
        """A measurement came that was made `age` s ago; one from the future counts as just as old."""
        if self.safety.on_joint_state(now - abs(age), joints):
            self._joints = joints

    def lose_joint_state(self) -> None:
        """A measurement came that cannot be used: the motion gets no more targets until one that can."""
        self._joints = None

    def on_imu(self, now: float, imu: Imu, age: float = 0.0) -> None:
        """As `on_joint_state`."""
        if self.safety.on_imu(now - abs(age), imu):
            self._imu = imu

    def on_foot_contacts(self, now: float, forces: Float64, age: float = 0.0) -> None:
        """As `on_joint_state`: forces `[F]` N, in the order of the robot's feet."""
        self.safety.on_foot_contacts(now - abs(age), forces)

    def on_temperatures(self, now: float, celsius: Float64, age: float = 0.0) -> None:
        """As `on_joint_state`: `[n]` °C."""
        self.safety.on_temperatures(now - abs(age), celsius)

    def on_plan(self, now: float, clock: float, chunk: PlanChunk) -> bool:
        """A plan came; returns whether it is followed. One of a goal that is over is not, and touches nothing; one that
        holds a value that is not a number ends the walk at once, before anything of it would take effect.

        Raises:
            RobotError: it does not fit this robot.
        """
        chunk = self._plans.ordered(chunk)
        if not np.isfinite(chunk.values).all():
            if not self.safety.goal_is_over(chunk.goal):
                told = "a plan came with a value that is not a number"
                self.safety.on_bad_plan(now, Fault("plan_not_finite", told))
            return False
        made = now + chunk.observed - clock
        if not self.safety.on_plan(now, now + chunk.valid_until - clock, chunk.goal, made):
            return False
        self.safety.on_camera(now - abs(clock - chunk.observed))
        self._plans.take(chunk)
        return True

    def on_goal_end(self, goal: bytes) -> None:
        """The planner says that a goal is over."""
        self.safety.on_goal_end(goal)

    def tick(self, now: float, clock: float) -> Tick:
        """Decide, move, make safe. The command and the applied action are buffers that the next tick writes over."""
        if self.safety.on_clock(now, clock):
            self._plans.forget()
        decision = self.safety.update(now)
        joints, imu = self._joints, self._imu
        raw: Float64 | None = None
        applied: Float64 | None = None
        if decision.use_policy and joints is not None and imu is not None:
            if not self._policy_ran:
                self._motion.reset(joints)
                self._rest = np.zeros_like(self._rest) if self._walks else joints.position[self._column]
                self._count = 0
            due = self._count % self._divider == 0
            if due or not self._walks:
                raw, action = self._move(now, clock, decision, joints, imu)
                applied = action if due else None
            self._count += 1
        self._policy_ran = decision.use_policy
        return Tick(decision, self.safety.command(now, decision, raw, None, None), applied)

    def _move(
        self, now: float, clock: float, decision: Decision, joints: JointState, imu: Imu
    ) -> tuple[Float64 | None, Float64 | None]:
        """One tick of the motion: the plan's action, limited, to raw joint targets."""
        planned = self._plans.action(clock)
        # No plan in force: a gait walks on the spot, joints stay where they were last sent.
        wanted = self._rest if planned is None else planned
        action = self.safety.limit_action(now, decision, wanted)
        try:
            raw = self._motion.targets(action, joints, imu)
        except JepaRosError as error:
            self.safety.trip(now, "motion_failed", str(error))
            return None, None
        if not self._walks:
            np.copyto(self._rest, action)
        return raw, action
