"""`SafetyFilter`: the last thing before the wire. It trusts nothing above it and has no clock of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from jepa_ros.motion.factory import motion_kind
from jepa_ros.motion.locomotion import ACTION_NAMES
from jepa_ros.robots import RobotModel
from jepa_ros.robots.limits import SafetyLimits
from jepa_ros.safety.events import Fault, age
from jepa_ros.safety.inputs import BAD_TIME, SafetyInputs
from jepa_ros.safety.machine import Decision, Reply, Signals, State
from jepa_ros.safety.targets import JointTargets
from jepa_ros.safety.velocity import ActionLimiter
from jepa_ros.safety.watchdog import damping_command
from jepa_ros.types import Float64, Imu, JointCommand, JointState


@dataclass(frozen=True)
class Ages:
    """How old the newest of each is, in s; infinite before the first."""

    plan: float
    joint_state: float
    imu: float
    camera: float


class SafetyFilter(SafetyInputs):
    """States, limits and faults of one robot.

    One control tick: `update`, then `limit_action` and the motion's targets if `decision.use_policy`, then `command`;
    send what `command` returns. All times are monotonic seconds given by the caller, stamped on receipt. Methods may be
    called from several threads. Nothing that a caller gives makes it raise, once it is built; a tick makes no array.

    Args:
        robot: joints, stances, gains, limits.
        limits: other than the robot file's.
        action_names: what the plan's actions are; decides which motion's limits hold.
        disabled: names of limits to switch off, besides those that the robot's file does.
        deadman: whether walking needs a deadman switch that is held.

    Raises:
        RobotError: no motion of the robot accepts such actions, or a name that is no limit.
    """

    def __init__(
        self,
        robot: RobotModel,
        limits: SafetyLimits | None = None,
        action_names: Sequence[str] = ACTION_NAMES,
        disabled: Sequence[str] = (),
        deadman: bool = False,
    ) -> None:
        walks = motion_kind(robot, action_names) == "locomotion"
        super().__init__(robot, limits or robot.safety, walks, disabled, deadman)
        self._actions = ActionLimiter(robot, action_names, self._limits.slew)
        self._targets = JointTargets(robot, self._limits, walks, self._switches)
        self._moving_limits = self._limits.motions.locomotion if walks else self._limits.motions.direct
        self._damp = damping_command(robot)

    @property
    def last_command(self) -> JointCommand:
        """The last that was made, damping apart. Buffers."""
        return self._targets.command

    @property
    def measured(self) -> dict[str, float]:
        """What it works out to judge, as last: rad/s, rad/s², rad, °C; to set the limits of a robot by."""
        return {
            **self._targets.gait.peaks,
            "joint_acceleration": self._joints.acceleration,
            "tilt": self._imu.tilt,
            "tilt_rate": self._imu.tilt_rate,
            "motor temperature": self._motors.hottest,
        }

    def ages(self, now: float) -> Ages:
        """How old the inputs are."""
        joints, imu = self._joints.age(now), self._imu.age(now)
        return Ages(self._plans.age(now), joints, imu, age(now, self._camera_at))

    def request(self, what: str) -> Reply:
        """An operator's word: stand, walk, stop, sit, damp or recover. Judged by the time of the last update."""
        with self._lock:
            before = self._machine.state
            if (why := self._forbids(what, self._now)) is not None:
                return Reply(False, f"cannot {what}: {why.detail}")
            reply = self._machine.request(what, self._fault(self._now))
            if what == "damp":
                self.damped_for = "damped_on_request"
            if self._machine.damped and before is not State.DAMP:
                self._log.record(self._now, "info", Fault("damped_on_request", self._machine.reason))
            if what == "walk" and reply.accepted and before is not State.WALK:
                self._plans.forget_ended()
            self._enter_if_changed(before, self._now)
            return reply

    def trip(self, now: float, reason: str, detail: str) -> None:
        """Damp at once: the caller found something wrong (a motion raised, say). A passive robot stays passive."""
        with self._lock:
            self._take(now, Fault(reason, detail))

    def update(self, now: float) -> Decision:
        """Advance the state machine: what may move now, and why."""
        with self._lock:
            if not isfinite(now):
                self._take(self._now, BAD_TIME)
                return self._machine.decision()
            self._notice_stall(now)
            self._now, before = now, self._machine.state
            self._look_around(now)
            stop = self._limits.stop
            still = self._joints.still_for(now, stop.still_joint_speed) >= stop.still_for_s
            policy_ran = self._machine.policy_runs
            signals = Signals(
                fault=self._fault(now),
                no_walk=self._no_walk(now),
                still=still or now - self._entered >= stop.timeout_s,
                arrived=self._targets.arrived(now, self._joints.joints),
            )
            fault = self._machine.advance(signals)
            if fault is not None:
                self._log.record(now, "error" if self._machine.damped else "warning", fault)
                self.damped_for = fault.reason if self._machine.damped else self.damped_for
            self._enter_if_changed(before, now)
            if policy_ran and self._machine.state is State.STOPPING and not self._machine.policy_runs:
                self._targets.change_to("stand", now)
            return self._machine.decision()

    def limit_action(self, now: float, decision: Decision, action: Float64) -> Float64:
        """The plan's action `[A]` held to bounds and slew, times the decision's velocity scale: what is applied.

        It is a buffer that the next call writes over. A value that is not a number, or another number of values, damps
        and gives zeros.
        """
        with self._lock:
            fault = self._actions.judge(action) if isfinite(now) else BAD_TIME
            if fault is not None:
                self._take(now, fault)
                return self._actions.zero()
            scale = decision.velocity_scale if self._machine.state is State.WALK else 0.0
            return self._actions.limit(self._now, action, scale)

    def command(
        self,
        now: float,
        decision: Decision,
        raw_targets: Float64 | None,
        joint_state: JointState | None,
        imu: Imu | None,
    ) -> JointCommand | None:
        """What to send now: a command that is finite and within limits, or damping, or None while nothing may be sent.

        Its arrays are buffers that the next call writes over.

        Args:
            now: as given to `update`, which alone moves time on.
            decision: what `update` returned; targets made under `use_policy` are not used after a change of mind.
            raw_targets: `[n]` rad from the motion, or None between its ticks (the last are held).
            joint_state: what the limits are judged by; None takes the newest that came.
            imu: judged like a measurement that came.
        """
        with self._lock:
            machine = self._machine
            if machine.state is State.PASSIVE:
                return None
            self._take(now, None if isfinite(now) else BAD_TIME)
            now = self._now
            self._take(now, None if joint_state is None else self._joints.judge(joint_state))
            self._take(now, None if imu is None else self._imu.judge(imu))
            joints = joint_state or self._joints.joints
            if joints is None or machine.damped:
                return self._damping()
            if machine.policy_runs:
                self._take(now, self._targets.take(now, raw_targets if decision.use_policy else None))
            if not machine.damped:
                self._take(now, self._targets.make(now, joints, machine.policy_runs))
            return self._damping() if machine.damped else self._targets.command

    def _fault(self, now: float) -> Fault | None:
        """What damps a robot that moves, the most urgent first."""
        machine = self._machine
        motion = self._targets.moving if machine.policy_runs else "stance"
        limits = self._moving_limits if machine.policy_runs else self._limits.motions.stance
        return (
            self._joints.stale(now)
            or self._imu.stale(now)
            or self._imu.fault(now)
            or self._joints.fault(now, motion, limits)
            or (self._targets.not_reached(now, self._joints.joints) if machine.changes_stance else None)
            or self._feet_lost(now)
            or self._too_hot()
            or self._operator.rival()
        )

    def _notice_stall(self, now: float) -> None:
        """Damp if this loop stood still for too long, or its clock went back: it no longer knows where the body is."""
        gap, limit = now - self._now, self._limits.loop_timeout_s
        if self._machine.state is not State.PASSIVE and not 0.0 <= gap <= limit:
            detail = f"the control loop stood still for {gap:.3f} s, the limit is {limit} s"
            self._take(now, Fault("loop_stalled", detail))

    def _damping(self) -> JointCommand:
        joints = self._joints.joints
        if joints is not None:
            np.maximum(joints.position, self._robot.lower, out=self._damp.position)
            np.minimum(self._damp.position, self._robot.upper, out=self._damp.position)
        return self._damp

    def _enter_if_changed(self, before: State, now: float) -> None:
        """What a new state begins with."""
        state = self._machine.state
        if state is before:
            return
        self._entered = now
        if before is State.WALK:
            stopped = self._plans.end_current()
            if stopped is not None:
                self.stopped_goal = (stopped, self._machine.reason)
        if state is State.WALK and before is State.STAND:
            self._actions.reset()
            self._targets.begin_motion(now)
        elif state is State.STAND_UP:
            if before is State.PASSIVE and self._joints.joints is not None:
                self._targets.start_from(now, self._joints.joints.position)
            self._targets.change_to("stand", now)
        elif state is State.SIT_DOWN:
            self._targets.change_to("sit", now)
        elif state is State.STOPPING and not self._machine.policy_runs:
            self._targets.change_to("stand", now)
