"""Which camera frames a model step apart are taken, and what was carried out between them."""

from __future__ import annotations

import threading
from collections import deque
from math import inf

import numpy as np

from jepa_ros.types import Float32, Float64

_EARLIEST = 0.3  # share of a model step by which a frame may come early and still be taken
_LATEST = 1.5  # model steps after the last frame from which the history has a hole
_NEWEST_SHARE = 0.2


class FrameCadence:
    """Takes frames one model step apart on average, whatever the camera's rate.

    The times wanted lie on a grid; the frame nearest to each is taken, so that a camera whose period does not divide
    the model step makes the steps jitter and not drift.

    Args:
        step_s: the model step in s.
    """

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s
        self._seen = -inf
        self._period = inf
        self.reset()

    def reset(self) -> None:
        """Take the next frame, whatever its stamp."""
        self._previous: float | None = None
        self._wanted = -inf

    @property
    def previous(self) -> float | None:
        """Stamp in s of the last frame taken; None after a reset."""
        return self._previous

    def saw(self, stamp: float) -> None:
        """A frame of `stamp` s came; learns the camera's period."""
        gap, self._seen = stamp - self._seen, stamp
        if 0.0 < gap < self._step_s:
            self._period = gap if self._period == inf else self._period + _NEWEST_SHARE * (gap - self._period)

    def due(self, stamp: float) -> bool:
        """Whether a frame of `stamp` s is to be taken; one from before the last is: the clock went back."""
        if self._previous is None or stamp < self._previous:
            return True
        return stamp >= self._wanted - min(self._period / 2, _EARLIEST * self._step_s)

    def take(self, stamp: float) -> str:
        """A frame of `stamp` s is taken; returns why the history must start anew, or nothing."""
        previous, self._previous = self._previous, stamp
        if previous is None or stamp < previous or stamp > previous + _LATEST * self._step_s:
            self._wanted = stamp + self._step_s
            if previous is None:
                return ""
            return "the camera's clock went back" if stamp < previous else f"no frame for {stamp - previous:.2f} s"
        late = stamp - self._wanted > min(self._period / 2, _EARLIEST * self._step_s)
        self._wanted = (stamp if late else self._wanted) + self._step_s
        return ""


class AppliedActions:
    """The last few seconds of what was carried out.

    Args:
        size: A, components of an action.
        seconds: how much is kept.
    """

    def __init__(self, size: int, seconds: float = 4.0) -> None:
        self.size, self._seconds = size, seconds
        self._rows: deque[tuple[float, Float64]] = deque()
        self._lock = threading.Lock()

    def put(self, stamp: float, action: Float64) -> bool:
        """Action `[A]` carried out from `stamp` s on; returns whether it is of the right size and finite."""
        if action.shape != (self.size,) or not np.isfinite(action).all():
            return False
        with self._lock:
            if self._rows and stamp < self._rows[-1][0]:
                self._rows.clear()  # the clock went back
            self._rows.append((stamp, action))
            while self._rows[0][0] < stamp - self._seconds:
                self._rows.popleft()
        return True

    def mean(self, begin: float, end: float) -> Float32 | None:
        """Mean action `[A]` carried out in (begin, end] s; None if nothing was: the robot rested."""
        with self._lock:
            rows = [action for at, action in self._rows if begin < at <= end]
        return None if not rows else np.mean(rows, axis=0).astype(np.float32)

    def means(self, begin: float, end: float, block: int) -> Float32 | None:
        """Mean action of each of `block` equal parts of (begin, end] s, end to end `[block · A]`.

        A part in which nothing was reported goes on with the one before it, or rests; None if nothing was in any.
        """
        if block == 1:
            return self.mean(begin, end)
        edges = np.linspace(begin, end, block + 1)
        found = [self.mean(float(edges[i]), float(edges[i + 1])) for i in range(block)]
        if all(part is None for part in found):
            return None
        held = np.zeros(self.size, np.float32)
        row = []
        for part in found:
            held = held if part is None else part
            row.append(held)
        return np.concatenate(row)
