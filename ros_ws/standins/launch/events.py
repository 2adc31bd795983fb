"""Events that can be emitted."""

from __future__ import annotations


class Shutdown:
    def __init__(self, *, reason: str = "reason not given", due_to_sigint: bool = False) -> None:
        self.reason = reason


__all__ = ["Shutdown"]
