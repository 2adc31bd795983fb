"""Parameters whose type is said, so that text is not guessed from."""

from __future__ import annotations

from typing import Any

import yaml
from jepa_launch import LaunchError
from jepa_launch.context import Context


class ParameterValue:
    def __init__(self, value: Any, *, value_type: Any = None) -> None:
        self.value, self.value_type = value, value_type

    def evaluate(self, context: Context) -> Any:
        text = context.perform(self.value)
        if self.value_type is str:
            return text
        found = yaml.safe_load(text)
        if self.value_type is float and isinstance(found, int):
            return float(found)
        if self.value_type is not None and not isinstance(found, self.value_type):
            raise LaunchError(f"parameter value {text!r}: is not of type {self.value_type.__name__}")
        return found


class ParameterFile:
    def __init__(self, param_file: Any, *, allow_substs: bool = False) -> None:
        if allow_substs:
            raise LaunchError("ParameterFile(allow_substs=True): not supported by the stand-in")
        self.param_file = param_file


__all__ = ["ParameterFile", "ParameterValue"]
