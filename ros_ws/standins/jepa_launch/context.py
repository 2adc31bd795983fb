"""What substitutions are resolved against: arguments, environment and namespace, in nested scopes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jepa_launch.engine import Engine

# Under which name the folder of the launch file being carried out is kept.
FILE_DIR = "__file_dir"


class Context:
    """State of one launch.

    Attributes:
        launch_configurations: values of arguments, by name.
        environment: of the processes that are started.
        namespace: that nodes are pushed into, without a trailing slash.
        declared: arguments declared so far, in order, for `--show-args`.
    """

    def __init__(self, engine: Engine, given: dict[str, str]) -> None:
        self.engine = engine
        self.launch_configurations = dict(given)
        self.environment = dict(os.environ)
        self.namespace = ""
        self.declared: list[Any] = []

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Changes made inside are undone at the end."""
        kept = dict(self.launch_configurations), dict(self.environment), self.namespace
        try:
            yield
        finally:
            self.launch_configurations, self.environment, self.namespace = kept

    def perform(self, value: Any) -> str:
        """Resolve text, a substitution, or a list of them that is joined."""
        if isinstance(value, (list, tuple)):
            return "".join(self.perform(part) for part in value)
        return str(value.perform(self)) if hasattr(value, "perform") else str(value)
