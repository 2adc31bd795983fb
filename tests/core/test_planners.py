"""What every planner promises, by sampling or by gradients: bounds, scored plans, seeds, numbers that are none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.cost import GoalObjective
from jepa_ros.planning.factory import PLANNERS, make_planner
from jepa_ros.planning.problem import ActionBounds

from .linear_world import TERMS, manifest, problem
from .sloping_world import SlopingWorld

EACH = pytest.mark.parametrize("name", sorted(PLANNERS))


def goal(*place):
    return GoalObjective(SlopingWorld(len(place)), np.array(place, np.float32), TERMS)


class Spoilt:
    """A goal whose energy is not a number where the first action goes to the right, or up."""

    def __init__(self, wish):
        self.wish = wish

    def __call__(self, latents, actions):
        energy = self.wish(latents, actions)
        energy[actions[:, 0, 0] > 0.2] = np.nan
        energy[actions[:, 0, 1] > 0.2] = -np.inf
        return energy

    def gradient(self, latents, actions):
        by_latent, by_action = self.wish.gradient(latents, actions)
        by_latent[actions[:, 0, 0] > 0.2] = np.nan
        return by_latent, by_action


@EACH
@settings(max_examples=60, deadline=None)
@given(
    box=st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=3),
    norm=st.one_of(st.none(), st.floats(0.01, 4)),
    horizon=st.integers(1, 5),
    knot=st.integers(1, 4),
    std=st.floats(0.01, 10),
    rate=st.floats(0.001, 10),
    optimizer=st.sampled_from(["adam", "sgd"]),
    guess=st.floats(-100, 100),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_action_tried_or_returned_leaves_the_bounds(
    name, box, norm, horizon, knot, std, rate, optimizer, guess, seed
):
    low, high = [min(p) for p in box], [max(p) for p in box]
    # A limit that some action of the box meets, with room; what has none is refused in `test_problem`.
    least = float(np.linalg.norm(ActionBounds(low, high).rest))
    limit = None if norm is None else least + norm
    world, wish = SlopingWorld(len(low)), goal(*[3.0] * len(low))
    config = PlannerConfig(
        samples=16, elites=4, horizon=horizon, knot=knot, std=std, learning_rate=rate, optimizer=optimizer
    )
    warm = np.full((horizon, len(low)), guess, np.float32)
    asked = problem(
        wish, start=[0.0] * len(low), horizon=horizon, low=low, high=high, warm_start=warm, norm_limit=limit
    )
    planner = PLANNERS[name](world, config, seed)
    plans = [planner.plan(asked) for _ in range(2)]
    # A box narrower than float32 resolves is met to float32's resolution.
    slack = np.where(np.float32(low) == np.float32(high), 1e-6, 0)
    for actions in [*(plan.actions for plan in plans), *(call[2] for call in world.calls)]:
        assert (actions.astype(np.float64) >= low - slack).all()
        assert (actions.astype(np.float64) <= high + slack).all()
        if limit is not None:
            assert np.linalg.norm(actions.astype(np.float64), axis=-1).max() <= limit


@EACH
def test_the_plan_returned_is_the_best_one_scored(name):
    scored, wish = [], goal(0.3, 0.3)

    class Recording:
        def __call__(self, latents, actions):
            energy = wish(latents, actions)
            scored.extend(zip(energy.tolist(), actions.copy(), latents.copy(), strict=True))
            return energy

        gradient = staticmethod(wish.gradient)

    plan = PLANNERS[name](SlopingWorld(), PlannerConfig(horizon=4)).plan(problem(Recording(), horizon=4))
    energy, actions, latents = min(scored, key=lambda found: found[0])
    assert plan.energy == pytest.approx(energy)
    np.testing.assert_array_equal(plan.actions, actions)
    np.testing.assert_array_equal(plan.latents, latents)
    assert (np.diff(plan.energies) <= 0).all()


@EACH
def test_rest_and_the_guesses_are_among_what_is_first_scored(name):
    world = SlopingWorld()
    warm, other = np.full((2, 2), 0.25, np.float32), np.full((2, 2), -0.75, np.float32)
    task = problem(goal(0, 0), horizon=2, warm_start=warm, previous_plans=[other])
    plan = PLANNERS[name](world, PlannerConfig(horizon=2)).plan(task)
    np.testing.assert_array_equal(world.calls[0][2][:3], [np.zeros((2, 2)), warm, other])
    np.testing.assert_array_equal(plan.actions, np.zeros((2, 2)))  # at the goal, the plan is to rest
    assert plan.energy == 0


@EACH
@pytest.mark.filterwarnings("error")
def test_rows_that_are_not_numbers_are_ranked_last(name):
    plan = PLANNERS[name](SlopingWorld(), PlannerConfig(horizon=1, iterations=4)).plan(problem(Spoilt(goal(1, 1))))
    assert plan.feasible
    assert np.isfinite(plan.energy)
    assert (plan.actions <= 0.2).all()
    assert (plan.actions > 0).all()


@EACH
def test_a_latent_that_is_not_a_number_is_never_returned(name):
    class Breaks(SlopingWorld):
        def rollout(self, latents, past_actions, actions):
            future = super().rollout(latents, past_actions, actions)
            future[actions[:, 0, 0] > 0, 0] = np.nan
            return future

    plan = PLANNERS[name](Breaks(), PlannerConfig(horizon=2)).plan(problem(goal(1, 1), horizon=2))
    assert plan.feasible
    assert plan.actions[0, 0] <= 0
    assert np.isfinite(plan.latents).all()


@EACH
def test_same_seed_same_plans_and_another_seed_another(name):
    def two_plans(seed):
        planner = make_planner(manifest(), SlopingWorld(), {"name": name, "iterations": 2}, seed)
        return np.stack([planner.plan(problem(goal(0.2, 0.9), horizon=3)).actions for _ in range(2)])

    first = two_plans(5)
    np.testing.assert_array_equal(first, two_plans(5))
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, two_plans(6))


@EACH
def test_the_known_optimum_is_found(name):
    settings = {"name": name, "samples": 128, "iterations": 60, "elites": 12, "descents": 10, "temperature": 0.02}
    planner = make_planner(manifest(horizon=1), SlopingWorld(), {**settings, "min_std": 1e-3, "learning_rate": 0.04})
    plan = planner.plan(problem(goal(0.3, -0.6)))
    np.testing.assert_allclose(plan.actions, [[0.3, -0.6]], atol=0.01)


@EACH
def test_a_planner_is_asked_for_by_the_manifest(name):
    planner = make_planner(manifest(name=name, patience=3), SlopingWorld())
    assert type(planner) is PLANNERS[name]
    assert planner.config.patience == 3
