"""Stand-in for ROS 2's `launch`: the names that are supported, with the real signatures."""

from __future__ import annotations

from typing import Any

from jepa_launch.context import Context as LaunchContext

from launch import actions, conditions, event_handlers, events, launch_description_sources, substitutions
from launch.action import Action
from launch.substitution import Substitution


class LaunchDescription(Action):
    """An ordered list of entities."""

    def __init__(self, initial_entities: list[Any] | None = None) -> None:
        super().__init__()
        self.entities = list(initial_entities or [])

    def add_action(self, action: Any) -> None:
        self.entities.append(action)

    def arguments(self) -> list[Any]:
        """Every DeclareLaunchArgument in it, also inside groups."""
        return [found for entity in self.entities for found in entity.declared_arguments()]

    def declared_arguments(self) -> list[Any]:
        return self.arguments()

    def execute(self, context: LaunchContext) -> None:
        context.engine.visit(self.entities)


__all__ = [
    "Action",
    "LaunchContext",
    "LaunchDescription",
    "Substitution",
    "actions",
    "conditions",
    "event_handlers",
    "events",
    "launch_description_sources",
    "substitutions",
]
