"""Base of everything a launch description holds."""

from __future__ import annotations

from typing import Any

from jepa_launch.context import Context


class Action:
    """Something that is carried out, unless its condition says no."""

    def __init__(self, *, condition: Any = None) -> None:
        self.condition = condition

    def execute(self, context: Context) -> None:
        raise TypeError(f"{type(self).__name__} cannot be carried out")

    def declared_arguments(self) -> list[Any]:
        return []
