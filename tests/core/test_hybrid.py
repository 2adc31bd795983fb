"""Sampling and then descending on the elites."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.planning.cem import CEM
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.cost import GoalObjective
from jepa_ros.planning.hybrid import Hybrid

from .linear_world import TERMS, problem
from .sloping_world import SlopingWorld


def task(goal=(2.2, -1.1), **more):
    wish = GoalObjective(SlopingWorld(), np.array(goal, np.float32), TERMS)
    return problem(more.pop("objective", wish), horizon=4, **more)


def config(**settings):
    return PlannerConfig(**{"horizon": 4, "knot": 1, "iterations": 3, "descents": 6, "learning_rate": 0.03, **settings})


def test_never_worse_than_cem_on_the_same_noise_and_mostly_better():
    better = 0
    for seed in range(20):
        sampled = CEM(SlopingWorld(), config(), seed).plan(task())
        both = Hybrid(SlopingWorld(), config(), seed).plan(task())
        np.testing.assert_array_equal(both.energies[:3], sampled.energies)
        assert both.energy <= sampled.energy
        assert both.energy == both.energies[-1]
        better += both.energy < 0.9 * sampled.energy
    assert better >= 18


def test_the_descent_begins_at_the_elites_with_the_best_in_front():
    world, objective = SlopingWorld(), GoalObjective(SlopingWorld(), np.array([1.0, 0.5], np.float32), TERMS)
    Hybrid(world, config(elites=5)).plan(task(objective=objective))
    tried = [actions for _, _, actions in world.calls]
    assert [len(actions) for actions in tried] == [64] * 3 + [5] * 6
    order = np.argsort(objective(np.cumsum(tried[2], axis=1), tried[2]), kind="stable")
    np.testing.assert_array_equal(tried[3], tried[2][order[:5]])


def test_without_descents_it_is_cem():
    plans = [kind(SlopingWorld(), config(descents=0), 1).plan(task()) for kind in (CEM, Hybrid)]
    np.testing.assert_array_equal(plans[0].actions, plans[1].actions)
    assert plans[1].iterations == 3


def test_the_descent_of_one_plan_leaves_the_next_as_it_would_be():
    """Adam begins anew, and the noise is that of CEM alone."""
    plans = []
    for first in ((2.2, -1.1), (-3, 0)):
        planners = CEM(SlopingWorld(), config(), 2), Hybrid(SlopingWorld(), config(), 2)
        for goal in (first, (0.1, 0.9)):
            sampled, both = (planner.plan(task(goal)) for planner in planners)
            np.testing.assert_array_equal(both.energies[:3], sampled.energies)
        plans.append(both.actions)
    np.testing.assert_array_equal(*plans)


def test_the_first_iteration_of_a_descent_is_not_taken_for_convergence():
    """It scores the elites that the sampling has scored already."""
    settings = config(iterations=2, descents=8, convergence=1e-3, learning_rate=0.01)
    plan = Hybrid(SlopingWorld(), settings, 1).plan(task())
    assert plan.energies[2] == plan.energies[1]
    assert plan.iterations > 3


def test_descents_have_a_pace_of_their_own():
    """A sampling iteration takes 1 s, one of a descent 0.1 s: both fit into 3.35 s, though no fourth of 1 s would."""

    class Time:
        now = 0.0

    def tick():
        Time.now += 1.0 if len(world.calls) % 9 < 3 else 0.1

    world = SlopingWorld(on_rollout=tick)
    planner = Hybrid(world, config(), clock=lambda: Time.now)
    planner.plan(task())
    start = Time.now
    plan = planner.plan(task(), lambda: start + 3.35 - Time.now)
    assert (plan.iterations, plan.stopped) == (6, "deadline")


@pytest.mark.filterwarnings("error")
def test_with_nothing_finite_to_descend_from():
    def broken(latents, actions):
        return np.full(len(latents), np.nan, np.float32)

    class Objective:
        def __call__(self, latents, actions):
            return broken(latents, actions)

        def gradient(self, latents, actions):
            return np.full_like(latents, np.nan), np.full_like(actions, np.nan)

    plan = Hybrid(SlopingWorld(), config()).plan(task(objective=Objective()))
    assert not plan.feasible
    assert plan.iterations == 9
    np.testing.assert_array_equal(plan.actions, np.zeros((4, 2)))
