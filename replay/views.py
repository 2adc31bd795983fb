"""The frames of a replay in which the world disobeyed the model most."""

from __future__ import annotations

import numpy as np

from jepa_ros.types import UInt8

_KEPT = 6
_APART_S = 1.0


class MostSurprising:
    """Keeps a few frames by their surprise, no two of them within a second."""

    def __init__(self) -> None:
        self._kept: list[tuple[float, UInt8, float]] = []

    def offer(self, t: float, image: UInt8, surprise: float) -> None:
        """A frame of `t` s, RGB `[h, w, 3]`."""
        if not np.isfinite(surprise):
            return
        near = [row for row in self._kept if abs(row[0] - t) < _APART_S]
        if any(row[2] >= surprise for row in near):
            return
        if len(self._kept) - len(near) >= _KEPT and min(row[2] for row in self._kept) >= surprise:
            return
        self._kept = [row for row in self._kept if abs(row[0] - t) >= _APART_S]
        self._kept.append((t, np.array(image), surprise))
        self._kept = sorted(self._kept, key=lambda row: -row[2])[:_KEPT]

    def most_first(self) -> list[tuple[float, UInt8, float]]:
        """Rows (t, image, surprise)."""
        return list(self._kept)
