"""Gradients of goal energies against central differences, in float64, of energies written out anew."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.manifest import StateTensor
from jepa_ros.errors import PlanningError
from jepa_ros.planning.cost import GoalObjective
from jepa_ros.protocols import Differentiable

from .linear_world import LinearWorld, term
from .sloping_world import SlopingWorld, slopes

LAYOUT = StateLayout(
    [
        StateTensor(name="reward", kind="vector", shape=(1,), role="outcome"),
        StateTensor(name="tokens", kind="tokens", shape=(2, 2)),
        StateTensor(name="joints", kind="vector", shape=(3,), role="proprio"),
    ]
)
RNG = np.random.default_rng(3)
GOAL = RNG.standard_normal(8).astype(np.float32)
LATENTS = (1.5 * RNG.standard_normal((3, 4, 8))).astype(np.float32)
ACTIONS = np.zeros((3, 4, 2), np.float32)


def energy(one, latents):
    """`[B]` of one term, in float64."""
    goal, size = GOAL.astype(float), latents.shape[1]
    if one.source.startswith("head:"):
        distance = np.sin(latents - goal).sum(axis=2)
    else:
        columns = LAYOUT.columns(one.source, one.tokens)
        x, g = latents[..., columns], goal[columns]
        away = np.abs(x - g)
        distance = {
            "l2": lambda: (away**2).sum(axis=2),
            "l1": lambda: away.sum(axis=2),
            "smooth_l1": lambda: np.where(away < 1, away**2 / 2, away - 0.5).sum(axis=2),
            "cosine": lambda: 1 - (x @ g) / np.linalg.norm(x, axis=2) / np.linalg.norm(g),
            "value": lambda: x[..., 0],
        }[one.metric]()
        if one.reduction == "mean" and one.metric not in ("cosine", "value"):
            distance = distance / g.size
    if one.steps == "last":
        return one.weight * one.discount**size * distance[:, -1]
    weighed = distance * one.discount ** np.arange(size)
    return one.weight * (weighed.mean(axis=1) if one.steps == "all" else weighed.sum(axis=1))


WHAT = [
    *(("tokens", *pair) for pair in itertools.product(("l2", "l1", "smooth_l1", "cosine"), ("mean", "sum"))),
    ("joints", "l2", "mean"),
    ("reward", "value", "mean"),
    ("head:value", "value", "mean"),
]


@pytest.mark.parametrize("discount", [1.0, 0.7])
@pytest.mark.parametrize("steps", ["all", "sum", "last"])
@pytest.mark.parametrize(("source", "metric", "reduction"), WHAT)
def test_each_term_against_differences(source, metric, reduction, steps, discount):
    one = term(source=source, metric=metric, reduction=reduction, steps=steps, discount=discount, weight=-1.7)
    objective = GoalObjective(SlopingWorld(8), GOAL, [one], LAYOUT)
    np.testing.assert_allclose(objective(LATENTS, ACTIONS), energy(one, LATENTS.astype(float)), rtol=1e-5, atol=1e-6)
    by_latent, by_action = objective.gradient(LATENTS, ACTIONS)
    assert by_latent.dtype == np.float32
    expected = slopes(lambda latents: energy(one, latents), LATENTS.astype(float), 1e-6)
    np.testing.assert_allclose(by_latent, expected, rtol=1e-5, atol=2e-6)
    np.testing.assert_array_equal(by_action, np.zeros_like(ACTIONS))


@pytest.mark.parametrize("tokens", [[0], [1], [[0, 2]]])
@pytest.mark.parametrize("metric", ["l2", "l1", "smooth_l1", "cosine"])
def test_a_term_on_some_tokens_against_differences(metric, tokens):
    """What is not chosen has no slope: it moves no energy."""
    one = term(source="tokens", metric=metric, tokens=tokens, weight=-1.7)
    objective = GoalObjective(SlopingWorld(8), GOAL, [one], LAYOUT)
    np.testing.assert_allclose(objective(LATENTS, ACTIONS), energy(one, LATENTS.astype(float)), rtol=1e-5, atol=1e-6)
    expected = slopes(lambda latents: energy(one, latents), LATENTS.astype(float), 1e-6)
    np.testing.assert_allclose(objective.gradient(LATENTS, ACTIONS)[0], expected, rtol=1e-5, atol=2e-6)
    assert (expected != 0).any(axis=(0, 1)).sum() == (4 if tokens == [[0, 2]] else 2)


def test_terms_add_up_wherever_they_look():
    terms = [
        term(source="tokens", steps="last", weight=2.0),
        term(source="tokens", metric="l1", steps="sum", discount=0.5),
        term(source="joints", metric="smooth_l1"),
        term(source="head:value", metric="value", weight=0.3),
        term(source="reward", metric="value", weight=-1.0, steps="sum"),
    ]
    found, _ = GoalObjective(SlopingWorld(8), GOAL, terms, LAYOUT).gradient(LATENTS, ACTIONS)
    total = slopes(lambda latents: sum(energy(one, latents) for one in terms), LATENTS.astype(float), 1e-6)
    np.testing.assert_allclose(found, total, rtol=1e-5, atol=1e-5)
    assert np.abs(found).min() > 0


def test_at_the_goal_and_at_zero_every_slope_is_a_number():
    at_goal = np.broadcast_to(GOAL, LATENTS.shape).copy()
    for metric in ("l2", "l1", "smooth_l1"):
        objective = GoalObjective(LinearWorld(8), GOAL, [term(source="tokens", metric=metric)], LAYOUT)
        np.testing.assert_array_equal(objective.gradient(at_goal, ACTIONS)[0], 0)
    objective = GoalObjective(LinearWorld(8), GOAL, [term(source="tokens", metric="cosine")], LAYOUT)
    np.testing.assert_array_equal(objective.gradient(np.zeros_like(LATENTS), ACTIONS)[0], 0)
    np.testing.assert_allclose(objective.gradient(at_goal, ACTIONS)[0], 0, atol=1e-6)


def test_a_head_that_cannot_be_followed_backward():
    objective = GoalObjective(LinearWorld(8), GOAL, [term(source="head:value", metric="value")], LAYOUT)
    assert isinstance(objective, Differentiable)
    with pytest.raises(PlanningError, match="cost term on 'head:value': this model's heads have no gradients"):
        objective.gradient(LATENTS, ACTIONS)
