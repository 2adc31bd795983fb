"""What an operator would ask for, asked for by itself: in simulators and replays, never on a robot."""

from __future__ import annotations

from jepa_ros.safety import Decision, SafetyFilter, State

_GAP_S = 0.1


class AutoStart:
    """Stands up once joint states have come without a gap for a while, then permits walking; once each.

    Args:
        safety: who is asked.
        stand, walk: which of the two is asked for.
        steady_s: for how long joint states must have come.
    """

    def __init__(self, safety: SafetyFilter, stand: bool, walk: bool, steady_s: float = 2.0) -> None:
        self._safety, self._steady_s = safety, steady_s
        self._stand, self._walk = stand, walk
        self._steady_since: float | None = None

    def operator_spoke(self) -> None:
        """An operator has said something else: nothing is permitted by itself any more."""
        self._walk = False

    def stay_down(self) -> None:
        """Do not stand up any more."""
        self._stand = self._walk = False

    def update(self, now: float, decision: Decision) -> None:
        """Ask for what it is time for; `now` in monotonic seconds."""
        if self._steady_since is None or self._safety.ages(now).joint_state > _GAP_S:
            self._steady_since = now
        if self._stand and decision.state == State.PASSIVE.value and now - self._steady_since >= self._steady_s:
            self._stand = not self._safety.request("stand").accepted
        elif self._walk and decision.state == State.STAND.value:
            self._walk = not self._safety.request("walk").accepted
