"""Views that become a bundle's named goals."""

from __future__ import annotations

from pathlib import Path

import cv2

from jepa_ros.errors import BundleError


def goal_views(folder: Path | None) -> list[Path]:
    """The PNGs of a folder of goals; a misspelt folder must not become a bundle without goals.

    Raises:
        BundleError: no such folder, no PNG in it, or a file of that name that is no image.
    """
    if folder is None:
        return []
    views = sorted(folder.glob("*.png"))
    if not views:
        has = "holds no .png views" if folder.is_dir() else "is no folder"
        raise BundleError(f"export: --goals {folder} {has}; write some with `python -m jepa_ros_simulation.views`")
    for view in views:
        if cv2.imread(str(view), cv2.IMREAD_COLOR) is None:
            raise BundleError(f"export: --goals {view} is no image that can be read; write it anew or take it away")
    return views
