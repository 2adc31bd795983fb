"""The action that holds now, as vx, vy, wz, for outputs that send velocities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jepa_ros.motion import ACTION_NAMES
from jepa_ros.types import Float64


class HeldVelocity:
    """A motion runs more seldom than the control loop: between its ticks its last action holds.

    Args:
        action_names: of the actions, in their order; those that are no body velocity are left out.
    """

    def __init__(self, action_names: Sequence[str]) -> None:
        self._from = [i for i, name in enumerate(action_names) if name in ACTION_NAMES]
        self._to = [ACTION_NAMES.index(action_names[i]) for i in self._from]
        self._held = np.zeros(len(ACTION_NAMES))
        self._holds = False

    def update(self, runs: bool, applied: Float64 | None) -> Float64 | None:
        """One control tick.

        Args:
            runs: whether the motion runs at all in this state.
            applied: the action `[A]` of this tick, None between the motion's ticks.

        Returns:
            vx, vy in m/s and wz in rad/s, good until the next tick; None while no motion runs.
        """
        if not runs:
            self._holds = False
        elif applied is not None:
            self._held[self._to] = applied[self._from]
            self._holds = True
        return self._held if self._holds else None
