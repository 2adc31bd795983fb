"""Views that become a bundle's named goals."""

from __future__ import annotations

from pathlib import Path

from jepa_ros.errors import BundleError


def goal_views(folder: Path | None) -> list[Path]:
    """The PNGs of a folder of goals; a misspelt folder must not become a bundle without goals.

    Raises:
        BundleError: no such folder, or no PNG in it.
    """
    if folder is None:
        return []
    views = sorted(folder.glob("*.png"))
    if not views:
        has = "holds no .png views" if folder.is_dir() else "is no folder"
        raise BundleError(f"export: --goals {folder} {has}; write some with `python -m jepa_ros_simulation.views`")
    return views
