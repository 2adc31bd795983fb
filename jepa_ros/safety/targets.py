"""What is asked of the joints: a stance, the way to another, or the motion's targets; held to every limit."""

from __future__ import annotations

from math import inf

import numpy as np

from jepa_ros.robots import RobotModel
from jepa_ros.robots.limits import ClampTo, GaitLimits, PacedLimits, Rate, SafetyLimits
from jepa_ros.robots.model import Gains
from jepa_ros.safety.events import Fault
from jepa_ros.safety.hold import TargetHold
from jepa_ros.safety.lasting import Lasting
from jepa_ros.safety.motion_targets import GaitWatch, MotionTargets
from jepa_ros.safety.rate import RateLimiter
from jepa_ros.safety.stance import Posture, StanceChange
from jepa_ros.safety.switches import PER_MOTION, Switches
from jepa_ros.types import Float64, JointCommand, JointState

_ARRIVED_RAD = 1e-3


class JointTargets:
    """Makes every command but damping. All its arrays are made once; a tick makes none.

    A gait's targets are held until its next (zero-order), direct motion and stances go through a `RateLimiter`. What a
    stance begins with is where the last command was, and how fast it moved.

    Args:
        robot: joints, stances, gains.
        limits: of each kind of motion.
        walks: whether the motion is a gait.
        switches: which limits are on.

    Attributes:
        command: the last that was made. Buffers.
    """

    def __init__(self, robot: RobotModel, limits: SafetyLimits, walks: bool, switches: Switches) -> None:
        self._robot, self._limits, self._walks, self._switches = robot, limits, walks, switches
        motions, count = limits.motions, len(robot.joint_names)
        self.moving = "locomotion" if walks else "direct"
        self._by_motion: dict[str, GaitLimits | PacedLimits] = {
            "locomotion": motions.locomotion,
            "direct": motions.direct,
            "stance": motions.stance,
        }
        self._gains = {"stance": robot.gain("stand"), self.moving: robot.gain("walk" if walks else "stand")}
        self._holds = {
            motion: TargetHold(robot, switches.on("joint_range", motion), switches.on("effort", motion))
            for motion in (self.moving, "stance")
        }
        rest = robot.stance("sit")
        self._limiters = {
            motion: RateLimiter(_rate(paced, motion, motions.stance, switches), rest, robot.lower, robot.upper)
            for motion, paced in (("direct", motions.direct), ("stance", motions.stance))
            if motion != "direct" or not walks
        }
        self._motion = MotionTargets(count, limits.policy_timeout_s)
        period = 1.0 / robot.locomotion.rate_hz if robot.locomotion is not None else 0.02
        self.gait = GaitWatch(count, period, motions.locomotion, switches)
        # A gait of somebody else's stands as it likes: the targets of such an output are not sent.
        self._judges_stances = switches.on("stance_not_reached") and not robot.sends_velocities
        self._past = {name: Lasting() for name in PER_MOTION}
        self._change: StanceChange | None = None
        self._end = rest
        self._ran = "stance"
        self._ticked = -inf
        self._inside, self._work = np.zeros(count), np.zeros(count)
        self._finite = np.empty(count, bool)
        zero = np.zeros(count)
        self.command = JointCommand(rest.copy(), zero, zero.copy(), np.zeros(count), np.zeros(count))
        self._kp, self._kd = self._gains["stance"].kp, self._gains["stance"].kd

    def start_from(self, now: float, position: Float64) -> None:
        """The robot is nobody's, and its joints are at `[n]` rad: whatever comes next begins there."""
        self._ticked = now
        self._holds["stance"].into_range(position, self._inside)
        np.copyto(self.command.position, self._inside)
        self._limiters["stance"].rest_at(self._inside)
        self._ran, self._kp, self._kd = "stance", self._gains["stance"].kp, self._gains["stance"].kd

    def change_to(self, stance: str, now: float) -> None:
        """Set out for a stance, from where the last command leads."""
        self._resume("stance")
        limiter = self._limiters["stance"]
        start = Posture(limiter.stopping_point(np.empty_like(self._work)), Gains(kp=self._kp, kd=self._kd))
        end = Posture(self._robot.stance(stance), self._gains["stance"])
        rate = self._limits.motions.stance.rate
        self._change = StanceChange(start, end, now, rate, self._limits.stance_time_s)
        self._end = end.position

    def arrived(self, now: float, joints: JointState | None) -> bool:
        """Whether the change of stance is over: the targets are there, and the joints have followed."""
        if self._change is None:
            return True
        if not (self._change.over(now) and self._away(self._limiters["stance"].position).max() <= _ARRIVED_RAD):
            return False
        near = self._limits.stance_tolerance_rad
        return not self._judges_stances or (joints is not None and bool(self._away(joints.position).max() <= near))

    def not_reached(self, now: float, joints: JointState | None) -> Fault | None:
        """A change of stance that should long be over, with the joints elsewhere: they carry or hear nothing."""
        late, near = self._limits.stance_late_s, self._limits.stance_tolerance_rad
        change = self._change
        if change is None or joints is None or not self._judges_stances or not change.over(now - late):
            return None
        away = self._away(joints.position)
        worst = int(away.argmax())
        if away[worst] <= near:
            return None
        name, off = self._robot.joint_names[worst], away[worst]
        told = f"{name} is {off:.2f} rad from its stance {late} s after it should be there, the limit is {near} rad"
        return Fault("stance_not_reached", told)

    def _away(self, position: Float64) -> Float64:
        """How far `[n]` rad are from the stance that is set out for. A buffer."""
        np.subtract(position, self._end, out=self._work)
        return np.abs(self._work, out=self._work)

    def begin_motion(self, now: float) -> None:
        """The motion takes over, from the last command."""
        self._resume(self.moving)
        self._motion.begin(now, self.command.position)
        self.gait.begin()

    def take(self, now: float, raw: Float64 | None) -> Fault | None:
        """The motion's newest targets `[n]` rad, or None between its ticks; returns what is wrong with them."""
        fault = self._motion.take(now, raw)
        if fault is None and raw is not None and self._walks:
            self._holds[self.moving].into_range(self._motion.newest, self._inside)
            fault = self.gait.judge(now, self._inside)
        return fault

    def make(self, now: float, joints: JointState, motion_runs: bool) -> Fault | None:
        """Make the next command, into `command`; returns what damps instead, and the command is then not to be sent.

        Args:
            now: monotonic seconds.
            joints: measured, finite.
            motion_runs: the motion's targets, or the stance.
        """
        motion = self.moving if motion_runs else "stance"
        if motion != self._ran:
            self._resume(motion)
        hold, gait = self._holds[motion], motion == "locomotion"
        asked = self._asked(now, motion_runs)
        past_range = hold.into_range(asked, self._inside)
        acted = False
        if not gait:
            limiter = self._limiters[motion]
            target = limiter.follow(self._inside, now - self._ticked)
            acted = limiter.acted
        else:
            target = self._inside
        hold.hold(target, joints, self._kp, self._kd, move=gait or not self._robot.sends_gains)
        self._ticked = now
        return self._send(now, motion, hold, past_range, acted)

    def _asked(self, now: float, motion_runs: bool) -> Float64:
        """Targets before any limit, `[n]` rad; sets the gains they are held with."""
        if motion_runs:
            gains = self._gains[self.moving]
            self._kp, self._kd = gains.kp, gains.kd
            return self._motion.newest
        change = self._change
        if change is None:
            return self.command.position
        asked = change.at(now, self._work)
        self._kp, self._kd = change.kp, change.kd
        return asked

    def _send(self, now: float, motion: str, hold: TargetHold, past_range: bool, acted: bool) -> Fault | None:
        """Judge what the limits did, and put it into the command."""
        limits, command = self._by_motion[motion], self.command
        np.subtract(hold.position, command.position, out=self._work)
        np.abs(self._work, out=self._work)
        step = float(self._work.max())
        for name, past, after in (
            ("joint_range", past_range, limits.joint_range.trip_after_s),
            ("effort", hold.past_effort, limits.effort.trip_after_s),
            ("target_step", step > limits.target_step.limit, limits.target_step.trip_after_s),
            ("target_speed", acted, limits.target_speed.trip_after_s),
            ("target_acceleration", acted, limits.target_acceleration.trip_after_s),
        ):
            lasts = self._past[name].seconds(now, past)
            if after is not None and lasts >= after and self._switches.on(name, motion):
                return Fault(name, f"targets past their limit: {name} of {motion}, for {after} s")
        for part in (hold.position, hold.kp, hold.kd):
            if not np.isfinite(part, out=self._finite).all():
                return Fault("command_not_finite", "the command would hold a value that is not a number")
        np.copyto(command.position, hold.position)
        np.copyto(command.kp, hold.kp)
        np.copyto(command.kd, hold.kd)
        return None

    def _resume(self, motion: str) -> None:
        """Another kind of motion goes on where the last one was, as fast as it moved."""
        last = self._limiters.get(self._ran)
        following = self._limiters.get(motion)
        if following is not None and following is not last:
            following.rest_at(self.command.position)
            if last is not None:
                np.copyto(following.speed, last.speed)
        self._ran = motion


def _rate(limits: PacedLimits, motion: str, stance: PacedLimits, switches: Switches) -> Rate:
    """The rate of a motion, without what is switched off. It brakes as a stance may, which takes over from it."""

    def of(name: str, limit: ClampTo) -> float:
        return limit.limit if switches.on(name, motion) else inf

    return Rate(
        of("target_speed", limits.target_speed),
        of("target_acceleration", limits.target_acceleration),
        of("target_step", limits.target_step),
        of("target_acceleration", stance.target_acceleration),
    )
