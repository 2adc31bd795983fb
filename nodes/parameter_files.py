"""ROS parameter files: what one says for a node, and what none may say for a robot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from jepa_ros.errors import RobotError
from jepa_ros.plain_yaml import read_yaml

_VALUES = "ros__parameters"
_OPERATORS = ("auto_stand", "auto_walk", "lock_step")
_LAUNCHS = ("dry_run",)


def _blocks(fields: dict[str, Any], space: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and values of each block, also of those inside namespaces."""
    for name, block in fields.items():
        if name == _VALUES:
            yield space, dict(block)
        else:
            yield from _blocks(block, f"{space}/{name}")


def _read(params_file: Path) -> list[tuple[str, dict[str, Any]]]:
    try:
        return list(_blocks(read_yaml(params_file)))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise RobotError(f"parameter file {params_file}: {' '.join(str(error).split())}") from error


def _is_for(name: str, node: str) -> bool:
    last = name.rpartition("/")[2]
    return last == node or "*" in last


def parameters_of(node: str, params_file: Path | None) -> dict[str, Any]:
    """What a ROS parameter file says for a node, whatever namespace it names.

    Raises:
        RobotError: it is no parameter file.
    """
    found: dict[str, Any] = {}
    for name, values in _read(params_file) if params_file is not None else []:
        if _is_for(name, node):
            found |= values
    return found


def refuse_to_command(params_file: Path) -> None:
    """That a parameter file leaves to operator and launch what is theirs.

    A launch's own values come after a file's, but rcl lays blocks over each other by the order in which their names
    first came: `/joint_command` twice with `/**/joint_command` between, and the file has the last word.

    Raises:
        RobotError: it does not, or is no parameter file.
    """
    for name, values in _read(params_file):
        if not _is_for(name, "joint_command"):
            continue
        if set_ := [key for key in _OPERATORS if values.get(key, False) is not False]:
            raise RobotError(
                f"parameter file {params_file}: {name}: {', '.join(set_)} must be false on a robot: an operator stands "
                "it up and permits walking; take it out"
            )
        if set_ := [key for key in _LAUNCHS if key in values]:
            raise RobotError(
                f"parameter file {params_file}: {name}: {', '.join(set_)} is the launch's to say: take it out, and "
                f"give {set_[0]}:=… on the command line"
            )
