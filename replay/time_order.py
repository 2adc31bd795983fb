"""Messages of many sources in the order of time, without having them all in memory."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from jepa_ros_replay.records import BagMessage

# Sources that may be open at the same time: chunks of about a MiB each, or files.
MOST_OPEN = 64


def in_time_order(
    sources: Iterable[tuple[int, Callable[[], Iterable[BagMessage]]]], most_open: int = MOST_OPEN
) -> Iterator[BagMessage]:
    """Merge sources by time; of messages with the same time, the earlier source's come first.

    A source is opened when its first time is reached and forgotten when it is spent, so that only those are in memory
    that overlap in time. Where more than `most_open` overlap, the order holds among those that are open.

    Args:
        sources: the time of a source's first message, and what gives its messages in the order of their time.
        most_open: how many are open at most.
    """
    waiting = deque(sorted(enumerate(sources), key=lambda entry: entry[1][0]))
    # The newest of each open source; (time, number of the source) is never equal, so that messages are not compared.
    heap: list[tuple[int, int, BagMessage, Iterator[BagMessage]]] = []
    while waiting or heap:
        while waiting and len(heap) < most_open and (not heap or waiting[0][1][0] <= heap[0][0]):
            number, (_, read) = waiting.popleft()
            rest = iter(read())
            first = next(rest, None)
            if first is not None:
                heapq.heappush(heap, (first.time, number, first, rest))
        if not heap:
            continue
        _, number, message, rest = heap[0]
        yield message
        following = next(rest, None)
        if following is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (following.time, number, following, rest))
