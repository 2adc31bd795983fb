"""The loop that planners share: the deadline, what predicts it, and when a search has converged."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.errors import PlanningError
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.pacing import ClockRate, IterationPace
from jepa_ros.planning.search import IteratedPlanner

from .linear_world import problem

TASK = problem(lambda latents, actions: np.zeros(len(latents), np.float32))


class Scripted(IteratedPlanner):
    """Its iterations take the durations given, in s, and find the scores given; it notes when each began."""

    def __init__(self, config, durations=(), scores=(), kinds=1):
        super().__init__(config, lambda: self.now)
        self.now, self.durations, self.scores = 0.0, list(durations), list(scores)
        self.paces = [IterationPace() for _ in range(kinds)]
        self.started, self.asked, self.until = [], [], np.inf

    def left(self):
        """Until the deadline; it is asked before each iteration."""
        self.asked.append((self.now, self._pace_of(len(self.started)).predicted))
        return self.until - self.now

    def _pace_of(self, iteration):
        return self.paces[iteration % len(self.paces)]

    def _begin(self, task):
        self.started, self.asked = [], []

    def _iterate(self, task, iteration):
        self.started.append((self.now, self._pace_of(iteration).predicted))
        self.now += self.durations[iteration] if len(self.durations) > iteration else 0.0
        return self.scores[iteration] if self.scores else (0.0, -float(iteration))

    def _best(self):
        return np.zeros((1, 2), np.float32), np.zeros((1, 2), np.float32)


@pytest.mark.parametrize(("kinds", "stalls"), [(1, 0.02), (3, 0.0002)])
def test_no_iteration_starts_whose_predicted_end_passes_the_deadline(kinds, stalls):
    """10,000 plans with random deadlines; durations jump by 30 times, now and then by 100 times more."""
    rng = np.random.default_rng(0)
    planner = Scripted(PlannerConfig(iterations=12), kinds=kinds)
    seen = {"deadline": 0, "iterations": 0, "none": 0, "late": 0}
    for _ in range(10_000):
        durations = 0.01 * 30 ** rng.random(12)
        durations[rng.random(12) < stalls] *= 100
        planner.durations = durations.tolist()
        planner.until = planner.now + rng.exponential(0.5) - 0.02
        plan = planner.plan(TASK, planner.left)
        assert plan.iterations == len(planner.started)
        for now, predicted in planner.started:
            assert now < planner.until
            assert now + predicted <= planner.until
        if plan.stopped == "deadline":
            now, predicted = planner.asked[-1]
            assert now >= planner.until or now + predicted > planner.until
        seen[plan.stopped] += 1
        seen["none"] += plan.iterations == 0
        seen["late"] += planner.now > planner.until
    # Each of these happens often; late is what a stall in the last iteration makes, which nothing foresees.
    assert min(seen.values()) > 100
    assert seen["late"] < 5000


def test_steady_iterations_are_never_late_once_one_was_seen():
    planner = Scripted(PlannerConfig(iterations=50), [0.25] * 50)
    planner.plan(TASK)
    for left in (0.2, 0.3, 0.5, 0.99, 1.0, 3.1):
        deadline = planner.now + left
        plan = planner.plan(TASK, lambda deadline=deadline: deadline - planner.now)
        assert planner.now <= deadline
        assert plan.iterations == int(left / 0.25)


def test_each_kind_of_iteration_is_predicted_by_its_own():
    """Iterations of 1 s and 0.1 s in turn: behind a long one there is room for a short one, and for no long one."""
    planner = Scripted(PlannerConfig(iterations=6), [1.0, 0.1] * 3, kinds=2)
    planner.plan(TASK)
    for left, iterations in ((0.9, 0), (1.05, 1), (1.15, 2), (2.05, 2), (2.15, 3), (2.25, 4)):
        planner.paces[0].observe(1.0)
        planner.until = planner.now + left
        assert planner.plan(TASK, planner.left).iterations == iterations


def test_a_stall_of_one_kind_does_not_forbid_it_for_ever():
    """The second iteration once takes 10 s; in 2 s there is room for it again when that is forgotten."""
    planner = Scripted(PlannerConfig(iterations=2), [0.5, 10.0], kinds=2)
    planner.plan(TASK)
    planner.durations = [0.5, 1.0]
    planner.until = planner.now + 2.0
    refused = 0
    while planner.plan(TASK, planner.left).iterations == 1:
        planner.until = planner.now + 2.0
        refused += 1
        assert refused < 200
    assert 50 < refused < 150


def scored(energies, violations=None, **settings):
    scores = list(zip(violations or [0.0] * len(energies), energies, strict=True))
    return Scripted(PlannerConfig(iterations=len(scores), **settings), scores=scores).plan(TASK)


@pytest.mark.parametrize(("patience", "iterations"), [(1, 3), (2, 6), (3, 7), (4, 9)])
def test_as_many_iterations_in_a_row_must_stall(patience, iterations):
    """Energies that fall by more than a tenth but in the third, fifth, sixth and seventh iteration."""
    plan = scored([8, 4, 4, 2, 2, 1.9, 1.9, 1, 0.5], convergence=0.1, patience=patience)
    assert plan.iterations == iterations
    assert plan.stopped == ("iterations" if patience == 4 else "converged")


def test_a_fall_by_just_the_fraction_is_no_stall():
    assert scored([4, 2, 1, 0.75], convergence=0.5).iterations == 4


def test_what_was_seen_in_a_plan_is_not_forgotten_when_the_next_does_not_fit():
    planner = Scripted(PlannerConfig(iterations=5), [0.5] * 5)
    for _ in range(20):
        planner.until = planner.now + 1.6
        assert planner.plan(TASK, planner.left).iterations == 3
        assert planner.paces[0].predicted == 0.5


def test_a_violation_within_the_patience_is_no_stall():
    plan = scored([1, 1, 1, 1, 1], [1.0, 0.0, 0.0, 0.0, 0.0], convergence=0.1, patience=2)
    assert (plan.iterations, plan.stopped) == (4, "converged")


def test_without_a_convergence_every_iteration_runs():
    assert scored([1] * 7).iterations == 7


def test_a_search_that_found_nothing_finite():
    class Nothing(Scripted):
        def _best(self):
            return None

    plan = Nothing(PlannerConfig(iterations=2), scores=[(np.inf, np.inf)] * 2).plan(TASK)
    assert not plan.feasible
    assert plan.energy == np.inf
    np.testing.assert_array_equal(plan.actions, [[0, 0]])
    assert np.isnan(plan.latents).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"patience": 0}, "patience"),
        ({"beta": -1.0}, "beta"),
        ({"beta": "pink"}, "beta"),
        ({"keep": 1.5}, "keep"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"optimizer": "newton"}, "optimizer"),
        ({"optimizer": True}, "optimizer"),
        ({"descents": -1}, "descents"),
        ({"descents": 1.0}, "descents"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(change, said):
    with pytest.raises(PlanningError, match=f"'{said}'"):
        PlannerConfig(**change)


def test_a_call_that_made_what_it_needed_first_is_no_measure_of_the_next():
    """Compiling took 0.3 s, and no later plan had the 0.1 s that such a call takes."""

    class Compiling(Scripted):
        def _took_its_time(self):
            return len(self.started) > 1

    planner = Compiling(PlannerConfig(iterations=4), [0.3, 0.01, 0.01, 0.01])
    planner.until = 0.35
    assert planner.plan(TASK, planner.left).iterations == 4
    assert planner.paces[0].predicted == pytest.approx(0.01)


@pytest.mark.parametrize("rate", [0.1, 1.0, 5.0])
def test_a_clock_of_another_speed_is_known_after_two_looks(rate):
    found = ClockRate()
    assert found.rate == 1.0
    for second in (3.0, 3.2):
        found.observe(100 + rate * second, second)
    assert found.rate == pytest.approx(rate)
    found.observe(100 + rate * 3.2, 9.0)  # it stands: paused
    found.observe(50.0, 9.5)  # it went back
    assert found.rate == pytest.approx(rate)
    found.observe(50.0 + rate, 10.5)
    assert found.rate == pytest.approx(rate)
