"""Changing from one stance and its gains to another, smoothly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_ros.robots.limits import Rate
from jepa_ros.robots.model import Gains
from jepa_ros.types import Float64


@dataclass(frozen=True)
class Posture:
    """Joint angles `[n]` rad and the gains they are held with."""

    position: Float64
    gains: Gains


class StanceChange:
    """A cubic way from rest to rest, gains changing linearly along it.

    It takes as long as the slowest joint needs within the rate limits, and at least `least_s`. A cubic over length d
    and time T peaks at speed 1.5 d / T and acceleration 6 d / T².
    """

    def __init__(self, start: Posture, end: Posture, began: float, rate: Rate, least_s: float) -> None:
        self._start, self._end, self._began = start, end, began
        longest = float(np.abs(end.position - start.position).max())
        self.duration = max(least_s, 1.5 * longest / rate.speed, float(np.sqrt(6 * longest / rate.acceleration)))

    def at(self, now: float) -> Posture:
        """Where the change has got to."""
        u = min(max((now - self._began) / self.duration, 0.0), 1.0)
        s = (3 - 2 * u) * u * u
        a, b = self._start, self._end
        gains = Gains(kp=a.gains.kp + u * (b.gains.kp - a.gains.kp), kd=a.gains.kd + u * (b.gains.kd - a.gains.kd))
        return Posture(a.position + s * (b.position - a.position), gains)

    def over(self, now: float) -> bool:
        """Whether the end is reached."""
        return now - self._began >= self.duration
