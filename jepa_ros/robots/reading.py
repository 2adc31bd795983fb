"""Robot files on disk: found by name or path, and laid over the one that they extend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from jepa_ros.errors import RobotError
from jepa_ros.plain_yaml import read_yaml

SHIPPED = Path(__file__).parent
_DEEPEST = 5


def read_fields(robot: str | Path) -> tuple[Path, dict[str, Any]]:
    """The file of a robot, and its fields.

    `extends: NAME or PATH` takes every top-level field from another file; those that stand in this one take the place
    of the other's as a whole, so that what holds is read in one place. A path is relative to the file it stands in.

    Raises:
        RobotError: no such file, one that holds no fields, or files that extend each other.
    """
    path = _path(str(robot), Path())
    return path, _fields(path, ())


def _path(robot: str, base: Path) -> Path:
    path = Path(robot)
    path = base / path if path.suffix in (".yaml", ".yml") else SHIPPED / f"{robot}.yaml"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.yaml")))
        raise RobotError(f"robot {robot}: no file {path}; shipped robots are {shipped}, or give the path of a YAML")
    return path


def _fields(path: Path, below: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in below or len(below) >= _DEEPEST:
        raise RobotError(f"robot file {path}: extends: goes round in a circle, or deeper than {_DEEPEST} files")
    try:
        fields = read_yaml(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RobotError(f"robot file {path}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(fields, dict):
        raise RobotError(f"robot file {path}: holds no fields; start from a copy of {SHIPPED / 'generic.yaml'}")
    extends = fields.pop("extends", None)
    if extends is None:
        return fields
    if not isinstance(extends, str):
        raise RobotError(f"robot file {path}: extends: must be the name of a shipped robot, or the path of a YAML")
    parent = _path(extends, path.parent)
    return _anchored(_fields(parent, (*below, path.resolve())), parent.parent) | fields


def _anchored(fields: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same fields with the files that they name found from anywhere."""
    found = dict(fields)
    if isinstance(found.get("description"), str):
        found["description"] = str(folder / found["description"])
    policy = found.get("locomotion")
    if isinstance(policy, dict) and isinstance(policy.get("policy"), str):
        found["locomotion"] = {**policy, "policy": str(folder / policy["policy"])}
    return found
