"""Substitutions that are supported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jepa_launch import LaunchError
from jepa_launch.context import FILE_DIR, Context

from launch.substitution import Substitution


class TextSubstitution(Substitution):
    def __init__(self, *, text: str) -> None:
        self.text = text

    def perform(self, context: Context) -> str:
        return self.text


class LaunchConfiguration(Substitution):
    def __init__(self, variable_name: Any, *, default: Any = None) -> None:
        self.variable_name, self.default = variable_name, default

    def perform(self, context: Context) -> str:
        name = context.perform(self.variable_name)
        if name in context.launch_configurations:
            return context.launch_configurations[name]
        if self.default is None:
            raise LaunchError(f"launch configuration {name!r}: used before it is declared or set")
        return context.perform(self.default)


class EnvironmentVariable(Substitution):
    def __init__(self, name: Any, *, default_value: Any = None) -> None:
        self.name, self.default_value = name, default_value

    def perform(self, context: Context) -> str:
        name = context.perform(self.name)
        if name in context.environment:
            return context.environment[name]
        if self.default_value is None:
            raise LaunchError(f"environment variable {name!r}: not set")
        return context.perform(self.default_value)


class PathJoinSubstitution(Substitution):
    def __init__(self, substitutions: list[Any]) -> None:
        self.substitutions = substitutions

    def perform(self, context: Context) -> str:
        return str(Path(*[context.perform(part) for part in self.substitutions]))


class ThisLaunchFileDir(Substitution):
    def perform(self, context: Context) -> str:
        return context.launch_configurations[FILE_DIR]


class PythonExpression(Substitution):
    """Evaluates text as Python, as the real one does, with only `math` and the builtins at hand."""

    def __init__(self, expression: Any) -> None:
        self.expression = expression

    def perform(self, context: Context) -> str:
        import math

        text = context.perform(self.expression)
        try:
            return str(eval(text, {"math": math}))  # noqa: S307
        except Exception as error:
            raise LaunchError(f"PythonExpression {text!r}: {error}") from error


class _Logical(Substitution):
    def __init__(self, left: Any, right: Any) -> None:
        self.left, self.right = left, right


class EqualsSubstitution(_Logical):
    def perform(self, context: Context) -> str:
        return str(context.perform(self.left) == context.perform(self.right)).lower()


class NotEqualsSubstitution(_Logical):
    def perform(self, context: Context) -> str:
        return str(context.perform(self.left) != context.perform(self.right)).lower()


__all__ = [
    "EnvironmentVariable",
    "EqualsSubstitution",
    "LaunchConfiguration",
    "NotEqualsSubstitution",
    "PathJoinSubstitution",
    "PythonExpression",
    "TextSubstitution",
    "ThisLaunchFileDir",
]
