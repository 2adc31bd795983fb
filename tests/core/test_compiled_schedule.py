"""Several iterations in one call of a plan graph: which, the same plans, and never past the deadline."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.errors import PlanningError
from jepa_ros.planning.compiled.planner import GraphPlanner
from jepa_ros.planning.compiled.schedule import Call, Schedule
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.cost import GoalObjective
from jepa_ros.planning.problem import History, PlanProblem
from jepa_ros.share import default_bundle
from jepa_ros.world_model import OnnxWorldModel

SMALL = {"samples": 16, "elites": 5, "horizon": 3, "knot": 1, "learning_rate": 0.05}
TICK = 0.125  # s an iteration takes; its sums are exact


@pytest.fixture(scope="module")
def default():
    return OnnxWorldModel(load_bundle(default_bundle()))


def task(model, seed=0):
    rng = np.random.default_rng(seed)
    latents = rng.standard_normal((2, model.latent_dim)).astype(np.float32)
    goal = rng.standard_normal(model.latent_dim).astype(np.float32)
    action = model.manifest.action
    past = np.zeros((1, model.action_dim), np.float32)
    objective = GoalObjective(model, goal, model.manifest.cost, model.layout)
    return PlanProblem(History(latents, past), objective, SMALL["horizon"], np.array(action.low), np.array(action.high))


def counts(name, accelerated, deadline, **fields):
    schedule = Schedule(name, PlannerConfig(**fields), accelerated)
    return [(call.kind[0], call.count) for call in schedule.calls(deadline)]


@pytest.mark.parametrize(
    ("name", "fields", "deadline", "expected"),
    [
        ("cem", {"iterations": 10}, False, [("s", 10)]),
        ("cem", {"iterations": 10}, True, [("s", 5), ("s", 5)]),
        ("cem", {"iterations": 10, "convergence": 0.1}, False, [("s", 5), ("s", 5)]),
        ("icem", {"iterations": 7}, True, [("s", 4), ("s", 3)]),
        ("mppi", {"iterations": 12}, False, [("s", 6), ("s", 6)]),
        ("cem", {"iterations": 10, "iterations_per_call": 4}, True, [("s", 4), ("s", 4), ("s", 2)]),
        ("hybrid", {"iterations": 3, "descents": 9}, True, [("s", 3), ("d", 4), ("d", 4), ("s", 1)]),
        ("hybrid", {"iterations": 2, "descents": 0}, True, [("s", 2)]),
        ("gradient", {"iterations": 6}, True, [("d", 5), ("s", 1)]),
        ("gradient", {"iterations": 1}, True, [("s", 1)]),
    ],
)
def test_calls_on_an_accelerator(name, fields, deadline, expected):
    assert counts(name, True, deadline, **fields) == expected


def test_one_iteration_a_call_on_the_cpu_unless_it_is_said():
    assert counts("cem", False, True, iterations=4) == [("s", 1)] * 4
    assert counts("cem", False, True, iterations=4, iterations_per_call=3) == [("s", 3), ("s", 1)]
    with pytest.raises(PlanningError, match="'iterations_per_call' must be a whole number of at least 0"):
        PlannerConfig(iterations_per_call=-1)


def test_a_call_of_a_new_length_is_judged_by_those_of_others():
    schedule = Schedule("cem", PlannerConfig(iterations=8, iterations_per_call=3), False)
    schedule.pace(Call("sampling", 0, 3)).observe(0.3)
    assert schedule.pace(Call("sampling", 6, 2)).predicted == pytest.approx(0.3)
    assert schedule.pace(Call("sampling", 0, 6)).predicted == pytest.approx(0.6)
    assert schedule.pace(Call("descent", 0, 3)).predicted == 0


@pytest.mark.parametrize("together", [2, 3, 9])
@pytest.mark.parametrize("name", ["cem", "icem", "mppi", "gradient", "hybrid"])
def test_the_plans_are_those_of_one_iteration_a_call(default, name, together, tmp_path):
    fields = {**SMALL, "iterations": 5, "descents": 5}
    plain, several = (
        GraphPlanner(default, PlannerConfig(**fields, iterations_per_call=k), name, 3, cache=tmp_path)
        for k in (1, together)
    )
    several.prepare(task(default))
    for seed in range(3):  # what iCEM keeps and how much noise is drawn carry over
        expected, found = plain.plan(task(default, seed)), several.plan(task(default, seed))
        np.testing.assert_allclose(found.actions, expected.actions, atol=1e-4)
        np.testing.assert_allclose(found.energies, expected.energies, rtol=1e-4)
        assert (found.iterations, found.stopped) == (expected.iterations, expected.stopped)
        assert sum(several.calls.values()) < sum(plain.calls.values())


class Timed(GraphPlanner):
    """Its clock moves by the seconds given for each iteration; it notes when each call began, and its prediction."""

    def __init__(self, model, fields, cache, name="cem"):
        super().__init__(model, PlannerConfig(**SMALL, **fields), name, 0, lambda: self.now, cache)
        self.now, self.until, self.started, self.durations = 0.0, np.inf, [], [TICK] * 99

    def left(self):
        return self.until - self.now

    def _call(self, problem, iteration):
        self.started.append((self.now, self._pace_of(iteration).predicted))
        found = super()._call(problem, iteration)
        self.now += sum(self.durations[iteration : iteration + len(found)])
        return found


@pytest.fixture(scope="module")
def timed(default, tmp_path_factory):
    fields = {"iterations": 5, "descents": 6, "iterations_per_call": 3}
    planner = Timed(default, fields, tmp_path_factory.mktemp("plans"), "hybrid")
    planner.prepare(task(default))
    return planner


durations_of_a_plan = st.lists(st.floats(0.001, 10), min_size=11, max_size=11)


@settings(max_examples=100, deadline=None)
@given(first=durations_of_a_plan, second=durations_of_a_plan, left=st.floats(-0.1, 40))
def test_no_call_starts_whose_predicted_end_passes_the_deadline(default, timed, first, second, left):
    timed._schedule._paces.clear()
    timed.durations, timed.until = first, np.inf
    timed.plan(task(default), timed.left)
    timed.durations, timed.started, timed.until = second, [], timed.now + left
    plan = timed.plan(task(default), timed.left)
    for now, predicted in timed.started:
        assert now < timed.until
        assert now + predicted <= timed.until
    assert plan.iterations in (0, 3, 5, 8, 10, 11)
    assert plan.feasible == bool(timed.started)
    if plan.stopped == "deadline":
        # What was refused would have been late; being refused has made its prediction 0.7 of what it was.
        refused = timed._schedule.pace(timed._schedule.call(plan.iterations, deadline=True))
        assert timed.now + refused.predicted / 0.7 >= timed.until


@pytest.mark.parametrize(
    ("ticks", "iterations"), [(2.5, 0), (3, 3), (5.5, 3), (6, 6), (7.5, 6), (8, 8), (99, 8)]
)  # calls of 3, 3 and 2
def test_steady_calls_are_never_late_and_use_the_time(default, tmp_path, ticks, iterations):
    planner = Timed(default, {"iterations": 8, "iterations_per_call": 3}, tmp_path)
    for _ in range(2):  # the first opens graphs, which is no measure
        planner.plan(task(default))
    planner.until = planner.now + ticks * TICK
    plan = planner.plan(task(default), planner.left)
    assert plan.iterations == iterations
    assert planner.now <= planner.until
    assert plan.stopped == ("iterations" if iterations == 8 else "deadline")


def test_what_converges_in_a_call_ends_behind_it(default, tmp_path):
    fields = {**SMALL, "iterations": 12, "convergence": 0.5}
    for seed in range(4):
        alone, together = (
            GraphPlanner(default, PlannerConfig(**fields, iterations_per_call=k), "cem", 3, cache=tmp_path).plan(
                task(default, seed)
            )
            for k in (1, 4)
        )
        assert (alone.stopped, together.stopped) == ("converged", "converged")
        assert together.iterations == -(-alone.iterations // 4) * 4
        assert together.energy <= alone.energy * (1 + 1e-5)
