"""Substitutions that are supported."""

from __future__ import annotations

from typing import Any

from jepa_launch.context import Context
from jepa_launch.share import package_share
from launch.substitution import Substitution


class FindPackageShare(Substitution):
    def __init__(self, package: Any) -> None:
        self.package = package

    def perform(self, context: Context) -> str:
        return package_share(context.perform(self.package))


__all__ = ["FindPackageShare"]
