"""Gradients of guardrails against central differences, and the limit on a head."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_ros.errors import ModelError, PlanningError
from jepa_ros.guardrails import ActionChange, ActionMagnitude, HeadLimit, KeepAway, Penalty, Sum, gradient
from jepa_ros.planning.cem import CEM
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.cost import GoalObjective

from .linear_world import TERMS, LinearWorld, problem
from .made_bundles import Made
from .sloping_world import SlopingWorld, slopes

WORLD = SlopingWorld(3)
AVOID = np.array([[0.5, 0, 0], [-1, 1, 0.2]], np.float32)
GUARDRAILS = {
    "magnitude": ActionMagnitude(0.3),
    "magnitude of columns": ActionMagnitude(0.3, columns=(1, 0)),
    "change": ActionChange([0.1, 0.4]),
    "change after": ActionChange(0.1).after(np.array([0.9, -0.9], np.float32)),
    "keep away": KeepAway(AVOID, radius=4.0),
    "head above": HeadLimit(WORLD, "value", high=-0.2),
    "head below": HeadLimit(WORLD, "value", low=0.2, goal=np.array([0.1, 0.2, 0.3], np.float32)),
    "head between": HeadLimit(WORLD, "value", low=-0.1, high=0.1),
    "sum": Sum([Penalty(ActionChange(0.2), 3.0), Penalty(KeepAway(AVOID, 5.0), 0.5), ActionMagnitude(0.1)]),
}


@pytest.mark.parametrize("name", GUARDRAILS)
@pytest.mark.parametrize("horizon", [1, 4])
def test_each_guardrail_against_differences(name, horizon):
    """Steps of a hundredth: violations are linear, quadratic or nearly so, and computed in float32."""
    guardrail, rng = GUARDRAILS[name], np.random.default_rng(7)
    latents, actions = rng.standard_normal((16, horizon, 3)), rng.standard_normal((16, horizon, 2))
    by_latent, by_action = guardrail.gradient(latents.astype(np.float32), actions.astype(np.float32))
    assert (by_latent.dtype, by_action.dtype) == (np.float32, np.float32)
    of_latents = slopes(lambda values: guardrail(values, actions), latents, 0.01)
    of_actions = slopes(lambda values: guardrail(latents, values), actions, 0.01)
    # Where another step takes over within the difference, or the guardrail begins to break, there is a kink.
    smooth = np.ones(16, bool)
    for move in (-0.01, 0.01):
        for place in np.ndindex(latents.shape[1:]):
            moved = latents.copy()
            moved[(slice(None), *place)] += move
            smooth &= same(guardrail, (moved, actions), (by_latent, by_action))
        for place in np.ndindex(actions.shape[1:]):
            moved = actions.copy()
            moved[(slice(None), *place)] += move
            smooth &= same(guardrail, (latents, moved), (by_latent, by_action))
    assert smooth.sum() >= 8
    np.testing.assert_allclose(by_latent[smooth], of_latents[smooth], atol=1e-3)
    np.testing.assert_allclose(by_action[smooth], of_actions[smooth], atol=1e-3)
    if name not in ("change",) or horizon > 1:
        assert np.abs(by_latent[smooth]).max() + np.abs(by_action[smooth]).max() > 0.1


def same(guardrail, moved, gradients):
    """Rows whose gradient stays where it was: at the same steps."""
    found = guardrail.gradient(*(part.astype(np.float32) for part in moved))
    return np.logical_and(*(((a != 0) == (b != 0)).all(axis=(1, 2)) for a, b in zip(found, gradients, strict=True)))


@settings(deadline=None, max_examples=60)
@given(name=st.sampled_from(sorted(GUARDRAILS)), seed=st.integers(0, 2**16), size=st.floats(0.01, 3))
def test_a_small_step_against_the_gradient_lowers_the_violation(name, seed, size):
    guardrail, rng = GUARDRAILS[name], np.random.default_rng(seed)
    latents = (size * rng.standard_normal((1, 3, 3))).astype(np.float32)
    actions = (size * rng.standard_normal((1, 3, 2))).astype(np.float32)
    by_latent, by_action = guardrail.gradient(latents, actions)
    before, steep = guardrail(latents, actions)[0], (by_latent**2).sum() + (by_action**2).sum()
    if steep == 0:
        return
    after = guardrail(latents - 1e-3 * by_latent, actions - 1e-3 * by_action)[0]
    # At a kink the nearest branch is lowered and another stays.
    assert after <= before + 1e-6 * max(before, 1)


def test_what_is_kept_has_no_slope():
    latents, actions = np.full((2, 3, 3), 0.1, np.float32), np.full((2, 3, 2), 0.05, np.float32)
    actions[:, 1] = 0.01
    for guardrail in (ActionMagnitude(0.1), ActionChange(0.1), KeepAway(10 + AVOID, 1.0), HeadLimit(WORLD, "v", -1, 1)):
        for part in guardrail.gradient(latents, actions):
            assert not part.any()


def test_a_column_named_twice_counts_twice():
    actions = np.array([[[3.0, 4.0]]], np.float32)
    guardrail = ActionMagnitude(1.0, columns=(0, 0))
    np.testing.assert_allclose(guardrail.gradient(np.zeros((1, 1, 3), np.float32), actions)[1], [[[np.sqrt(2), 0]]])


def test_an_objective_without_a_gradient_is_named():
    latents, actions = np.zeros((1, 1, 3), np.float32), np.zeros((1, 1, 2), np.float32)

    class Mine:
        def __call__(self, latents, actions):
            return np.zeros(len(latents), np.float32)

    for objective in (Mine(), Penalty(Mine(), 1.0), Sum([ActionMagnitude(1.0), Mine()])):
        with pytest.raises(PlanningError, match="Mine has no gradient"):
            gradient(objective, latents, actions)


class Probed(LinearWorld):
    """A probe that says the latent's first element."""

    def head(self, name, latents, goal):
        return latents[:, 0] - (0 if goal is None else goal[0])


