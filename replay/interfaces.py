"""Where the definitions of this project's own messages lie."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from jepa_ros.errors import JepaRosError

_CHECKOUT = Path(__file__).resolve().parent.parent / "ros_ws" / "src" / "jepa_ros_msgs" / "msg"


def interface_files() -> list[Path]:
    """The `.msg` files of jepa_ros_msgs: of ROS's prefixes, of this environment, or of the checkout this file is in.

    Raises:
        JepaRosError: they are not installed.
    """
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    for folder in (*(Path(prefix) / "share" / "jepa_ros_msgs" / "msg" for prefix in prefixes), _CHECKOUT):
        found = sorted(folder.glob("*.msg"))
        if found:
            return found
    raise JepaRosError("the interfaces of jepa_ros_msgs are not installed; run `make setup`")
