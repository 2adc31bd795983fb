"""Violations worked out by hand, and guardrails inside a planner."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.errors import PlanningError
from jepa_ros.guardrails import ActionChange, ActionMagnitude, KeepAway, Penalty, Sum, after
from jepa_ros.planning.cem import CEM
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.cost import GoalObjective

from .linear_world import TERMS, LinearWorld, problem

LATENTS = np.array([[[0, 0], [3, 1]], [[9, 9], [9, 9]]], np.float32)
ACTIONS = np.array([[[3, 4, 9], [0, 0, 0]], [[0.1, 0, 9], [0, 0, 9]]], np.float32)


def test_action_magnitude_counts_the_largest_norm_of_the_chosen_columns():
    np.testing.assert_allclose(ActionMagnitude(2.0, columns=(0, 1))(LATENTS, ACTIONS), [3, 0])
    np.testing.assert_allclose(ActionMagnitude(9.5)(LATENTS, ACTIONS)[1], 0)


def test_action_change_counts_steps_between_actions():
    np.testing.assert_allclose(ActionChange(1.0)(LATENTS, ACTIONS), [8, 0])
    np.testing.assert_allclose(ActionChange([1.0, 1.0, 10.0])(LATENTS, ACTIONS), [3, 0])


def test_action_change_counts_the_step_to_the_first_action():
    previous = np.array([2, 4, 9], np.float32)
    change = ActionChange(1.0).after(previous)
    np.testing.assert_allclose(change(LATENTS, ACTIONS), [8, 3])  # inside the first plan 9, before the second 4
    one_step = LATENTS[:, :1], ACTIONS[:, :1]
    np.testing.assert_allclose(change(*one_step), [0, 3])
    np.testing.assert_allclose(ActionChange([1.0, 3.5, 1.0]).after(previous)(*one_step), [0, 0.9], rtol=1e-6)
    # Without an action before it, a plan of one step changes nothing.
    np.testing.assert_array_equal(ActionChange(1.0)(*one_step), [0, 0])


def test_after_leaves_the_guardrail_as_it_is():
    previous = np.array([2, 4, 9], np.float32)
    guardrail = ActionChange(1.0)
    followed = guardrail.after(previous)
    previous[:] = 0
    np.testing.assert_allclose(followed(LATENTS, ACTIONS), [8, 3])
    np.testing.assert_allclose(guardrail(LATENTS, ACTIONS), [8, 0])


def test_after_reaches_what_penalties_and_sums_hold():
    previous = np.array([2, 4, 9], np.float32)
    parts = [ActionMagnitude(2.0, (0, 1)), Penalty(ActionChange(1.0), weight=0.5)]
    np.testing.assert_allclose(Sum(parts)(LATENTS, ACTIONS), [3 + 4, 0])
    np.testing.assert_allclose(after(Sum(parts), previous)(LATENTS, ACTIONS), [3 + 4, 1.5])
    assert after(parts[0], previous) is parts[0]


def test_keep_away_counts_the_nearest_approach_to_any_latent():
    # Mean squared differences of the first future to (3, 3): 9 and 2.
    guardrail = KeepAway(np.array([[3, 3], [-100, 0]], np.float32), radius=5.0)
    np.testing.assert_allclose(guardrail(LATENTS, ACTIONS), [3, 0])


def test_a_penalty_adds_weighted_violation_to_the_energy():
    energy = Sum([lambda latents, actions: np.ones(2, np.float32), Penalty(ActionMagnitude(2.0, (0, 1)), weight=0.5)])
    np.testing.assert_allclose(energy(LATENTS, ACTIONS), [2.5, 1])


def test_a_planner_goes_around_what_it_must_keep_away_from():
    # The straight way from (0, 0) to (2, 0) passes (1, 0); mean squared difference 0.2 is a distance of 0.63.
    objective = GoalObjective(LinearWorld(), np.array([2, 0], np.float32), TERMS)
    away = KeepAway(np.array([[1, 0]], np.float32), radius=0.2)
    config = PlannerConfig(samples=256, iterations=8, elites=16, horizon=6, knot=1)
    free = CEM(LinearWorld(), config).plan(problem(objective, horizon=6, low=(-0.5, -0.5), high=(0.5, 0.5)))
    task = problem(objective, horizon=6, low=(-0.5, -0.5), high=(0.5, 0.5), guardrails=[away])
    kept = CEM(LinearWorld(), config).plan(task)
    assert np.linalg.norm(free.latents - [1, 0], axis=1).min() < 0.3
    assert kept.feasible
    assert np.linalg.norm(kept.latents - [1, 0], axis=1).min() >= np.sqrt(0.4) - 1e-5


@pytest.mark.parametrize(
    "build",
    [
        lambda: ActionMagnitude(0.0),
        lambda: ActionChange(-1.0),
        lambda: KeepAway(np.zeros((1, 2), np.float32), np.nan),
        lambda: KeepAway(np.zeros(2, np.float32), 1.0),
        lambda: Penalty(ActionMagnitude(1.0), 0.0),
        lambda: Sum([]),
    ],
)
def test_settings_that_mean_nothing_are_refused(build):
    with pytest.raises(PlanningError):
        build()
