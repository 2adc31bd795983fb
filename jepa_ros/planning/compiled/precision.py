"""Whether plan graphs compute the model in fp16: only where the plans are those of fp32."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np

from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.loader import PREDICTOR, Bundle
from jepa_ros.errors import JepaRosError
from jepa_ros.golden import golden_cases
from jepa_ros.planning.config import Precision
from jepa_ros.planning.problem import ActionBounds, History, Plan, PlanProblem

_LOG = logging.getLogger(__name__)
_CPU = "CPUExecutionProvider"
_PROBLEMS = 3  # golden rows that are planned from
MOST_ACTION = 1e-2  # by which a best plan's actions may be off, of each action's range
MOST_ENERGY = 1e-2  # by which its energy may be off, relative
_LEAST_ENERGY = 1e-6  # below it a relative difference says nothing


class PrecisionChoice:
    """Chooses fp16 where it is wanted and agrees.

    Args:
        bundle: of the model.
        asked: `PlannerConfig.precision`.
        accelerated: whether plans are to run on an accelerator.

    Attributes:
        chosen: in what plan graphs compute the model from now on; fp32 until `settle` has compared.
        reason: why, in a sentence's part.
    """

    def __init__(self, bundle: Bundle, asked: Precision, accelerated: bool) -> None:
        self._bundle, self._asked = bundle, asked
        self.chosen: Literal["fp32", "fp16"] = "fp32"
        self._possible = False
        self._compared, self._worst = 0, (0.0, 0.0)
        held = bundle.manifest.precision
        if asked == "fp32":
            self.reason = "fp32 is asked for"
        elif held != "fp32":
            self.reason = f"the bundle's graphs are {held} already and are taken as they are"
        elif asked == "auto" and not accelerated:
            self.reason = "plans run on the CPU"
        else:
            self.reason = "fp16 has not been compared with fp32: prepare() does"
            self._possible = True

    def settle(
        self, problem: PlanProblem, search: Callable[[PlanProblem], Plan], provider: Callable[[], str | None]
    ) -> None:
        """Plan problems of this kind in both precisions, if fp16 is wanted; what once disagrees stays fp32 for good.

        Args:
            problem: whose kind, bounds and objective it is; the bundle's golden contexts replace its history.
            search: plans in the precision that is `chosen`, with the same noise whenever it is called.
            provider: what the graphs of the last search ran on.

        Raises:
            JepaRosError: the plan in fp32 failed; one in fp16 that fails only means fp32.
        """
        if not self._possible:
            return
        before, self.chosen = self.chosen, "fp32"
        problems = golden_problems(self._bundle, problem)
        expected = [search(each) for each in problems]
        if self._asked == "auto" and provider() == _CPU:
            self._refuse("plan graphs run on the CPU")
            return
        self.chosen = "fp16"
        for each, plan in zip(problems, expected, strict=True):
            try:
                found = search(each)
            except JepaRosError as error:
                self._refuse(f"plan graphs in fp16 fail: {error}")
                return
            if said := disagreement(found, plan, each.bounds):
                self._refuse(said)
                return
            errors = _action_error(found, plan, each.bounds), _energy_error(found, plan)
            self._worst = max(self._worst[0], errors[0]), max(self._worst[1], errors[1])
            self._compared += 1
        self.reason = (
            f"on {self._compared} problems, plans in fp16 differ from those in fp32 by at most {self._worst[0]:.2%} of "
            f"an action's range, energies by {self._worst[1]:.2%}"
        )
        if before != "fp16":
            _LOG.info("plan graphs compute the model in fp16: %s", self.reason)

    def _refuse(self, reason: str) -> None:
        self.chosen, self.reason, self._possible = "fp32", reason, False
        _LOG.warning("plan graphs compute the model in fp32, although precision is %s: %s", self._asked, reason)


def golden_problems(bundle: Bundle, problem: PlanProblem) -> list[PlanProblem]:
    """The problem from the first contexts of the predictor's golden values, of as many steps as its history has."""
    case = next(case for case in golden_cases(bundle.manifest) if case.file == PREDICTOR)
    layout, golden = StateLayout(bundle.manifest.state), bundle.golden()
    given = {name: np.asarray(golden[key], np.float32)[:_PROBLEMS] for name, key in case.inputs.items()}
    rows, steps = given["action"].shape[:2]
    latents = np.zeros((rows, steps, layout.size), np.float32)
    for tensor in layout.taken:
        latents[..., layout.place(tensor.name)] = given[tensor.name].reshape(rows, steps, -1)
    known = min(len(problem.history.latents), steps)
    return [
        replace(problem, history=History(latents[row, steps - known :], given["action"][row, steps - known : -1]))
        for row in range(rows)
    ]


def disagreement(found: Plan, expected: Plan, bounds: ActionBounds) -> str | None:
    """Why a plan in fp16 is not the one in fp32; None where it is, within `MOST_ACTION` and `MOST_ENERGY`."""
    for plan, precision in ((expected, "fp32"), (found, "fp16")):
        if not all(np.isfinite(part).all() for part in (plan.actions, plan.latents, plan.energies)):
            return f"a plan in {precision} is not finite"
    if found.feasible != expected.feasible:
        return "a plan keeps the guardrails in one precision only"
    if (off := _action_error(found, expected, bounds)) > MOST_ACTION:
        return f"plans in fp16 and fp32 differ by {off:.2%} of an action's range, more than {MOST_ACTION:.0%}"
    if (off := _energy_error(found, expected)) > MOST_ENERGY:
        return f"energies in fp16 and fp32 differ by {off:.2%}, more than {MOST_ENERGY:.0%}"
    return None


def _action_error(found: Plan, expected: Plan, bounds: ActionBounds) -> float:
    """Largest difference of an action, over its range; a fixed one has none."""
    moves = bounds.half_range > 0
    off = np.abs(found.actions - expected.actions)[:, moves] / (2 * bounds.half_range[moves])
    return float(off.max(initial=0.0))


def _energy_error(found: Plan, expected: Plan) -> float:
    """Largest relative difference of the best energy after an iteration."""
    off = np.abs(found.energies - expected.energies)
    return float((off / np.maximum(np.abs(expected.energies), _LEAST_ENERGY)).max(initial=0.0))
