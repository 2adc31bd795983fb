"""Where an included launch description comes from: Python files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jepa_launch.context import Context


class PythonLaunchDescriptionSource:
    def __init__(self, launch_file_path: Any) -> None:
        self.location = launch_file_path

    def load(self, context: Context) -> Any:
        from jepa_launch.command import load

        return load(Path(context.perform(self.location)), context)


__all__ = ["PythonLaunchDescriptionSource"]
