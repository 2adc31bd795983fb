"""What was on the wire during one run, with the time of receipt of every message."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from typing import Any

Row = tuple[float, Any]
TRUE_JOINTS = "faults/joint_states"  # as the simulator measured them, before the relay


@dataclass
class Recording:
    """Messages by topic, oldest first.

    Attributes:
        topics: rows of (receipt, system time in s; message) by topic.
        injected: when the fault was set off, s.
        closed: when the run was over, s.
    """

    topics: dict[str, list[Row]] = field(default_factory=dict)
    injected: float = 0.0
    closed: float = 0.0

    def rows(self, topic: str) -> list[Row]:
        """All of a topic; empty for one that was never heard."""
        return self.topics.get(topic, [])

    def after(self, topic: str, at: float) -> list[Row]:
        """Those that came later than `at`."""
        rows = self.rows(topic)
        return rows[bisect.bisect_right(rows, at, key=lambda row: row[0]) :]

    def until(self, topic: str, at: float) -> list[Row]:
        """Those that had come by `at`."""
        rows = self.rows(topic)
        return rows[: bisect.bisect_right(rows, at, key=lambda row: row[0])]
