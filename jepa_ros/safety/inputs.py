"""What the safety filter hears, and what of it stops, damps or refuses."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import inf, isfinite

from jepa_ros.robots import RobotModel
from jepa_ros.robots.limits import SafetyLimits
from jepa_ros.safety.events import EventLog, Fault, SafetyEvent, Severity, age
from jepa_ros.safety.machine import State, StateMachine
from jepa_ros.safety.monitors import ImuMonitor, JointMonitor, told
from jepa_ros.safety.plans import PlanGate
from jepa_ros.safety.surroundings import ClockWatch, FootContacts, Motors, Operator
from jepa_ros.safety.switches import Switches
from jepa_ros.types import Float64, Imu, JointState

BAD_TIME = Fault("time_not_finite", "a time was given that is not a number")
_ON_ITS_FEET = (State.STAND, State.WALK, State.STOPPING)


class SafetyInputs(ABC):
    """The inputs half of `SafetyFilter`: measurements, plans, switches, and what is wrong with them.

    Args:
        robot: joints, feet.
        limits: time-outs and thresholds.
        walks: whether the motion is a gait.
        disabled: names of limits to switch off, besides those that `limits` does.
        deadman: whether walking needs a deadman switch that is held.

    Raises:
        RobotError: a name that is no limit.
    """

    def __init__(
        self, robot: RobotModel, limits: SafetyLimits, walks: bool, disabled: Sequence[str], deadman: bool
    ) -> None:
        self._robot, self._limits = robot, limits
        self._switches = Switches((*limits.disabled, *disabled))
        self._machine = StateMachine(stops_with_policy=walks)
        self._joints, self._imu = JointMonitor(robot, limits, self._switches), ImuMonitor(limits, self._switches)
        self._plans = PlanGate(limits.plan_validity_max_s)
        self._feet, self._motors = FootContacts(len(robot.feet), limits.feet), Motors(robot, limits.motors)
        self._operator = Operator(deadman, limits.deadman_timeout_s)
        self._clock = ClockWatch(limits.clock_jump_s)
        self._log = EventLog()
        self._lock = threading.RLock()
        self._now = self._entered = self._camera_at = -inf
        self._lasting: set[str] = set()
        self.damped_for = ""
        """Fixed reason of the last damping; `damped_on_request` if an operator asked for it."""
        self.stopped_goal: tuple[bytes, str] | None = None
        """The last goal whose walk was stopped before it was over, and why: whoever planned it must be told."""

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
        """The name of the `State` it is in; `update` advances it."""
        return self._machine.state.value

    @property
    def tilt(self) -> float:
        """Angle in rad between the body's up and the world's, as last measured."""
        return self._imu.tilt

    @property
    def motion_allowed(self) -> bool:
        """Whether an operator permits walking and nothing has taken it back."""
        return self._machine.walk_permitted

    @property
    def disabled_limits(self) -> tuple[str, ...]:
        """Names of the limits that are switched off."""
        return self._switches.disabled

    def on_joint_state(self, t: float, joints: JointState) -> bool:
        """A measurement came at `t`, robot order; returns whether it is the newest. An older one is ignored."""
        with self._lock:
            if self._ignored(t, "joint_state_out_of_order", self._joints.late(t, self._now)):
                return False
            self._take(t, self._joints.take(t, joints) if isfinite(t) else BAD_TIME)
            return True

    def on_imu(self, t: float, imu: Imu) -> bool:
        """As `on_joint_state`."""
        with self._lock:
            if self._ignored(t, "imu_out_of_order", self._imu.late(t, self._now)):
                return False
            self._take(t, self._imu.take(t, imu) if isfinite(t) else BAD_TIME)
            return True

    def on_foot_contacts(self, t: float, forces: Float64) -> None:
        """Forces `[F]` N of the robot's feet came at `t`. From the first on they are needed. A robot of no feet has
        none."""
        with self._lock:
            if self._robot.feet:
                self._take(t, self._feet.take(t, forces) if isfinite(t) else BAD_TIME)

    def on_temperatures(self, t: float, celsius: Float64) -> None:
        """Motor temperatures `[n]` °C came at `t`, robot order."""
        with self._lock:
            self._take(t, self._motors.take(t, celsius) if isfinite(t) else BAD_TIME)

    def on_camera(self, t: float) -> None:
        """The newest frame behind the plans is of time `t`."""
        with self._lock:
            self._take(t, None if isfinite(t) else BAD_TIME)
            if isfinite(t):
                self._camera_at = t

    def on_plan(self, t: float, valid_until: float, goal_id: bytes = b"", made: float | None = None) -> bool:
        """A plan came at `t` that holds until `valid_until`; returns whether it may be followed.

        One of a goal that is over, or whose walk was stopped, may not; nor one of the past (its validity over, or older
        than the one that is followed), which changes nothing. One from the future ends the walk: whoever made it has
        another idea of time.

        Args:
            t: on receipt.
            valid_until: of the plan.
            goal_id: whom it serves.
            made: time of the newest image behind it; `t` if None.
        """
        with self._lock:
            made = t if made is None else made
            if not (isfinite(t) and isfinite(valid_until) and isfinite(made)):
                self._take(t, Fault("plan_not_finite", "a plan came with a time that is not a number"))
                return False
            if self._plans.over(goal_id):
                return False
            ahead, limit = made - t, self._limits.plan_future_s
            if ahead > limit and self._switches.on("plan_from_future"):
                detail = f"a plan came from {ahead:.3f} s in the future, the limit is {limit} s"
                self._stop(t, Fault("plan_from_future", detail))
                return False
            late = self._plans.late(t, valid_until, made)
            self._note(t, "plan_of_the_past", late, "info")
            if late is None:
                self._lasting -= {"plan_from_future", "plan_not_finite"}
                self._plans.on_plan(t, valid_until, goal_id, made)
            return late is None

    def goal_is_over(self, goal_id: bytes) -> bool:
        """Whether plans of this goal are not followed any more."""
        with self._lock:
            return self._plans.over(goal_id)

    def on_bad_plan(self, t: float, fault: Fault) -> None:
        """A plan came whose values mean nothing: the walk ends, the legs still under the motion. Whoever planned it is
        not to be trusted with this goal any more."""
        with self._lock:
            self._stop(t if isfinite(t) else self._now, fault)

    def on_goal_end(self, goal_id: bytes = b"") -> None:
        """The planner says that a goal is over: the walk ends, as no fault."""
        with self._lock:
            if self._plans.end(goal_id):
                before = self._machine.state
                self._machine.stop_walk("the goal is over")
                self._enter_if_changed(before, self._now)

    def on_deadman(self, t: float, held: bool) -> None:
        """The deadman switch was heard of at `t`. Released, or silent, it ends a walk and its permission."""
        with self._lock:
            self._take(t, None if isfinite(t) else BAD_TIME)
            if isfinite(t):
                self._operator.hold(t, held)

    def on_stop_signal(self, t: float, stop: bool) -> None:
        """The stop topic says: true ends the walk and its permission, and refuses standing up and walking while it
        lasts. False after it lets neither go on by itself."""
        with self._lock:
            self._operator.stop = stop
            self._take(t, None if isfinite(t) else BAD_TIME)
            told = Fault("stop_signal", "the stop signal came") if stop else None
            self._note(t if isfinite(t) else self._now, "stop_signal", told, "warning")
            if stop:
                self._withdraw("stopping on the stop signal")

    def on_clock(self, now: float, clock: float) -> bool:
        """The clock of stamps at `now`; returns whether it jumped since the last call. A jump ends a walk, and every
        plan is forgotten: their times mean nothing any more."""
        with self._lock:
            if not (isfinite(now) and isfinite(clock)):
                self._take(now, BAD_TIME)
                return False
            jump = self._clock.jump(now, clock)
            if jump is None or not self._switches.on("clock_jump"):
                return False
            if self._machine.state is not State.PASSIVE:
                self._log.record(now, "warning", jump)
                before = self._machine.state
                self._machine.stop_walk(jump.detail)
                self._enter_if_changed(before, now)
            self._plans.forget()
            return True

    def on_commanders(self, t: float, count: int) -> None:
        """How many others publish on the command topic, the watchdog apart."""
        with self._lock:
            self._take(t, None if isfinite(t) else BAD_TIME)
            self._operator.others = count if self._switches.on("two_commanders") else 0

    @abstractmethod
    def _enter_if_changed(self, before: State, now: float) -> None:
        """What a new state begins with."""

    def _ignored(self, t: float, name: str, late: Fault | None) -> bool:
        """Note measurements that come out of order, once in a row; they damp nothing: silence still does."""
        self._note(t, name, late, "info")
        return late is not None

    def _take(self, t: float, fault: Fault | None) -> None:
        """Record a fault and damp; a passive robot stays so (recorded once while it lasts), a damped one is damped."""
        state = self._machine.state
        if fault is None or state is State.DAMP:
            return
        if state is State.PASSIVE and self._log.lasts(self._now, fault.reason):
            return
        self._log.record(t if isfinite(t) else self._now, "error", fault)
        if state is not State.PASSIVE:
            self._machine.damp(fault.detail)
            self.damped_for = fault.reason
            self._enter_if_changed(state, self._now)

    def _stop(self, t: float, fault: Fault) -> None:
        """Record a fault once while it lasts, and end a walk."""
        self._note(t, fault.reason, fault, "warning")
        before = self._machine.state
        self._machine.stop_walk(fault.detail)
        self._enter_if_changed(before, self._now)

    def _withdraw(self, reason: str) -> None:
        """End a walk and its permission."""
        before = self._machine.state
        self._machine.withdraw(reason)
        self._enter_if_changed(before, self._now)

    def _note(self, t: float, name: str, fault: Fault | None, severity: Severity) -> None:
        """Record what lasts when it begins, and not again before it has ended."""
        if fault is None:
            self._lasting.discard(name)
        elif name not in self._lasting:
            self._lasting.add(name)
            self._log.record(t, severity, fault)

    def _look_around(self, now: float) -> None:
        """What takes a permission away, and what is only worth an event."""
        self._note(now, "temperatures_stale", self._motors.stale(now), "warning")
        objection = self._operator.objection(now)
        if objection is not None and self._machine.walk_permitted:
            self._log.record(now, "warning", objection)
            self._withdraw(objection.detail)

    def _forbids(self, what: str, now: float) -> Fault | None:
        """Why standing up or walking may not be asked for."""
        if what == "walk":
            return self._operator.objection(now) or self._operator.rival() or self._too_warm()
        return (self._operator.stopped() or self._operator.rival()) if what == "stand" else None

    def _no_walk(self, now: float) -> Fault | None:
        """Why a walk may not begin or go on."""
        limit = self._limits.camera_timeout_s
        if (old := age(now, self._camera_at)) > limit and self._switches.on("camera_stale"):
            return Fault("camera_stale", told("camera", old, limit))
        return self._plans.stale(now) or self._feet_stale(now) or self._too_warm()

    def _feet_lost(self, now: float) -> Fault | None:
        judged = self._machine.state in _ON_ITS_FEET and self._switches.on("no_foot_contact")
        return self._feet.lost(now, judged)

    def _feet_stale(self, now: float) -> Fault | None:
        return self._feet.stale(now) if self._switches.on("no_foot_contact") else None

    def _too_hot(self) -> Fault | None:
        return self._motors.too_hot() if self._switches.on("motor_hot") else None

    def _too_warm(self) -> Fault | None:
        return self._motors.hot() if self._switches.on("motor_hot") else None
