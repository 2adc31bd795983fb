"""Settings of the sampling planners."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from jepa_ros.errors import PlanningError

# Of the samples of an iteration: rest, the warm start, the mean and the best so far, which `SamplingPlanner` inserts.
GUESSES = 4


@dataclass(frozen=True)
class PlannerConfig:
    """Settings that CEM and MPPI share.

    Attributes:
        samples: Action sequences tried an iteration.
        iterations: Most iterations a plan.
        elites: Best samples that the next iteration's distribution is fitted to.
        horizon: Model steps planned.
        knot: Model steps over which a sample's noise is held.
        std: First standard deviation, as a fraction of half the range of each action.
        min_std: Smallest standard deviation, same unit.
        momentum: Share of the old mean and deviation kept at each update (CEM).
        temperature: MPPI only; *divides* the energy: weight = exp(-(energy - lowest) / temperature). Lower is greedier.
        policy_samples: Plans that the model's policy proposes; they are always among the samples.
        convergence: Stop when an iteration lowers the best energy by less than this fraction; 0 never stops early.

    Raises:
        PlanningError: A value that is out of range, named.
    """

    samples: int = 64
    iterations: int = 3
    elites: int = 8
    horizon: int = 6
    knot: int = 3
    std: float = 1.0
    min_std: float = 0.05
    momentum: float = 0.0
    temperature: float = 0.05
    policy_samples: int = 0
    convergence: float = 0.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            # bool is an int to isinstance; a YAML `true` is not a count.
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise PlanningError(f"planner setting '{item.name}' must be a finite number, got {value!r}")
        for name in ("samples", "iterations", "elites", "horizon", "knot"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise PlanningError(f"planner setting '{name}' must be a whole number of at least 1, got {value!r}")
        if not isinstance(self.policy_samples, int) or self.policy_samples < 0:
            raise PlanningError(
                f"planner setting 'policy_samples' must be a whole number of at least 0, got {self.policy_samples!r}"
            )
        for name in ("std", "temperature"):
            if getattr(self, name) <= 0:
                raise PlanningError(f"planner setting '{name}' must be above 0, got {getattr(self, name)!r}")
        for name in ("min_std", "convergence"):
            if getattr(self, name) < 0:
                raise PlanningError(f"planner setting '{name}' must not be below 0, got {getattr(self, name)!r}")
        if not 0 <= self.momentum < 1:
            raise PlanningError(f"planner setting 'momentum' must be in [0, 1), got {self.momentum!r}")
        if self.elites > self.samples:
            raise PlanningError(f"planner setting 'elites' ({self.elites}) must not be above samples ({self.samples})")
