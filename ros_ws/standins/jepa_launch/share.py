"""Where a package's share folder and its executables are, in ROS's index, this environment, or a source tree
installed in place."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from jepa_launch import LaunchError


def _prefixes() -> list[Path]:
    return [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p] + [Path(sys.prefix)]


def package_share(package: str) -> str:
    """The folder that holds a package's launch and config files.

    Raises:
        LaunchError: no such package.
    """
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.submodule_search_locations:
        source = Path(next(iter(spec.submodule_search_locations))).resolve().parent
        if (source / "package.xml").exists():
            return str(source)
    for prefix in _prefixes():
        if (prefix / "share" / package / "package.xml").exists():
            return str(prefix / "share" / package)
    raise LaunchError(f"package {package}: not found; is it installed in this environment?")


def executable(package: str, name: str) -> str:
    """Path of a package's executable.

    Raises:
        LaunchError: it has none of that name.
    """
    for prefix in _prefixes():
        for path in (prefix / "lib" / package / name, prefix / "bin" / name):
            if path.is_file() and os.access(path, os.X_OK):
                return str(path)
    raise LaunchError(f"package {package}: no executable {name!r}; is it installed in this environment?")
