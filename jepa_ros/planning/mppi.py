"""Model predictive path integral control over action sequences.

Williams et al., Information Theoretic MPC (2017). The deviation is refitted and only the elites are weighed, as in
TD-MPC2 (Hansen et al., 2024); `elites = samples` weighs them all. The temperature *divides* the energy, as in
pytorch_mppi. TD-MPC2 multiplies by it: its 0.5 is 2.0 here. It is in the energy's unit: one far below the spread of the
elites' energies leaves a single sample's weight, and the deviation falls to its floor.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from jepa_ros.planning.candidates import Workspace
from jepa_ros.planning.sampling import SamplingPlanner
from jepa_ros.types import Float32


class MPPI(SamplingPlanner):
    """Weighs the elites by exp(-(energy - lowest) / temperature)."""

    def _refit(self, work: Workspace, ranked: NDArray[np.intp], std_floor: Float32) -> None:
        # A candidate that violates a guardrail more than the best does must not pull the mean, however low its energy.
        ranked = ranked[work.violation[ranked] <= work.violation[ranked[0]]]
        energy = work.energy[ranked]
        weight = np.exp((energy.min() - energy) / np.float32(self.config.temperature))
        weight /= weight.sum()
        elites = work.candidates[ranked]
        np.einsum("b,bha->ha", weight, elites, out=work.mean)
        elites -= work.mean
        np.square(elites, out=elites)
        np.einsum("b,bha->ha", weight, elites, out=work.std)
        np.sqrt(work.std, out=work.std)
        np.maximum(work.std, std_floor, out=work.std)
