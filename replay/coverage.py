"""How regularly a bag's topics come: lost and late frames, silent stretches, a clock that went back."""

from __future__ import annotations

import numpy as np

from jepa_ros_replay.bags import BagFault, BagMessage
from jepa_ros_replay.result import Gap, ReplayResult

_LEAST_GAP_S = 0.5
_PERIODS = 5.0
_LOST = 1.5


class Coverage:
    """Hears of every message in time order.

    Args:
        one_file: whether the bag is a single file; only then do places in it tell the order of recording.
    """

    def __init__(self, one_file: bool = True) -> None:
        self._one_file = one_file
        self._times: dict[str, list[float]] = {}
        self._offsets: dict[str, int] = {}
        self._went_back: set[str] = set()
        self._stamps: list[float] = []
        self._received: list[float] = []

    def hear(self, message: BagMessage, path: str) -> BagFault | None:
        """A message; returns a fault if it shows, the first time for its topic, that the bag's clock went back.

        Messages come sorted by time. In the file they stand in the order in which they were recorded, so that one of a
        later time that stands before one of an earlier time means that the clock was set back in between.
        """
        self._times.setdefault(message.topic, []).append(message.time * 1e-9)
        if message.offset is None or not self._one_file:
            return None
        before = self._offsets.get(message.topic, -1)
        self._offsets[message.topic] = message.offset
        if message.offset >= before or message.topic in self._went_back:
            return None
        self._went_back.add(message.topic)
        what = f"{message.topic}: the clock went back while it was recorded; what came before and after is interleaved"
        return BagFault(path, message.offset, what)

    def frame(self, stamp: float, received: float) -> None:
        """A camera frame of `stamp` s, recorded at `received` s."""
        self._stamps.append(stamp)
        self._received.append(received)

    def write_to(self, result: ReplayResult) -> None:
        """Write down what was found."""
        result.frames = len(self._stamps)
        result.dropped, result.late = frame_losses(self._stamps, self._received)
        result.gaps = self._gaps(result.ended)

    def _gaps(self, end: float) -> list[Gap]:
        """Stretches in which a topic that comes regularly was silent, for five of its periods and 0.5 s at least."""
        found = []
        for topic, times in self._times.items():
            if len(times) < 10:
                continue
            steps = np.diff([*times, end])
            limit = max(_PERIODS * float(np.median(steps[:-1])), _LEAST_GAP_S)
            ends = [*times[1:], end]
            found += [Gap(topic, times[i], ends[i]) for i in np.flatnonzero(steps > limit)]
        return found


def frame_losses(stamps: list[float], received: list[float]) -> tuple[int, int]:
    """Frames missing by count, and frames that came more than one period after their stamp.

    Args:
        stamps: header stamps in s, in the order of arrival.
        received: when each was recorded, s.
    """
    if len(stamps) < 3:
        return 0, 0
    steps = np.diff(np.sort(stamps))
    period = float(np.median(steps))
    if period <= 0:
        return 0, 0
    dropped = int(sum(max(round(step / period) - 1, 0) for step in steps if step > _LOST * period))
    late = int(np.sum(np.asarray(received) - np.asarray(stamps) > period))
    return dropped, late
