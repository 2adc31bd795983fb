"""Goal energies against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.errors import PlanningError
from jepa_ros.planning.cost import GoalObjective

from .linear_world import TERMS, LinearWorld, term

GOAL = np.array([1.0, 0.0], np.float32)
# One future of two steps: squared distances to the goal 4 + 4 = 8, then 0 + 1 = 1.
LATENTS = np.array([[[3.0, 2.0], [1.0, 1.0]]], np.float32)
ACTIONS = np.zeros((1, 2, 2), np.float32)


@pytest.mark.parametrize(
    ("terms", "energy"),
    [
        ([term(reduction="sum")], (8 + 1) / 2),
        ([term(reduction="mean")], (4 + 0.5) / 2),
        ([term(reduction="sum", steps="last", weight=3.0)], 3.0),
        ([term(metric="l1", reduction="sum")], (4 + 1) / 2),
        ([term(metric="smooth_l1", reduction="sum")], (1.5 + 1.5 + 0 + 0.5) / 2),
        ([term(metric="cosine", steps="last")], 1 - 1 / np.sqrt(2)),
        ([term(source="head:value", metric="value")], (4 + 1) / 2),
        ([term(source="head:value", metric="value", steps="last")], 1.0),
        (TERMS, (4 + 0.5) / 2 + 0.5 * 0.5),
    ],
)
def test_energy_of_each_kind_of_term(terms, energy):
    objective = GoalObjective(LinearWorld(), GOAL, terms)
    np.testing.assert_allclose(objective(LATENTS, ACTIONS), [energy], rtol=1e-6)


def test_a_batch_after_another_of_a_different_size():
    objective = GoalObjective(LinearWorld(), GOAL, TERMS)
    many = np.concatenate([LATENTS, np.broadcast_to(GOAL, LATENTS.shape)])
    np.testing.assert_allclose(objective(many, ACTIONS), [2.5, 0.0], rtol=1e-6)
    np.testing.assert_allclose(objective(LATENTS, ACTIONS), [2.5], rtol=1e-6)


def test_arrival_energy_is_the_first_term_unweighted():
    objective = GoalObjective(LinearWorld(), GOAL, [term(weight=7.0), term(metric="l1")])
    assert objective.arrival_energy(np.array([3.0, 2.0], np.float32)) == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ([], "no cost terms"),
        ([term(metric="value")], "is for heads"),
        ([term(source="pixels")], "'head:NAME'"),
        ([term(source="head:value")], "take no other"),
    ],
)
def test_terms_that_mean_nothing_are_refused(terms, said):
    with pytest.raises(PlanningError, match=said):
        GoalObjective(LinearWorld(), GOAL, terms)


def test_a_head_term_needs_a_model_with_heads():
    with pytest.raises(PlanningError, match="no heads"):
        GoalObjective(object(), GOAL, [term(source="head:value", metric="value")])


def test_a_goal_that_does_not_fit_is_refused():
    with pytest.raises(PlanningError, match="finite vector"):
        GoalObjective(LinearWorld(), np.array([np.nan, 0], np.float32), TERMS)
    with pytest.raises(PlanningError, match="3 elements"):
        GoalObjective(LinearWorld(), np.zeros(3, np.float32), TERMS)(LATENTS, ACTIONS)
