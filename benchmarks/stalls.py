"""How long this machine does not let a process run that wants to: measured by one that only sleeps."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Not forked: a child of a process that runs rclpy inherits its signal handlers and would not end when told.
_SPAWN = multiprocessing.get_context("spawn")
_SLEEP_S = 0.001


def _sleep_and_watch(worst: Any) -> None:
    worst.value = 0.0
    while True:
        began = time.monotonic()
        time.sleep(_SLEEP_S)
        worst.value = max(worst.value, time.monotonic() - began - _SLEEP_S)


@contextmanager
def longest_stall() -> Iterator[Any]:
    """A shared number whose `value` is the longest time so far, in s, by which a sleep of 1 ms was overrun."""
    worst = _SPAWN.Value("d", -1.0)
    process = _SPAWN.Process(target=_sleep_and_watch, args=(worst,), daemon=True)
    process.start()
    while worst.value < 0 and process.is_alive():
        time.sleep(0.01)
    try:
        yield worst
    finally:
        process.kill()
        process.join()
