"""`SafetyFilter`: the last thing before the wire. It trusts nothing above it and has no clock of its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np

from jepa_ros.motion.factory import motion_kind
from jepa_ros.motion.locomotion import ACTION_NAMES
from jepa_ros.robots import RobotModel
from jepa_ros.robots.limits import Clamp, MotionLimits, PacedLimits, SafetyLimits
from jepa_ros.safety.events import EventLog, Fault, SafetyEvent, age
from jepa_ros.safety.machine import Decision, Reply, Signals, State, StateMachine
from jepa_ros.safety.monitors import BodyMonitor, Lasting
from jepa_ros.safety.plans import PlanGate
from jepa_ros.safety.stance import Posture, StanceChange
from jepa_ros.safety.targets import MotionTargets, hold_to_limits
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


class SafetyFilter:
    """States, limits and faults of one robot.

    One control tick: `update`, then `limit_action` and the motion's targets if `decision.use_policy`, then `command`;
    send what `command` returns. All times are monotonic seconds given by the caller, stamped on receipt. Methods may be
    called from several threads.

    Args:
        robot: joints, stances, gains, limits.
        limits: other than the robot file's.
        action_names: what the plan's actions are; decides which motion's limits hold.

    Raises:
        RobotError: no motion of the robot accepts such actions.
    """

    def __init__(
        self, robot: RobotModel, limits: SafetyLimits | None = None, action_names: Sequence[str] = ACTION_NAMES
    ) -> None:
        self._robot, self._limits = robot, limits or robot.safety
        walks = motion_kind(robot, action_names) == "locomotion"
        motions = self._limits.motions
        self._moving: MotionLimits = motions.locomotion if walks else motions.direct
        self._moving_gains = robot.gain("walk" if walks else "stand")
        self._machine = StateMachine(stops_with_policy=walks)
        self._body = BodyMonitor(robot, self._limits)
        self._plans = PlanGate(self._limits.plan_validity_max_s)
        self._actions = ActionLimiter(robot, action_names, self._limits.slew)
        self._log = EventLog()
        self._lock = threading.RLock()
        self._now = self._entered = self._camera_at = -inf
        self._change: StanceChange | None = None
        self._posture = Posture(robot.stance("sit"), robot.gain("stand"))
        self._targets: MotionTargets | None = None
        self.stopped_goal: tuple[bytes, str] | None = None
        """The last goal whose walk was stopped before it was over, and why: whoever planned it must be told."""
        self._past = {"joint_range": Lasting(), "effort": Lasting()}

    @property
    def events(self) -> list[SafetyEvent]:
        """The newest events, oldest first."""
        return list(self._log.recent)

    @property
    def counts(self) -> dict[str, int]:
        """How many events there were of each reason."""
        return dict(self._log.counts)

    @property
    def total(self) -> int:
        """How many events there were."""
        return self._log.counts.total()

    @property
    def state(self) -> str:
        """The name of the `State` it is in; `update` alone advances it."""
        return self._machine.state.value

    @property
    def tilt(self) -> float:
        """Angle in rad between the body's up and the world's, as last measured."""
        return self._body.tilt

    @property
    def motion_allowed(self) -> bool:
        """Whether an operator permits walking and nothing has taken it back."""
        return self._machine.walk_permitted

    def ages(self, now: float) -> Ages:
        """How old the inputs are."""
        joints, imu = self._body.joint_state_age(now), self._body.imu_age(now)
        return Ages(self._plans.age(now), joints, imu, age(now, self._camera_at))

    def on_joint_state(self, t: float, joints: JointState) -> None:
        """A measurement came at `t`, robot order.

        Raises:
            RobotError: it has another number of joints than the robot.
        """
        with self._lock:
            self._take(t, self._body.on_joint_state(t, joints) if isfinite(t) else _BAD_TIME)

    def on_imu(self, t: float, imu: Imu) -> None:
        """A measurement came at `t`."""
        with self._lock:
            self._take(t, self._body.on_imu(t, imu) if isfinite(t) else _BAD_TIME)

    def on_camera(self, t: float) -> None:
        """The newest frame behind the plans is of time `t`."""
        with self._lock:
            self._take(t, None if isfinite(t) else _BAD_TIME)
            if isfinite(t):
                self._camera_at = t

    def on_plan(self, t: float, valid_until: float, goal_id: bytes = b"") -> bool:
        """A plan came at `t` that holds until `valid_until`; returns whether it may be followed.

        One of a goal that is over, or whose walk was stopped, may not.
        """
        with self._lock:
            if isfinite(t) and isfinite(valid_until):
                return self._plans.on_plan(t, valid_until, goal_id)
            self._take(t, Fault("plan_not_finite", "a plan came with a time that is not a number"))
            return False

    def on_goal_end(self, goal_id: bytes = b"") -> None:
        """The planner says that a goal is over: the walk ends, as no fault."""
        with self._lock:
            if self._plans.end(goal_id):
                before = self._machine.state
                self._machine.stop_walk("the goal is over")
                self._enter_if_changed(before, self._now)

    def request(self, what: str) -> Reply:
        """An operator's word: stand, walk, stop, sit, damp or recover. Judged by the time of the last update."""
        with self._lock:
            before = self._machine.state
            reply = self._machine.request(what, self._fault(self._now))
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
                self._take(self._now, _BAD_TIME)
                return self._machine.decision()
            self._notice_stall(now)
            self._now, before = now, self._machine.state
            stop = self._limits.stop
            still = self._body.still_for(now, stop.still_joint_speed) >= stop.still_for_s
            policy_ran = self._machine.policy_runs
            signals = Signals(
                fault=self._fault(now),
                no_walk=self._no_walk(now),
                still=still or now - self._entered >= stop.timeout_s,
                arrived=self._change is None or self._change.over(now),
            )
            fault = self._machine.advance(signals)
            if fault is not None:
                self._log.record(now, "error" if self._machine.state is State.DAMP else "warning", fault)
            self._enter_if_changed(before, now)
            if policy_ran and self._machine.state is State.STOPPING and not self._machine.policy_runs:
                self._change_to("stand", now)
            return self._machine.decision()

    def limit_action(self, now: float, decision: Decision, action: Float64) -> Float64:
        """The plan's action `[A]` held to bounds and slew, times the decision's velocity scale: what is applied.

        A value that is not a number, or another number of values, damps and gives zeros.
        """
        with self._lock:
            fault = self._actions.judge(action) if isfinite(now) else _BAD_TIME
            if fault is not None:
                self._take(now, fault)
                return self._actions.zero()
            scale = decision.velocity_scale if self._machine.state is State.WALK else 0.0
            return self._actions.limit(now, action, scale)

    def command(
        self,
        now: float,
        decision: Decision,
        raw_targets: Float64 | None,
        joint_state: JointState | None,
        imu: Imu | None,
    ) -> JointCommand | None:
        """What to send now: a command that is finite and within limits, or damping, or None while nothing may be sent.

        Args:
            now: as given to `update`.
            decision: what `update` returned; targets made under `use_policy` are not used after a change of mind.
            raw_targets: `[n]` rad from the motion, or None between its ticks (the last are held).
            joint_state: what the limits are judged by; None takes the newest that came.
            imu: judged like a measurement that came.
        """
        with self._lock:
            if self._machine.state is State.PASSIVE:
                return None
            self._look(now, joint_state, imu)
            joints = joint_state or self._body.joints
            if joints is None or self._machine.damped:
                return self._damping()
            if self._machine.policy_runs and self._targets is not None:
                self._take(now, self._targets.take(now, raw_targets if decision.use_policy else None))
                limits, targets, gains = self._moving, self._targets.at(now), self._moving_gains
            else:
                limits, posture = self._limits.motions.stance, self._at(now)
                targets, gains = posture.position, posture.gains
            held = hold_to_limits(self._robot, targets, joints, gains.kp, gains.kd)
            self._watch(now, "joint_range", limits.joint_range, held.joint_range)
            self._watch(now, "effort", limits.effort, held.effort)
            if self._machine.damped:
                return self._damping()
            self._posture = Posture(held.position, gains)
            zero = np.zeros_like(held.position)
            return JointCommand(held.position, zero, zero.copy(), held.kp, held.kd)

    def _fault(self, now: float) -> Fault | None:
        limits = self._moving if self._machine.policy_runs else self._limits.motions.stance
        return self._body.fault(now, limits.joint_speed.trip_after_s)

    def _no_walk(self, now: float) -> Fault | None:
        old, limit = age(now, self._camera_at), self._limits.camera_timeout_s
        if old > limit:
            told = "no camera frame yet" if old == inf else f"camera stale: {old:.3f} s old, the limit is {limit} s"
            return Fault("camera_stale", told)
        return self._plans.stale(now)

    def _take(self, t: float, fault: Fault | None) -> None:
        """Record a fault and damp; a passive robot stays passive, a damped one is damped already."""
        state = self._machine.state
        if fault is None or state is State.DAMP:
            return
        self._log.record(t if isfinite(t) else self._now, "error", fault)
        if state is not State.PASSIVE:
            self._machine.damp(fault.detail)
            self._enter_if_changed(state, self._now)

    def _notice_stall(self, now: float) -> None:
        """Damp if this loop stood still for too long, or its clock went back: it no longer knows where the body is."""
        gap, limit = now - self._now, self._limits.loop_timeout_s
        if self._machine.state is not State.PASSIVE and not 0.0 <= gap <= limit:
            self._take(
                now, Fault("loop_stalled", f"the control loop stood still for {gap:.3f} s, the limit is {limit} s")
            )

    def _look(self, now: float, joints: JointState | None, imu: Imu | None) -> None:
        """Trip on what `command` was given, if it cannot be."""
        self._take(now, None if isfinite(now) else _BAD_TIME)
        self._take(now, None if joints is None else self._body.judge_joints(joints))
        self._take(now, None if imu is None else self._body.judge_imu(imu))

    def _watch(self, now: float, limit: str, rule: Clamp, past: bool) -> None:
        lasted = self._past[limit].seconds(now, past)
        if rule.trip_after_s is not None and lasted >= rule.trip_after_s:
            self._take(now, Fault(limit, f"targets were past the {limit.replace('_', ' ')} limit for {lasted:.2f} s"))

    def _at(self, now: float) -> Posture:
        return self._posture if self._change is None else self._change.at(now)

    def _damping(self) -> JointCommand:
        return damping_command(self._robot, None if self._body.joints is None else self._body.joints.position)

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
            rate = self._moving.rate if isinstance(self._moving, PacedLimits) else None
            self._targets = MotionTargets(rate, self._limits.policy_timeout_s, now, self._posture.position)
        elif state is State.STAND_UP:
            if before is State.PASSIVE and self._body.joints is not None:
                inside = np.clip(self._body.joints.position, self._robot.lower, self._robot.upper)
                self._posture = Posture(inside, self._robot.gain("stand"))
            self._change_to("stand", now)
        elif state is State.SIT_DOWN:
            self._change_to("sit", now)
        elif state is State.STOPPING and not self._machine.policy_runs:
            self._change_to("stand", now)

    def _change_to(self, stance: str, now: float) -> None:
        end = Posture(self._robot.stance(stance), self._robot.gain("stand"))
        rate = self._limits.motions.stance.rate
        self._change = StanceChange(self._posture, end, now, rate, self._limits.stance_time_s)


_BAD_TIME = Fault("time_not_finite", "a time was given that is not a number")
