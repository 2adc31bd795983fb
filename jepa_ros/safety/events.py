"""What went wrong, when and how often."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from math import inf
from typing import Literal

Severity = Literal["info", "warning", "error"]
_KEPT = 256
_NEW_AFTER_S = 1.0


@dataclass(frozen=True)
class Fault:
    """Why something may not go on: a fixed `reason` to count by, and a sentence with the numbers for people."""

    reason: str
    detail: str


@dataclass(frozen=True)
class SafetyEvent:
    """One fault, at `t` monotonic seconds. `warning`: the walk was stopped; `error`: what damps a robot that moves."""

    t: float
    severity: Severity
    reason: str
    detail: str


class EventLog:
    """The newest events, and how many there were of each reason since the start."""

    def __init__(self) -> None:
        self.recent: deque[SafetyEvent] = deque(maxlen=_KEPT)
        self.counts: Counter[str] = Counter()
        self._heard: dict[str, float] = {}

    def record(self, t: float, severity: Severity, fault: Fault) -> None:
        """Keep and count one."""
        self.recent.append(SafetyEvent(t, severity, fault.reason, fault.detail))
        self.counts[fault.reason] += 1

    def lasts(self, now: float, reason: str) -> bool:
        """Whether this was heard of a second ago or less too: then it is the same event still.

        `now` is of the last update: the times of measurements are anybody's.
        """
        before, self._heard[reason] = self._heard.get(reason), now
        return before is not None and not now - before > _NEW_AFTER_S


def age(now: float, at: float) -> float:
    """Seconds since `at`; infinite for −inf, which is never.

    The future counts as old: a wrong clock must not look fresh.
    """
    return inf if at == -inf else abs(now - at)
