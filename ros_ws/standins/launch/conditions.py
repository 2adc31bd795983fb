"""Conditions that are supported."""

from __future__ import annotations

from typing import Any

from jepa_launch import LaunchError
from jepa_launch.context import Context


class IfCondition:
    def __init__(self, predicate_expression: Any) -> None:
        self.expression = predicate_expression

    def evaluate(self, context: Context) -> bool:
        text = context.perform(self.expression).strip().lower()
        if text in ("true", "1"):
            return True
        if text in ("false", "0"):
            return False
        raise LaunchError(f"condition {text!r}: must be true or false")


class UnlessCondition(IfCondition):
    def evaluate(self, context: Context) -> bool:
        return not super().evaluate(context)


__all__ = ["IfCondition", "UnlessCondition"]
