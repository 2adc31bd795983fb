"""Settings of the planners."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, get_args

from jepa_ros.errors import PlanningError

# Of the samples of an iteration: rest, the warm start, the mean and the best so far, which `SamplingPlanner` inserts.
GUESSES = 4

Optimizer = Literal["adam", "sgd"]
Precision = Literal["auto", "fp32", "fp16"]
_NAMED = {"optimizer": get_args(Optimizer), "precision": get_args(Precision)}


@dataclass(frozen=True)
class PlannerConfig:
    """Settings that the planners share; one that a planner has no use for changes nothing.

    Attributes:
        samples: Action sequences tried an iteration.
        iterations: Most iterations a plan.
        elites: Best samples that the next iteration's distribution is fitted to.
        horizon: Model steps planned.
        knot: Model steps over which a sample's noise is held.
        std: First standard deviation, as a fraction of half the range of each action.
        min_std: Smallest standard deviation, same unit.
        momentum: Share of the old mean and deviation kept at each update (CEM, iCEM, hybrid).
        temperature: MPPI only; *divides* the energy: weight = exp(-(energy - lowest) / temperature). Lower is greedier.
        policy_samples: Plans that the model's policy proposes; they are always among the samples.
        convergence: Stop when an iteration lowers the best energy by less than this fraction; 0 never stops early.
        patience: Iterations in a row of which `convergence` must say so.
        beta: iCEM only; a plan's noise has power 1 / frequency^beta along its knots. 0 is white.
        keep: iCEM only; share of the elites that are kept for the next iteration and the next plan.
        learning_rate: Of a descent, in units of half the range of each action.
        optimizer: Of a descent.
        descents: Hybrid only; iterations of descent on the elites after those of sampling.
        iterations_per_call: Plan graphs only; iterations that one call runs, between which no deadline is asked. 0: one
            on the CPU, on an accelerator up to 5 under a deadline or `convergence`, else up to 10.
        precision: Plan graphs only; in what they compute the model. `fp16`: where `prepare` finds its plans to be those
            of fp32, which else stays. `auto`: the same on an accelerator, fp32 on the CPU.

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
    patience: int = 1
    beta: float = 2.0
    keep: float = 0.3
    learning_rate: float = 0.1
    optimizer: Optimizer = "adam"
    descents: int = 4
    iterations_per_call: int = 0
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        for name, known in _NAMED.items():
            if (value := getattr(self, name)) not in known:
                raise PlanningError(f"planner setting '{name}' must be one of {', '.join(known)}, got {value!r}")
        for item in fields(self):
            if item.name in _NAMED:
                continue
            value = getattr(self, item.name)
            # bool is an int to isinstance; a YAML `true` is not a count.
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise PlanningError(f"planner setting '{item.name}' must be a finite number, got {value!r}")
        for name in ("samples", "iterations", "elites", "horizon", "knot", "patience"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise PlanningError(f"planner setting '{name}' must be a whole number of at least 1, got {value!r}")
        for name in ("policy_samples", "descents", "iterations_per_call"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise PlanningError(f"planner setting '{name}' must be a whole number of at least 0, got {value!r}")
        for name in ("std", "temperature", "learning_rate"):
            if getattr(self, name) <= 0:
                raise PlanningError(f"planner setting '{name}' must be above 0, got {getattr(self, name)!r}")
        for name in ("min_std", "convergence", "beta"):
            if getattr(self, name) < 0:
                raise PlanningError(f"planner setting '{name}' must not be below 0, got {getattr(self, name)!r}")
        if not 0 <= self.momentum < 1:
            raise PlanningError(f"planner setting 'momentum' must be in [0, 1), got {self.momentum!r}")
        if not 0 <= self.keep <= 1:
            raise PlanningError(f"planner setting 'keep' must be in [0, 1], got {self.keep!r}")
        if self.elites > self.samples:
            raise PlanningError(f"planner setting 'elites' ({self.elites}) must not be above samples ({self.samples})")

    @property
    def kept(self) -> int:
        """Elites that iCEM keeps, a whole number."""
        return round(self.keep * self.elites)
