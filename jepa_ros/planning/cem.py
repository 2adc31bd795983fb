"""The cross-entropy method over action sequences.

Rubinstein & Kroese, The Cross-Entropy Method (2004). That the best so far stays among the candidates is iCEM's (Pinneri
et al., 2020).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_ros.planning.candidates import Workspace
from jepa_ros.planning.sampling import SamplingPlanner
from jepa_ros.types import Float32


class CEM(SamplingPlanner):
    """Fits the next iteration's mean and deviation to the elites, each weighing the same."""

    def _refit(self, work: Workspace, ranked: NDArray[np.intp], std_floor: Float32) -> None:
        elites = work.candidates[ranked]
        keep = np.float32(self.config.momentum)
        work.mean *= keep
        work.mean += (1 - keep) * elites.mean(axis=0)
        work.std *= keep
        work.std += (1 - keep) * elites.std(axis=0)
        np.maximum(work.std, std_floor, out=work.std)
