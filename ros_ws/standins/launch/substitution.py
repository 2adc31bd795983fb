"""Base of everything that becomes text when the launch runs."""

from __future__ import annotations

from jepa_launch.context import Context


class Substitution:
    """Text that is known only when the launch runs."""

    def perform(self, context: Context) -> str:
        raise TypeError(f"{type(self).__name__} cannot be resolved")
