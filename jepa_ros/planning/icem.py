"""iCEM: the cross-entropy method with noise that is smooth in time, and elites that are kept.

Pinneri et al., Sample-efficient Cross-Entropy Method for Real-time Planning (CoRL 2020), sections 3.1 (coloured noise)
and 3.2 (elites kept within a plan, and shifted into the next). The number of samples does not decay here, because
buffers and plan graphs have one size; mean and best so far are always among the candidates, as in all of this package's
sampling planners.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from jepa_ros.planning.candidates import Workspace
from jepa_ros.planning.cem import CEM
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.problem import PlanProblem
from jepa_ros.protocols import WorldModel
from jepa_ros.types import Float32


def colouring(knots: int, beta: float) -> Float32:
    """Matrix `[knots, knots]` M of which M @ white noise has power 1 / frequency^beta, and unit variance at each knot.

    It filters in the frequency domain as Timmer & König, On Generating Power Law Noise (1995), do; the mean, of which
    the power would be infinite, has that of the lowest frequency. M is symmetric and circulant: noise at the last knot
    is as near to the first as to the one before. beta 0 gives the identity, and so do fewer than three knots: white
    noise.
    """
    frequency = np.fft.rfftfreq(knots)
    frequency[0] = frequency[1] if knots > 1 else 1.0
    filtered = np.fft.irfft(frequency[:, None] ** (-beta / 2) * np.fft.rfft(np.eye(knots), axis=0), n=knots, axis=0)
    return np.asarray(filtered / np.linalg.norm(filtered, axis=1, keepdims=True), np.float32)


def shifted(elites: Float32) -> Float32:
    """Plans `[K, H, A]` a model step later: without their first action, the last one held."""
    return np.concatenate([elites[:, 1:], elites[:, -1:]], axis=1)


class ICEM(CEM):
    """CEM that draws coloured noise and keeps a share of its elites, for the next iteration and for the next plan.

    Elites are kept from one plan to the next where both are of one shape; plans are taken to follow one another a model
    step apart, as in `LatentMPC`. Another sequence of plans needs another planner.
    """

    def __init__(
        self, model: WorldModel, config: PlannerConfig, seed: int = 0, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        super().__init__(model, config, seed, clock)
        self._kept: Float32 | None = None

    @classmethod
    def guesses(cls, config: PlannerConfig) -> int:
        """As `CandidatePlanner.guesses`, and the elites that are kept."""
        return super().guesses(config) + config.kept

    def _begin(self, problem: PlanProblem) -> None:
        work = self._prepare(problem)
        if work.colour is None:
            work.colour = colouring(-(-problem.horizon // self.config.knot), self.config.beta)
        if self._kept is not None:
            self._kept = shifted(self._kept) if self._kept.shape[1:] == work.shape else None

    def _insert_more(self, work: Workspace, row: int) -> None:
        if self._kept is not None:
            work.candidates[row : row + len(self._kept)] = self._kept

    def _refit(self, work: Workspace, ranked: NDArray[np.intp], std_floor: Float32) -> None:
        self._kept = work.candidates[ranked[: self.config.kept]].copy()
        super()._refit(work, ranked, std_floor)
