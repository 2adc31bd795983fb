"""How long this machine itself stood still: without it a late command cannot be told from a late machine."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.connection import Connection

_NAP_S = 0.001


def _watch(pipe: Connection) -> None:
    """Sleep a millisecond again and again; answer each question with the longest oversleep since the last, in s."""
    longest = 0.0
    while True:
        before = time.monotonic()
        time.sleep(_NAP_S)
        longest = max(longest, time.monotonic() - before - _NAP_S)
        if pipe.poll():
            if pipe.recv() is None:
                return
            pipe.send(longest)
            longest = 0.0


class StallWatch:
    """A process of its own, so that this one's interpreter lock is not taken for a stall."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_watch, args=(other,), daemon=True)
        self._process.start()

    def take(self) -> float:
        """The longest stall in s since the last call."""
        self._pipe.send(True)
        return float(self._pipe.recv())

    def close(self) -> None:
        """End the process."""
        self._pipe.send(None)
        self._process.join(2.0)
