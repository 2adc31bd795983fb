"""A thread with absolute deadlines: rclpy's timers drop late ticks and drift, a control loop must do neither."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable


class Ticker:
    """Calls a function at a fixed rate in a thread of its own, against the monotonic clock.

    If the function raises, the whole process ends at once with exit code 1: a control loop that has stopped inside a
    process that still looks alive is the worst case, and whoever watches the process (launch, command_watchdog) can
    act on its death.

    Args:
        rate_hz: how often.
        tick: called with the monotonic time in s at which the tick began.
        name: of the thread.

    Attributes:
        ticks: so far.
        missed: ticks that were skipped because the one before ended, or began, more than a period late.
        measured_hz: over the last second.
    """

    def __init__(self, rate_hz: float, tick: Callable[[float], None], name: str) -> None:
        self._period, self._tick = 1.0 / rate_hz, tick
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.ticks = self.missed = 0
        self.measured_hz = 0.0

    def start(self) -> None:
        """Begin ticking."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for the tick in progress."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(2.0)

    def _run(self) -> None:
        try:
            self._keep_ticking()
        except BaseException:  # noqa: BLE001 - whatever it was, the process must not go on without its loop
            traceback.print_exc()
            os._exit(1)

    def _keep_ticking(self) -> None:
        due = mark = time.monotonic()
        counted = 0
        while not self._stop.is_set():
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            now = time.monotonic()
            behind = int((now - due) / self._period)
            self.missed += behind
            due += (behind + 1) * self._period
            self.ticks += 1 + behind
            counted += 1
            if now - mark >= 1.0:
                self.measured_hz, mark, counted = counted / (now - mark), now, 0
            self._tick(now)
