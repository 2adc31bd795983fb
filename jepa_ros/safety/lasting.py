"""How long a condition has held."""

from __future__ import annotations


class Lasting:
    """How long a condition has held without a break."""

    def __init__(self) -> None:
        self._since: float | None = None

    def seconds(self, now: float, holds: bool) -> float:
        """Seconds since it began to hold; −1 while it does not."""
        if not holds:
            self._since = None
            return -1.0
        if self._since is None:
            self._since = now
        return now - self._since
