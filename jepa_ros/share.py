"""Where this package's data lie: launch files, parameters, bundles."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from jepa_ros.errors import JepaRosError

_CHECKOUT = Path(__file__).resolve().parent.parent


def share_folder() -> Path:
    """The checkout that this file stands in, else `share/jepa_ros` of a colcon workspace or of this environment.

    Raises:
        JepaRosError: the data are not installed.
    """
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    for folder in (_CHECKOUT, *(Path(prefix) / "share" / "jepa_ros" for prefix in prefixes)):
        if (folder / "package.xml").is_file() and (folder / "launch").is_dir():
            return folder
    raise JepaRosError("the data of jepa_ros are not installed: source your workspace, or run `make setup`")


def default_bundle() -> Path:
    """The bundle that comes with the package."""
    return share_folder() / "bundles" / "default"
