"""Surprise: how far what was seen is from what was predicted, in units of what held-out runs showed."""

from __future__ import annotations

import math

import numpy as np

from jepa_ros.errors import PlanningError
from jepa_ros.types import Float32


def prediction_energy(predicted: Float32, seen: Float32) -> float:
    """Mean squared difference of two latents `[D]`; the unit of `calibration.surprise_p50` and `surprise_p99`."""
    return float(np.mean(np.square(np.subtract(predicted, seen, dtype=np.float32)), dtype=np.float32))


class SurpriseMonitor:
    """Normalises the energy of one-step predictions: 1.0 is the 99th percentile on held-out runs.

    Args:
        p99: `calibration.surprise_p99` of the bundle.

    Raises:
        PlanningError: A percentile that is not above 0.
    """

    def __init__(self, p99: float) -> None:
        if not (math.isfinite(p99) and p99 > 0):
            raise PlanningError(f"calibration.surprise_p99 must be above 0, got {p99}: calibrate on held-out runs")
        self._p99 = p99

    def observe(self, predicted: Float32, seen: Float32) -> float:
        """Predicted and seen latent, both `[D]` → surprise; infinite where either is not a number."""
        energy = prediction_energy(predicted, seen)
        return energy / self._p99 if math.isfinite(energy) else math.inf
