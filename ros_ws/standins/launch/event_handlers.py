"""Handlers that are supported: a process has started, has ended, or the launch is shutting down."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from jepa_launch.context import Context


class _Handler:
    kind = ""

    def __init__(self, target: Any, then: Any) -> None:
        self.target, self.then = target, then

    def entities(self, code: int, context: Context) -> Any:
        """What to do; a callable is asked, with the event's return code."""
        if callable(self.then):
            return self.then(SimpleNamespace(returncode=code, action=self.target), context) or []
        return self.then


class OnProcessExit(_Handler):
    kind = "exit"

    def __init__(self, *, target_action: Any = None, on_exit: Any) -> None:
        super().__init__(target_action, on_exit)


class OnProcessStart(_Handler):
    kind = "start"

    def __init__(self, *, target_action: Any = None, on_start: Any) -> None:
        super().__init__(target_action, on_start)


class OnShutdown(_Handler):
    kind = "shutdown"

    def __init__(self, *, on_shutdown: Any) -> None:
        super().__init__(None, on_shutdown)


__all__ = ["OnProcessExit", "OnProcessStart", "OnShutdown"]
