"""The five small interfaces that hold the core together. Anyone's model, cost, planner, motion or safety enters
through one; an objective may offer `FollowsOn` and `Differentiable` besides, a model `DifferentiableModel`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from jepa_ros.types import Float32, Float64, Imu, JointCommand, JointState, UInt8

if TYPE_CHECKING:
    from jepa_ros.planning.problem import Plan, PlanProblem
    from jepa_ros.safety import Decision


class WorldModel(Protocol):
    """An encoder and an action-conditioned predictor."""

    def encode(self, frame: UInt8, measured: Float32 | None = None) -> Float32:
        """Frame `[h, w, channels]` uint8 at the model's native size, RGB or grey → latent `[D]`.

        A model that sees a stack of S frames at once takes `[S, h, w, channels]`, oldest first; one with proprio takes
        `measured` `[P]` besides.
        """
        ...

    def rollout(self, latents: Float32, past_actions: Float32, actions: Float32) -> Float32:
        """Predict what actions lead to, feeding predictions back.

        Args:
            latents: `[T, D]`, oldest first, one model step apart; or `[B, T, D]`, a history for each candidate.
            past_actions: `[T - 1, A]`, or `[B, T - 1, A]`; row t was applied from latent t to latent t + 1.
            actions: `[B, H, A]` candidates, in the manifest's units.

        Returns:
            `[B, H, D]`; row h is the latent after action h.
        """
        ...


class Objective(Protocol):
    """Energy of imagined futures; lower is better."""

    def __call__(self, latents: Float32, actions: Float32) -> Float32:
        """Latents `[B, H, D]` and the actions `[B, H, A]` that led to them → energy `[B]`."""
        ...


@runtime_checkable
class FollowsOn(Protocol):
    """An objective that also judges how a plan begins, such as a limit on the change of the action."""

    def after(self, previous: Float32) -> Objective:
        """The same objective for a plan that takes effect where action `previous` `[A]` ends; this one stays as it
        is."""
        ...


@runtime_checkable
class Differentiable(Protocol):
    """An objective that says how its energy changes."""

    def gradient(self, latents: Float32, actions: Float32) -> tuple[Float32, Float32]:
        """Latents `[B, H, D]` and actions `[B, H, A]` → d energy / d latents `[B, H, D]`, the actions held, and
        d energy / d actions `[B, H, A]`, the latents held; new arrays. Where there is a kink, either side's.

        Raises:
            PlanningError: A part of it has no gradient.
        """
        ...


@runtime_checkable
class DifferentiableModel(WorldModel, Protocol):
    """A world model whose rollouts can be followed backward."""

    @property
    def has_derivative(self) -> bool:
        """Whether this one can."""
        ...

    def pullback(
        self, latents: Float32, past_actions: Float32, actions: Float32, predicted: Float32, cotangent: Float32
    ) -> Float32:
        """What a change of each action does to a quantity of the latents that `rollout` predicts.

        Args:
            latents, past_actions, actions: As `rollout` was given them.
            predicted: `[B, H, D]` what it returned.
            cotangent: `[B, H, D]` the quantity's derivative by each predicted latent, the others held.

        Returns:
            `[B, H, A]` its derivative by each action, a new array; not finite in rows where it is not.
        """
        ...


@runtime_checkable
class HeadedModel(Protocol):
    """A world model with learned heads on its latents."""

    def head(self, name: str, latents: Float32, goal: Float32 | None) -> Float32:
        """Latents `[B, D]`, goal `[D]`, which only some heads need → value `[B]`."""
        ...


@runtime_checkable
class HeadGradientModel(HeadedModel, Protocol):
    """A world model whose heads can be followed backward."""

    def head_gradient(self, name: str, latents: Float32, goal: Float32 | None, cotangent: Float32) -> Float32:
        """Latents `[B, D]`, goal `[D]`, cotangent `[B]` → cotangent × d value / d latents `[B, D]`."""
        ...


class Planner(Protocol):
    """Finds an action sequence of low energy."""

    def plan(self, problem: PlanProblem, seconds_left: Callable[[], float] | None = None) -> Plan:
        """Best plan *scored* by the objective; starts no iteration whose predicted end passes `seconds_left() == 0`."""
        ...


class Motion(Protocol):
    """Turns the model's actions into joint targets."""

    def reset(self, joint_state: JointState) -> None:
        """Forget what was done before; start from the measured joints."""
        ...

    def targets(self, action: Float64, joint_state: JointState, imu: Imu) -> Float64:
        """Action `[A]` in SI units → raw joint targets `[n]` rad, robot order, not yet made safe."""
        ...


class SafetyFilter(Protocol):
    """The last thing before the wire; trusts nothing above it. Times are monotonic seconds given by the caller."""

    def update(self, now: float) -> Decision:
        """Advance the state machine: what may move now, and why."""
        ...

    def command(
        self,
        now: float,
        decision: Decision,
        raw_targets: Float64 | None,
        joint_state: JointState | None,
        imu: Imu | None,
    ) -> JointCommand | None:
        """A command that is finite and within limits, or damping, or None while nothing may be sent."""
        ...