ZIGZAG = np.array([[[0, 0], [3, 0], [-4, 0]], [[0.5, 9], [0.5, 9], [0.5, 9]]], np.float32)


@pytest.mark.parametrize(
    ("limits", "violation"),
    [
        ({"high": 1.0}, [2, 0]),
        ({"low": -1.0}, [3, 0]),
        ({"low": -3.5, "high": 0.0}, [3, 0.5]),
        ({"low": 0.5, "high": 0.5}, [4.5, 0]),
        ({"high": 1.0, "goal": np.array([1, 0], np.float32)}, [1, 0]),
    ],
)
def test_a_limit_on_a_head_counts_the_largest_excess(limits, violation):
    found = HeadLimit(Probed(), "probe", **limits)(ZIGZAG, np.zeros((2, 3, 2), np.float32))
    np.testing.assert_allclose(found, violation)
    assert found.dtype == np.float32


def test_a_head_that_is_not_a_number_is_ranked_last():
    broken = ZIGZAG.copy()
    broken[0, 1] = np.nan
    found = HeadLimit(Probed(), "probe", high=1.0)(broken, np.zeros((2, 3, 2), np.float32))
    assert np.isnan(found).tolist() == [True, False]


def test_a_planner_keeps_a_probe_within_its_limit():
    objective = GoalObjective(LinearWorld(), np.array([2, 1], np.float32), TERMS)
    limit = HeadLimit(Probed(), "probe", high=0.75)
    config = PlannerConfig(samples=128, iterations=6, horizon=3, knot=1)
    plan = CEM(LinearWorld(), config).plan(problem(objective, horizon=3, guardrails=[limit]))
    assert plan.feasible
    assert plan.latents[:, 0].max() <= 0.75
    assert plan.latents[-1, 1] > 0.8


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({}, "limit on head 'probe' needs low, high or both"),
        ({"low": 1.0, "high": 0.0}, "low <= high, got 1.0 and 0.0"),
        ({"high": np.nan}, "must be finite"),
    ],
)
def test_limits_that_mean_nothing(limits, says):
    with pytest.raises(PlanningError, match=says):
        HeadLimit(Probed(), "probe", **limits)


def test_models_that_cannot_be_asked(tmp_path):
    with pytest.raises(PlanningError, match="this model has no heads"):
        HeadLimit(object(), "probe", high=1.0)
    with pytest.raises(PlanningError, match="this model's heads have no gradients"):
        HeadLimit(Probed(), "probe", high=1.0).gradient(ZIGZAG, np.zeros((2, 3, 2), np.float32))
    model = Made(tmp_path / "made", heads=("value",)).open()
    latents, actions = np.zeros((2, 3, 5), np.float32), np.zeros((2, 3, 2), np.float32)
    with pytest.raises(ModelError, match="head 'value' judges by a goal; give it one"):
        HeadLimit(model, "value", high=1.0)(latents, actions)
    assert HeadLimit(model, "value", high=1.0, goal=np.zeros(5, np.float32))(latents, actions).tolist() == [0, 0]
