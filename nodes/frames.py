"""What the camera and joint_command said lately, kept for the planning thread: callbacks only store."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import numpy as np

from jepa_ros.types import Float32, Float64


class NewestFrame:
    """The newest camera message; the planning thread waits for one that is late enough."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._message: Any = None
        self._stamp = -np.inf

    def put(self, message: Any, stamp: float) -> None:
        """Store a message with its stamp in s, in place of the one before."""
        with self._condition:
            self._message, self._stamp = message, stamp
            self._condition.notify_all()

    def wait(self, not_before: float, timeout: float) -> tuple[Any, float] | None:
        """The newest message once its stamp is at least `not_before` s; None after `timeout` s."""
        with self._condition:
            if self._condition.wait_for(lambda: self._message is not None and self._stamp >= not_before, timeout):
                return self._message, self._stamp
        return None

    def forget(self) -> None:
        """Drop what is stored, so that the next `wait` gets a newer one."""
        with self._condition:
            self._message, self._stamp = None, -np.inf


class AppliedActions:
    """The last few seconds of what joint_command carried out.

    Args:
        size: A, components of an action.
        seconds: how much is kept.
    """

    def __init__(self, size: int, seconds: float = 4.0) -> None:
        self._size, self._seconds = size, seconds
        self._rows: deque[tuple[float, Float64]] = deque()
        self._lock = threading.Lock()

    def put(self, stamp: float, action: Float64) -> None:
        """Action `[A]` carried out from `stamp` s on."""
        with self._lock:
            self._rows.append((stamp, action))
            while self._rows and self._rows[0][0] < stamp - self._seconds:
                self._rows.popleft()

    def mean(self, begin: float, end: float) -> Float32 | None:
        """Mean action `[A]` carried out in (begin, end] s; None if nothing was: the robot rested."""
        with self._lock:
            rows = [action for at, action in self._rows if begin < at <= end]
        return None if not rows else np.mean(rows, axis=0).astype(np.float32)
