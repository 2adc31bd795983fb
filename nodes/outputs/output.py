"""`Output`: the one interface that every way of commanding a robot has."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from builtin_interfaces.msg import Time

from jepa_ros.types import Float64, JointCommand


class Output(Protocol):
    """Sends what the safety filter let through. It changes no value, only the form it is sent in.

    `joint_command` owns one and calls `send` from its control thread; `command_watchdog` owns another and calls `damp`.
    """

    def send(self, at: Time, command: JointCommand | None, applied: Float64 | None) -> None:
        """Send one tick's result.

        Args:
            at: stamp of the command.
            command: joint targets in the robot's joint order, or None while nothing may be sent. Its arrays are only
                good until the next tick.
            applied: the body velocity that is carried out: vx, vy m/s and wz rad/s `[3]`, held between the ticks of the
                motion, zero where the action names none; good until the next tick. None while no motion runs, which an
                output that sends velocities takes for zero.
        """
        ...

    def damp(self, at: Time, command: JointCommand) -> None:
        """Send the softest thing that this output has: nobody commands the robot any more."""
        ...

    def refusal(self) -> str | None:
        """Why the robot would not listen to `send` now, in a sentence for the operator; None if it would.

        Asked at every tick.
        """
        ...

    def close(self) -> None:
        """Give back publishers and subscriptions."""
        ...


@runtime_checkable
class Sinks(Output, Protocol):
    """An output to a gait that stands by itself: there, to be commanded by nobody is no reason to go soft."""

    def sink(self, at: Time) -> None:
        """Motors soft: an operator asked for it, or the robot is falling."""
        ...
