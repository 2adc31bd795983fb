"""Model predictive control in latent space: one camera frame in, one plan out.

Time, with `delay_steps` = d. A plan made from the frame at step k takes effect at step k + d, because encoding,
planning and sending take time. The d actions applied in between were chosen by earlier plans and cannot be changed any
more: they are rolled forward from the history first, and planning starts from where they lead.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.manifest import Manifest
from jepa_ros.errors import ModelError, PlanningError
from jepa_ros.guardrails import Sum, after
from jepa_ros.planning.cost import GoalObjective, arrival_term
from jepa_ros.planning.problem import ActionBounds, History, Plan, PlanProblem
from jepa_ros.protocols import FollowsOn, Objective, Planner, WorldModel
from jepa_ros.surprise import SurpriseMonitor
from jepa_ros.types import Float32, UInt8


class HorizonPlanner(Planner, Protocol):
    """A planner that knows how many model steps it plans."""

    @property
    def horizon(self) -> int:
        """Model steps a plan."""
        ...


@runtime_checkable
class Preparing(Protocol):
    """A planner that has something to do before its first plan, such as compiling."""

    def prepare(self, problem: PlanProblem) -> None:
        """Make ready for problems of this kind."""
        ...


@dataclass(frozen=True)
class Step:
    """What one frame led to.

    Attributes:
        plan: Takes effect `delay_steps` model steps after the frame; None without a goal or while the history warms up.
        latent: `[D]` the frame's latent.
        energy_now: Goal distance of `latent`, in the unit of `calibration.arrival_energy`; None without a goal.
        surprise: 1.0 = 99th percentile of held-out runs; None for the first frame after a reset.
        encode_ms: Time in the encoder.
        plan_ms: Time in everything after it: prediction for the surprise, roll-forward, search, goal distance.
        origin: `[D]` the latent that the plan begins from, `delay_steps` after the frame's; None without a plan.
    """

    plan: Plan | None
    latent: Float32
    energy_now: float | None
    surprise: float | None
    encode_ms: float
    plan_ms: float
    origin: Float32 | None = None


class LatentMPC:
    """Keeps the history of latents and applied actions, and plans from it toward a goal latent.

    Call `step` once a model step, with frames that far apart. No threads: the caller serialises the calls.

    Args:
        model: Encoder and predictor.
        planner: Searches for plans, `planner.horizon` model steps long.
        manifest: Timing, action bounds, cost terms and calibration of the bundle.
        delay_steps: Model steps from a frame to the moment its plan takes effect, ceil(latency / step).
        penalties: Soft terms added to the goal energy.
        guardrails: Hard constraints. Those that offer `FollowsOn`, and such penalties, also judge the step from the
            last action that cannot be changed any more to the plan's first.

    Raises:
        PlanningError: A negative delay, or a manifest whose bounds or calibration cannot be used.
    """

    def __init__(
        self,
        model: WorldModel,
        planner: HorizonPlanner,
        manifest: Manifest,
        delay_steps: int = 1,
        penalties: Sequence[Objective] = (),
        guardrails: Sequence[Objective] = (),
    ) -> None:
        if delay_steps < 0:
            raise PlanningError(f"delay_steps must not be negative, got {delay_steps}")
        self._model = model
        self._planner = planner
        self._horizon = planner.horizon
        self._terms, self._arrival = manifest.cost, arrival_term(manifest)
        self._layout = StateLayout(manifest.state)
        self._frames: deque[UInt8] = deque(maxlen=manifest.camera.frame_stack)
        self._timing = manifest.timing
        self._delay = delay_steps
        self._penalties = tuple(penalties)
        self._guardrails = tuple(guardrails)
        action = manifest.action
        low = [action.fixed.get(name, value) for name, value in zip(action.names, action.low, strict=True)]
        high = [action.fixed.get(name, value) for name, value in zip(action.names, action.high, strict=True)]
        self._low, self._high = np.tile(low, action.block), np.tile(high, action.block)
        self._norm_limit, self._block = action.norm_limit, action.block
        self._rest = ActionBounds(self._low, self._high, action.norm_limit, action.block).rest
        self._surprise = SurpriseMonitor(manifest.calibration.surprise_p99)
        self._goal: GoalObjective | None = None
        self.reset()

    def prepare(self) -> None:
        """Have the planner make ready for every length of history, so that the first plan takes no longer than others.

        Raises:
            JepaRosError: The model or the planner cannot do what will be asked of it.
        """
        if not isinstance(self._planner, Preparing):
            return
        size = self._layout.size
        goal = GoalObjective(self._model, np.zeros(size, np.float32), self._terms, self._layout, self._arrival)
        for length in range(1, self._timing.history_max + 1):
            actions = np.tile(self._rest, (length - 1, 1))
            history = self._warmed(History(np.zeros((length, size), np.float32), actions))
            self._planner.prepare(self._problem(history, goal, self._rest))

    def reset(self) -> None:
        """Forget the history and the last plan; the goal stays."""
        self._history: History | None = None
        self._frames.clear()
        self._applied = self._rest
        self._stop()

    def set_goal(self, latent: Float32 | None) -> None:
        """Plan toward this latent `[D]` from the next step on. None stops planning and means that the robot stops."""
        self._goal = None
        if latent is None:
            self._stop()
        else:
            self._goal = GoalObjective(self._model, latent, self._terms, self._layout, self._arrival)

    def step(
        self,
        frame: UInt8,
        applied_action: Float32 | None = None,
        seconds_left: Callable[[], float] | None = None,
        measured: Float32 | None = None,
    ) -> Step:
        """Take in a frame and plan.

        Args:
            frame: `[h, w, 3]` RGB at the model's native size; a stack of frames is made of the last ones here.
            applied_action: `[A]` mean action applied over the model step that ended at this frame, after safety; None
                if nothing was (the resting action). Not used for the first frame after a reset.
            seconds_left: Time until the plan must be out; no iteration starts that is predicted to end later.
            measured: `[P]` what the manifest's `proprio` names, at the time of the frame.

        Raises:
            ModelError: The encoder returned something that is not a number; the history is as it was.
            PlanningError: An action of the wrong size or not finite.
        """
        start = time.perf_counter()
        latent = np.array(self._encode(frame, measured), dtype=np.float32)
        if not np.isfinite(latent).all():
            raise ModelError("the encoder returned a latent that is not finite: this frame was not used")
        encoded = time.perf_counter()
        surprise = self._append(latent, applied_action)
        # What was still to come moves one step nearer; the plan's last action is held.
        self._schedule[:-1] = self._schedule[1:]
        origin, plan = self._plan(seconds_left)
        if plan is None or (plan.iterations and not plan.feasible):
            # The robot stops for want of a plan, so that is what the next one starts from.
            self._schedule[self._delay :] = self._rest
        elif plan.feasible:
            self._schedule[self._delay :] = plan.actions
        energy_now = None if self._goal is None else self._goal.arrival_energy(latent)
        done = time.perf_counter()
        return Step(
            plan=plan,
            latent=latent,
            energy_now=energy_now,
            surprise=surprise,
            encode_ms=(encoded - start) * 1e3,
            plan_ms=(done - encoded) * 1e3,
            origin=origin,
        )

    def _encode(self, frame: UInt8, measured: Float32 | None) -> Float32:
        """The latent of the newest frames; before there are enough, the first stands for those before it."""
        stack = self._frames.maxlen or 1
        if stack == 1:
            return self._model.encode(frame) if measured is None else self._model.encode(frame, measured)
        frames = [*self._frames, frame][-stack:]
        frames = [frames[0]] * (stack - len(frames)) + frames
        latent = self._model.encode(np.stack(frames), measured)
        self._frames.append(frame.copy())  # its owner may write over it; one that cannot be encoded is not kept
        return latent

    def _append(self, latent: Float32, applied_action: Float32 | None) -> float | None:
        """Put the frame's latent into the history; return how surprising it was."""
        if self._history is None:
            self._history = History(latent[None], np.zeros((0, self._rest.size), dtype=np.float32))
            return None
        action = self._rest if applied_action is None else np.asarray(applied_action, dtype=np.float32)
        if action.shape != self._rest.shape or not np.isfinite(action).all():
            raise PlanningError(f"the applied action must be {self._rest.size} finite numbers, got {action.tolist()}")
        history = self._warmed(self._history)
        predicted = self._model.rollout(history.latents, history.actions, action[None, None])[0, 0]
        self._history = self._history.followed_by(action[None], latent[None], self._timing.history_max)
        self._applied = action
        if len(self._layout.seen) < len(self._layout.all):
            predicted, latent = (np.concatenate([part[s] for s in self._layout.seen]) for part in (predicted, latent))
        return self._surprise.observe(predicted, latent)

    def _warmed(self, history: History) -> History:
        """The history, padded to `history_min` where the manifest says so: the oldest latent repeated, at rest."""
        wanted = self._timing.history_min if self._timing.warm_up == "pad" else 1
        missing = wanted - len(history.latents)
        if missing <= 0:
            return history
        return History(
            np.concatenate([np.repeat(history.latents[:1], missing, axis=0), history.latents]),
            np.concatenate([np.tile(self._rest, (missing, 1)), history.actions]),
        )

    def _plan(self, seconds_left: Callable[[], float] | None) -> tuple[Float32, Plan] | tuple[None, None]:
        """The latent `[D]` that the plan begins from, and the plan."""
        history, goal = self._history, self._goal
        if history is None or goal is None:
            return None, None
        if self._timing.warm_up == "require" and len(history.latents) < self._timing.history_min:
            return None, None
        history = self._warmed(history)
        committed, previous = self._schedule[: self._delay], self._applied
        if self._delay:
            previous = committed[-1]
            latents = self._model.rollout(history.latents, history.actions, committed[None])[0]
            history = history.followed_by(committed, latents, self._timing.history_max)
        return history.latents[-1], self._planner.plan(self._problem(history, goal, previous), seconds_left)

    def _problem(self, history: History, goal: GoalObjective, previous: Float32) -> PlanProblem:
        """What is asked of the planner after action `previous` `[A]`."""
        # Where the step from the last action is judged, holding that action is a plan that such a limit always allows.
        judged = any(isinstance(guardrail, FollowsOn) for guardrail in self._guardrails)
        return PlanProblem(
            history=history,
            objective=Sum([goal, *self._penalties]).after(previous) if self._penalties else goal,
            horizon=self._horizon,
            low=self._low,
            high=self._high,
            warm_start=self._schedule[self._delay :],
            previous_plans=[np.tile(previous, (self._horizon, 1))] if judged else [],
            guardrails=[after(guardrail, previous) for guardrail in self._guardrails],
            norm_limit=self._norm_limit,
            block=self._block,
        )

    def _stop(self) -> None:
        """From the newest frame on, the robot rests; `[delay + H, A]`, row 0 is applied from the frame on."""
        self._schedule: Float32 = np.tile(self._rest, (self._delay + self._horizon, 1))
