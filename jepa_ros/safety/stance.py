"""Changing from one stance and its gains to another, smoothly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_ros.robots.limits import Rate
from jepa_ros.robots.model import Gains
from jepa_ros.types import Float64

_MARGIN = 0.95


@dataclass(frozen=True)
class Posture:
    """Joint angles `[n]` rad and the gains they are held with."""

    position: Float64
    gains: Gains


class StanceChange:
    """A cubic way from rest to rest, gains changing linearly along it.

    It takes as long as the slowest joint needs within 95 % of the rate limits, and at least `least_s`. A cubic over
    length d and time T peaks at speed 1.5 d / T and acceleration 6 d / T².

    Attributes:
        kp, kd: gains of the last `at`.
    """

    def __init__(self, start: Posture, end: Posture, began: float, rate: Rate, least_s: float) -> None:
        self._start, self._end, self._began = start, end, began
        self._way = end.position - start.position
        longest = float(np.abs(self._way).max())
        speed, acceleration = _MARGIN * rate.speed, _MARGIN * rate.acceleration
        self.duration = max(least_s, 1.5 * longest / speed, float(np.sqrt(6 * longest / acceleration)))
        self.kp, self.kd = start.gains.kp, start.gains.kd

    def at(self, now: float, out: Float64) -> Float64:
        """Where the change has got to, `[n]` rad, into `out`."""
        u = min(max((now - self._began) / self.duration, 0.0), 1.0)
        a, b = self._start.gains, self._end.gains
        self.kp, self.kd = a.kp + u * (b.kp - a.kp), a.kd + u * (b.kd - a.kd)
        if u == 1.0:
            np.copyto(out, self._end.position)
            return out
        np.multiply(self._way, (3 - 2 * u) * u * u, out=out)
        out += self._start.position
        return out

    def over(self, now: float) -> bool:
        """Whether the end is reached."""
        return now - self._began >= self.duration
