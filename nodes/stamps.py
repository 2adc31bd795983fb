"""How old a sensor's message is, by its header."""

from __future__ import annotations

from builtin_interfaces.msg import Time

from jepa_ros.messages import seconds


class StampWatch:
    """Ages of one topic's messages: a driver that repeats its last one, or a late link, must not look fresh."""

    def __init__(self) -> None:
        self._last = (0, 0)

    def age(self, stamp: Time, ros_now: float) -> float | None:
        """Seconds since `stamp`; None for a stamp that came before, which is nothing new.

        A stamp of zero says nothing: some drivers leave it empty, and the message counts as made when it came.
        """
        found = (stamp.sec, stamp.nanosec)
        if found == (0, 0):
            return 0.0
        if found == self._last:
            return None
        self._last = found
        return ros_now - seconds(stamp)
