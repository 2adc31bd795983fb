"""This package's planners in `jepa-bench plan`, as a robot runs them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from jepa_ros.errors import PlanningError
from jepa_ros.planning.compiled.planner import GraphPlanner
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.factory import Engine, make_planner
from jepa_ros.planning.problem import Plan, PlanProblem
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_benchmarks.plan_figures import Run, iteration_ends
from jepa_ros_benchmarks.plan_problems import Case, problem_of

ENGINES: tuple[Engine, ...] = ("graph", "numpy")


class OwnPlanner:
    """A planner of `jepa_ros.planning.factory`.

    Args:
        model: on its provider and with its threads.
        name, config: of the planner. engine: a compiled plan graph, or the model's graphs called step by step.
        seed: of its noise.
        traced_apart: whether the iterations are timed in a second plan, without which a planner on a GPU need not come
            back between them.
        half: whether plan graphs compute the model in fp16, whatever that changes: what is reached is in the row.

    Raises:
        PlanningError: the planner, or the bundle for it, is not there.
    """

    def __init__(
        self, model: OnnxWorldModel, name: str, config: PlannerConfig, engine: Engine, seed: int, traced_apart: bool,
        half: bool = False,
    ) -> None:  # fmt: skip
        self._model, self._config, self._traced_apart = model, config, traced_apart
        settings = {**asdict(config), "name": name}
        self.planner = make_planner(model.manifest, model, settings, seed=seed, engine=engine)
        if half:
            if not isinstance(self.planner, GraphPlanner):
                raise PlanningError("engine numpy: its graphs are the bundle's, in fp32")
            self.planner.compute_in_half()

    def __call__(self, case: Case) -> Run:
        problem = problem_of(self._model, case, self._config.horizon)
        plan, seconds, run = self._traced(problem)
        if self._traced_apart:
            begin = time.perf_counter()
            plan = self.planner.plan(problem)
            seconds = time.perf_counter() - begin
        return Run(plan.actions, seconds, run.ends, run.energies)

    def calls(self) -> Mapping[Path, int] | None:
        """Plan graphs that the last plan called, and how often; None where the planner does not say."""
        return getattr(self.planner, "calls", None)

    def _traced(self, problem: PlanProblem) -> tuple[Plan, float, Run]:
        """A plan whose planner is told before each call that there is time, which tells when it asked."""
        marks: list[float] = []

        def time_left() -> float:
            marks.append(time.perf_counter())
            return math.inf

        begin = time.perf_counter()
        plan = self.planner.plan(problem, time_left)
        end = time.perf_counter()
        ends = iteration_ends(marks, end, plan.iterations) - begin
        return plan, end - begin, Run(plan.actions, end - begin, ends, np.asarray(plan.energies, np.float64))
