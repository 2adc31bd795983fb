"""The newest camera frame, handed from the callback that stores it to the thread that plans."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class NewestFrame:
    """Keeps one camera message; the planning thread waits for one that it wants.

    Args:
        saw: told of the stamp in s of every message.
    """

    def __init__(self, saw: Callable[[float], None]) -> None:
        self._condition = threading.Condition()
        self._saw = saw
        self._message: Any = None
        self._stamp = 0.0

    def put(self, message: Any, stamp: float) -> None:
        """Store a message with its stamp in s, in place of the one before."""
        with self._condition:
            self._saw(stamp)
            self._message, self._stamp = message, stamp
            self._condition.notify_all()

    def wait(self, wanted: Callable[[float], bool], timeout: float) -> tuple[Any, float] | None:
        """Take the newest message once `wanted(stamp)`; None after `timeout` s. A message is taken once only."""
        with self._condition:
            if not self._condition.wait_for(lambda: self._message is not None and wanted(self._stamp), timeout):
                return None
            found, self._message = (self._message, self._stamp), None
            return found

    def forget(self) -> None:
        """Drop what is stored, so that the next `wait` gets a newer one."""
        with self._condition:
            self._message = None
