"""The safety filter's states, and what leads from one to the next. Faults, times and postures are judged elsewhere.

```
passive ─stand→ stand_up → stand ─walk + fresh plan→ walk → stopping → stand ─sit→ sit_down → sit
   ↑                                                                                        (stand: back up)
   └──recover── damp ← any state
```
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from jepa_ros.safety.events import Fault


class State(str, Enum):
    """What the robot is doing. `passive` sends nothing; `damp` sends kp 0, kd > 0 until an operator says `recover`."""

    PASSIVE = "passive"
    STAND_UP = "stand_up"
    STAND = "stand"
    WALK = "walk"
    STOPPING = "stopping"
    SIT_DOWN = "sit_down"
    SIT = "sit"
    DAMP = "damp"


@dataclass(frozen=True)
class Decision:
    """What may move now.

    Attributes:
        state: the name of a `State`.
        velocity_scale: what the plan's body velocity is multiplied by, 0…1; zero whenever the state is not `walk`.
        use_policy: whether the motion's targets are asked for; otherwise the filter holds or changes a stance.
        reason: why, in a sentence.
    """

    state: str
    velocity_scale: float
    use_policy: bool
    reason: str


@dataclass(frozen=True)
class Reply:
    """Whether a request was accepted, and a sentence for the operator."""

    accepted: bool
    message: str


@dataclass(frozen=True)
class Signals:
    """What the machine is told at each update.

    Attributes:
        fault: damps at once in every state that moves the robot.
        no_walk: why a walk may not begin or go on: plan or camera.
        still: the robot has come to rest under the policy, or time is up.
        arrived: the change of stance under way is over.
    """

    fault: Fault | None
    no_walk: Fault | None
    still: bool
    arrived: bool


class StateMachine:
    """Moves between states on requests and signals, and remembers why.

    Args:
        stops_with_policy: whether a walk is ended by the motion itself at velocity zero (a gait), or by a change of
            stance at once.
    """

    def __init__(self, stops_with_policy: bool) -> None:
        self.state = State.PASSIVE
        self.reason = "waiting for a request to stand"
        self.walk_permitted = False
        self.policy_runs = False
        self._stops_with_policy = stops_with_policy
        self._sit_next = False

    def decision(self) -> Decision:
        """The state as callers see it."""
        return Decision(self.state.value, float(self.state is State.WALK), self.policy_runs, self.reason)

    @property
    def damped(self) -> bool:
        """Whether the state is `damp`."""
        return self.state is State.DAMP

    @property
    def changes_stance(self) -> bool:
        """Whether a change of stance is under way."""
        return self.state in (State.STAND_UP, State.SIT_DOWN) or (self.state is State.STOPPING and not self.policy_runs)

    def damp(self, reason: str) -> None:
        """Damp from any state, and stay so until `recover`."""
        self._go(State.DAMP, reason)
        self.walk_permitted = self._sit_next = False

    def stop_walk(self, reason: str) -> None:
        """Bring a walk to its end; nothing happens in any other state."""
        if self.state is State.WALK:
            self._go(State.STOPPING, reason)

    def withdraw(self, reason: str) -> None:
        """Take the permission to walk back, and bring a walk to its end."""
        self.walk_permitted = False
        self.stop_walk(reason)

    def advance(self, signals: Signals) -> Fault | None:
        """Follow the signals one step.

        Returns:
            The fault that stopped a walk or damped just now, if one did.
        """
        state = self.state
        if state in (State.PASSIVE, State.DAMP):
            return None
        if signals.fault is not None:
            self.damp(signals.fault.detail)
            return signals.fault
        if state is State.STAND_UP and signals.arrived:
            self._go(State.STAND, "standing")
        elif state is State.STAND and self._sit_next:
            self._go(State.SIT_DOWN, "sitting down on request")
        elif state is State.STAND and self.walk_permitted and signals.no_walk is None:
            self._go(State.WALK, "following the plan")
        elif state is State.WALK and signals.no_walk is not None:
            self._go(State.STOPPING, signals.no_walk.detail)
            return signals.no_walk
        elif state is State.STOPPING:
            self._advance_stop(signals)
        elif state is State.SIT_DOWN and signals.arrived:
            self._go(State.SIT, "sitting")
        return None

    def request(self, what: str, fault: Fault | None) -> Reply:
        """An operator's word: stand, walk, stop, sit, damp or recover.

        Args:
            what: one of the six.
            fault: what would damp the robot now; refuses to leave rest while it lasts.
        """
        if what == "damp":
            self.damp("damped on request")
            return Reply(True, "damped; recover is needed before anything else")
        if what == "stop":
            self.walk_permitted = False
            self.stop_walk("stopping on request")
            return Reply(True, f"{self.state.value}; the permission to walk is withdrawn")
        if what == "walk":
            return self._walk()
        if what == "stand":
            return self._stand(fault)
        if what == "sit":
            return self._sit()
        if what == "recover":
            return self._recover(fault)
        return Reply(False, f"unknown request {what!r}: there are stand, walk, stop, sit, damp and recover")

    def _walk(self) -> Reply:
        if self.state in (State.STAND_UP, State.STAND, State.WALK, State.STOPPING):
            self.walk_permitted, self._sit_next = True, False
            return Reply(True, "walking is permitted; it begins with the next fresh plan")
        return Reply(False, f"cannot walk from {self.state.value}: ask for stand first")

    def _stand(self, fault: Fault | None) -> Reply:
        if self.state is State.DAMP:
            return Reply(False, "damped: ask for recover first")
        if self.state is State.PASSIVE and fault is not None:
            return Reply(False, f"cannot stand: {fault.detail}")
        self.walk_permitted = self._sit_next = False
        self.stop_walk("stopping to stand, on request")
        if self.state in (State.PASSIVE, State.SIT, State.SIT_DOWN):
            self._go(State.STAND_UP, "standing up on request")
        return Reply(True, self.reason)

    def _sit(self) -> Reply:
        if self.state in (State.PASSIVE, State.DAMP):
            return Reply(False, f"cannot sit from {self.state.value}: the legs carry nothing")
        self.walk_permitted = False
        self.stop_walk("stopping to sit, on request")
        if self.state is State.STAND_UP:
            self._go(State.SIT_DOWN, "sitting down on request")
        self._sit_next = self.state in (State.STAND, State.STOPPING)
        return Reply(True, "sitting down" if self.state is not State.SIT else self.reason)

    def _recover(self, fault: Fault | None) -> Reply:
        if self.state is not State.DAMP:
            return Reply(False, f"nothing to recover from: {self.state.value}")
        if fault is not None:
            return Reply(False, f"cannot recover: {fault.detail}")
        self._go(State.PASSIVE, "recovered; waiting for a request to stand")
        return Reply(True, self.reason)

    def _advance_stop(self, signals: Signals) -> None:
        if self.policy_runs:
            if self.walk_permitted and signals.no_walk is None:
                self._go(State.WALK, "following the plan of a new goal")
            elif signals.still:
                self.policy_runs = False
        elif signals.arrived:
            self._go(State.STAND, f"standing; {self.reason}")

    def _go(self, state: State, reason: str) -> None:
        self.state, self.reason = state, reason
        self.policy_runs = state is State.WALK or (state is State.STOPPING and self._stops_with_policy)
        if state is State.SIT_DOWN:
            self._sit_next = False
