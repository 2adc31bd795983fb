"""A family's settings: what its file says by default, and what a YAML file says instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from jepa_ros.errors import BundleError
from jepa_ros.plain_yaml import read_yaml
from jepa_ros_export.families import family_module

# Groups of settings that do not depend on one another: a file that gives some of one keeps the others. An action, a
# proprio or an encoder is one thing, and given whole.
_GROUPS = ("planner", "mount")


def default_config(name: str) -> str:
    """A family's default settings as YAML; those that it cannot know are an example, and said to be.

    Raises:
        BundleError: the family has none.
    """
    module = family_module(name)
    if not hasattr(module, "Config"):
        raise BundleError(f"export {name}: has no settings of its own; --config is the whole manifest")
    made_up = _required(module)
    note = f"# an example, to be replaced by yours: {', '.join(made_up)}\n" if made_up else ""
    found = module.Config(**made_up).model_dump(mode="json")
    return note + yaml.safe_dump(found, sort_keys=False, allow_unicode=True)


def read_config(module: Any, path: Path | None, random_weights: str | None = None) -> Any:
    """Over the defaults, what a YAML file says. Without a checkpoint, what a family cannot know is made up.

    Of `planner` and `mount`, what the file leaves out stays as the defaults, or those of its preset, have it.

    Args:
        module: of the family.
        path: the YAML file; None for none.
        random_weights: "tiny" begins with the settings of a tiny model, "full" with the defaults.

    Raises:
        BundleError: the file, and the field that does not fit.
    """
    given = {} if path is None else _read(path)
    base: dict[str, Any] = {}
    if random_weights == "tiny":
        base = module.tiny().model_dump()
    elif random_weights == "full":
        base = _required(module)
    where = f"config {path}" if path is not None else "settings"
    try:
        return _merged(module, base, given)
    except (ValidationError, TypeError) as error:
        if isinstance(error, TypeError):
            raise BundleError(f"{where}: {error}") from error
        found = error.errors()[0]
        field = ".".join(map(str, found["loc"])) or "the whole"
        fix = "; set it with --config" if path is None else ""
        raise BundleError(f"{where}: {field}: {found['msg'].removeprefix('Value error, ')}{fix}") from error


def _merged(module: Any, base: dict[str, Any], given: dict[str, Any]) -> Any:
    """Settings of `base` and over them those given. A preset fills in its groups only when settings are made, so they
    are made without those that the file gives in part, and then with them."""
    parts = {name: given[name] for name in _GROUPS if isinstance(given.get(name), dict)}
    fields = {**base, **{name: value for name, value in given.items() if name not in parts}}
    found = module.Config(**fields)
    if not parts:
        return found
    groups = {name: {**getattr(found, name).model_dump(), **part} for name, part in parts.items()}
    return module.Config(**{**fields, **groups})


def _required(module: Any) -> dict[str, Any]:
    """What has no default, as the tiny model has it; nothing where the defaults do alone, as a preset may."""
    try:
        module.Config()
    except ValidationError:
        pass
    else:
        return {}
    tiny = module.tiny()
    needed = [name for name, field in module.Config.model_fields.items() if field.is_required()]
    return {name: getattr(tiny, name) for name in needed}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = read_yaml(path)
    except OSError as error:
        raise BundleError(f"config {path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BundleError(f"config {path}: is not YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(found, dict):
        raise BundleError(f"config {path}: must be a mapping of fields")
    return found
