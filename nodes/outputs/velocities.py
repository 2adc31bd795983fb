"""For outputs that send velocities: the action that holds now, as vx, vy, wz, and for how long a stop is said."""

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


class StopWindow:
    """The first second of a damping, in which a gait of the robot's own is told to stop.

    After that it stands by itself, and whoever else wants to drive it may.

    Args:
        length_s: of it.
    """

    def __init__(self, length_s: float = 1.0) -> None:
        self._length_s = length_s
        self._began: float | None = None

    def open(self, now: float) -> bool:
        """Whether to stop at `now`, s of any one clock; the first call since `reset` opens it."""
        if self._began is None or now < self._began:  # a clock that went back
            self._began = now
        return now - self._began < self._length_s

    def reset(self) -> None:
        """The damping is over."""
        self._began = None
