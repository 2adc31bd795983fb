"""The goal being driven to: what was asked, how it goes, and how it ended."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import dataclass, field

from jepa_ros.types import Float32

HELD_S = 1.0


@dataclass
class ActiveGoal:
    """One accepted goal. The planning thread writes its progress, the action server's thread reads it.

    Attributes:
        latent: `[D]`.
        tolerance: energy at which it counts as reached; negative never.
        time_limit: s; 0 for none.
        ended: set once `reached` and `reason` are final.
    """

    latent: Float32
    tolerance: float
    time_limit: float
    identity: bytes = field(default_factory=lambda: uuid.uuid4().bytes)
    began: float = field(default_factory=time.monotonic)
    energy: float = float("inf")
    surprise: float = 0.0
    iterations: int = 0
    frames: int = 0
    plans: int = 0
    reached: bool = False
    reason: str = ""
    ended: threading.Event = field(default_factory=threading.Event)
    _near_since: float | None = None
    _ending: threading.Lock = field(default_factory=threading.Lock)

    @property
    def status(self) -> str:
        """What it is about, for its feedback."""
        if self.plans:
            return "driving"
        return "frames come, but no plan yet" if self.frames else "waiting for a frame"

    @property
    def elapsed(self) -> float:
        """Seconds since it was accepted."""
        return time.monotonic() - self.began

    @property
    def remaining(self) -> float:
        """Seconds left; negative where there is no limit."""
        return self.time_limit - self.elapsed if self.time_limit > 0 else -1.0

    def end(self, reached: bool, reason: str) -> None:
        """Close it; only the first call counts."""
        with self._ending:
            if not self.ended.is_set():
                self.reached, self.reason = reached, reason
                self.ended.set()

    def judge(self, energy: float, stamp: float) -> None:
        """Take in the energy of the frame of `stamp` s; near enough for a second is there, and time may be up."""
        self.energy = energy
        if not energy <= self.tolerance:  # an energy that is not a number is not near either
            self._near_since = None
        elif self._near_since is None:
            self._near_since = stamp
        if self._near_since is not None and stamp - self._near_since >= HELD_S:
            self.end(True, f"arrived: energy {energy:.3g} stayed within {self.tolerance:.3g} for {HELD_S:.0f} s")
        self.check_time()

    def check_time(self) -> None:
        """End it if its time is up."""
        if self.time_limit > 0 and self.elapsed >= self.time_limit:
            self.end(False, f"time limit of {self.time_limit:.0f} s reached at energy {self.energy:.3g}")
