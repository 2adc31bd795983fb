"""Plans that a policy proposes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jepa_ros.errors import PlanningError
from jepa_ros.guardrails import ActionMagnitude, Penalty, Sum
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.cost import GoalObjective
from jepa_ros.planning.factory import make_planner
from jepa_ros.planning.policy import PolicyModel, goal_of, policy_plans
from jepa_ros.planning.problem import ActionBounds

from .linear_world import TERMS, LinearWorld, manifest, problem

SETTINGS = {"samples": 16, "iterations": 1, "elites": 4, "horizon": 3, "knot": 1}


class Willing(LinearWorld):
    """Its policy goes half of the way to the origin, and errs by a tenth of the noise."""

    has_policy, policy_needs_goal = True, False

    def policy(self, latents, noise, goal=None):
        assert goal is None, "it asks for none"
        self.asked.append((np.array(latents), noise.copy()))
        return -latents / 2 + noise / 10

    def __init__(self):
        super().__init__()
        self.asked = []


def proposed(count=5, start=(1.0, -0.5), **more):
    world, objective = Willing(), lambda latents, actions: np.zeros(len(latents), np.float32)
    found = problem(objective, start=start, horizon=3, **more)
    return world, policy_plans(world, found, count, np.random.default_rng(0))


def test_the_mean_comes_first():
    """Half of the way, three times."""
    world, plans = proposed()
    assert isinstance(world, PolicyModel)
    assert plans.shape == (5, 3, 2)
    np.testing.assert_allclose(plans[0], [[-1 / 2, 1 / 4], [-1 / 4, 1 / 8], [-1 / 8, 1 / 16]], rtol=1e-6)


def test_the_others_are_draws_from_where_the_ones_before_led():
    world, plans = proposed()
    assert len(world.asked) == 3
    latents = np.tile([1.0, -0.5], (5, 1))
    for h, (seen, noise) in enumerate(world.asked):
        np.testing.assert_allclose(seen, latents, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(noise[0], 0)
        assert np.abs(noise[1:]).min() > 0
        np.testing.assert_allclose(plans[:, h], -latents / 2 + noise / 10, rtol=1e-5, atol=1e-6)
        latents = latents + plans[:, h]
    first, second, third = (noise[1:] for _, noise in world.asked)
    assert np.abs(first - second).min() > 0
    assert np.abs(second - third).min() > 0


def test_they_keep_the_bounds():
    world, plans = proposed(start=(9.0, -9.0), low=(-0.1, -0.2), high=(0.1, 0.2), norm_limit=0.15)
    bounds = ActionBounds((-0.1, -0.2), (0.1, 0.2), 0.15)
    assert (plans >= bounds.low).all()
    assert (plans <= bounds.high).all()
    assert np.linalg.norm(plans, axis=2).max() <= 0.15 + 1e-6
    # What is rolled out is what is kept, not what the policy wished.
    np.testing.assert_allclose(world.asked[2][0], np.array([9.0, -9.0]) + plans[:, :2].sum(axis=1), rtol=1e-5)


def test_a_policy_that_is_not_a_number_rests():
    class Broken(Willing):
        def policy(self, latents, noise, goal=None):
            return np.full_like(noise, np.nan)

    found = problem(lambda latents, actions: np.zeros(len(latents), np.float32), horizon=2, low=(0.25, -1.0))
    plans = policy_plans(Broken(), found, 2, np.random.default_rng(0))
    np.testing.assert_array_equal(plans, np.broadcast_to(np.array([0.25, 0], np.float32), (2, 2, 2)))


class Led(LinearWorld):
    """Its policy goes the whole way to the goal."""

    has_policy = policy_needs_goal = True

    def policy(self, latents, noise, goal=None):
        return np.tile(goal - latents[:1], (len(latents), 1))


def led_to(objective):
    found = problem(objective, start=(0.5, 0.0), horizon=2)
    return policy_plans(Led(), found, 3, np.random.default_rng(0))


GOAL = np.array([0.75, -0.25], np.float32)


def test_a_policy_that_acts_by_a_goal_is_given_the_objectives():
    np.testing.assert_allclose(led_to(GoalObjective(Led(), GOAL, TERMS))[0], [[0.25, -0.25], [0, 0]])


def test_the_goal_is_found_inside_sums():
    limit = Penalty(ActionMagnitude(0.1), 2.0)
    inside = Sum([limit, Sum([GoalObjective(Led(), GOAL, TERMS), limit])])
    np.testing.assert_array_equal(goal_of(inside), GOAL)
    np.testing.assert_allclose(led_to(inside)[1], [[0.25, -0.25], [0, 0]])


def test_an_objective_without_the_goal_that_a_policy_needs():
    for objective in (lambda latents, actions: np.zeros(len(latents), np.float32), Sum([ActionMagnitude(0.1)])):
        with pytest.raises(PlanningError, match="policy acts by a goal, and the objective has none: use a GoalObj"):
            led_to(objective)


def test_the_planner_scores_them_in_every_iteration():
    """Of an objective that likes nothing but the policy's mean, the plan is the policy's mean."""
    mean = np.array([[-1 / 2, 1 / 4], [-1 / 4, 1 / 8], [-1 / 8, 1 / 16]], np.float32)

    def objective(latents, actions):
        tried.append(actions.copy())
        return np.abs(actions - mean).sum(axis=(1, 2)).astype(np.float32)

    world, tried = Willing(), []
    planner = make_planner(manifest(**{**SETTINGS, "iterations": 3}, policy_samples=4), world)
    plan = planner.plan(problem(objective, start=(1.0, -0.5), horizon=3))
    np.testing.assert_allclose(plan.actions, mean, rtol=1e-6)
    assert len(tried) == 3
    for actions in tried:
        np.testing.assert_allclose(actions[2], mean, rtol=1e-6)
        np.testing.assert_array_equal(actions[2:6], tried[0][2:6])


def test_none_are_asked_for_unless_the_settings_say_so():
    world = Willing()
    planner = make_planner(manifest(**SETTINGS), world)
    planner.plan(problem(lambda latents, actions: np.zeros(len(latents), np.float32), horizon=3))
    assert world.asked == []


def test_a_model_without_a_policy():
    class Unwilling(Willing):
        has_policy = False

    for world in (LinearWorld(), Unwilling()):
        with pytest.raises(PlanningError, match="'policy_samples' needs a bundle with a policy head"):
            make_planner(manifest(**SETTINGS, policy_samples=2), world)


def test_there_must_be_room_for_them_among_the_samples():
    """Of 16: what `make_planner` lets through plans, and what a plan adds is refused then."""
    with pytest.raises(PlanningError, match="'samples' is 16 and must be above 16, the guesses always scored"):
        make_planner(manifest(**SETTINGS, policy_samples=12), Willing())
    planner = make_planner(manifest(**SETTINGS, policy_samples=11), Willing())
    found = problem(lambda latents, actions: np.zeros(len(latents), np.float32), horizon=3)
    assert planner.plan(found).feasible
    with pytest.raises(PlanningError, match="'samples' must be above 16"):
        planner.plan(replace(found, previous_plans=[np.zeros((3, 2), np.float32)]))


@pytest.mark.parametrize("value", [-1, 1.5, True])
def test_how_many_cannot_be_anything(value):
    with pytest.raises(PlanningError, match="policy_samples"):
        PlannerConfig(policy_samples=value)


def test_a_horizon_that_a_predictor_cannot_go():
    """It has a context of 3."""
    written = manifest(**{**SETTINGS, "horizon": 4})
    make_planner(written, LinearWorld())
    fixed = written.model_copy(update={"predictor": written.predictor.model_copy(update={"sliding": False})})
    with pytest.raises(PlanningError, match=r"'horizon' is 4, .* does not slide, goes 3 steps at most"):
        make_planner(fixed, LinearWorld())
    assert make_planner(fixed, LinearWorld(), {"horizon": 3}).horizon == 3
