"""Classes of messages by the name of their type."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from jepa_ros.errors import JepaRosError


def message_class(kind: str) -> Any:
    """The class of `package/msg/Type`.

    Raises:
        JepaRosError: no such interface is installed.
    """
    package, _, name = kind.partition("/msg/")
    try:
        return getattr(import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise JepaRosError(f"there is no message {kind} here; is its package installed?") from error
