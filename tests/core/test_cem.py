"""What both sampling planners promise, and the cross-entropy method's own update."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_ros.errors import PlanningError
from jepa_ros.planning.cem import CEM
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.cost import GoalObjective
from jepa_ros.planning.factory import make_planner
from jepa_ros.planning.mppi import MPPI

from .linear_world import TERMS, LinearWorld, manifest, problem

PLANNERS = pytest.mark.parametrize("planner_type", [CEM, MPPI])


def goal(x, y):
    return GoalObjective(LinearWorld(), np.array([x, y], np.float32), TERMS)


@PLANNERS
def test_finds_the_known_optimum(planner_type):
    config = PlannerConfig(samples=256, iterations=12, elites=24, horizon=1, min_std=1e-3, temperature=0.02)
    plan = planner_type(LinearWorld(), config).plan(problem(goal(0.3, -0.6)))
    np.testing.assert_allclose(plan.actions, [[0.3, -0.6]], atol=0.01)
    np.testing.assert_allclose(plan.latents, [[0.3, -0.6]], atol=0.01)
    assert plan.feasible
    assert plan.stopped == "iterations"
    assert plan.iterations == 12


@PLANNERS
def test_a_goal_out_of_reach_is_approached_at_the_bounds(planner_type):
    config = PlannerConfig(samples=64, iterations=5, elites=8, horizon=6, knot=3, temperature=10.0)
    plan = planner_type(LinearWorld(), config).plan(
        problem(goal(50, -50), horizon=6, low=(-0.4, -0.3), high=(0.6, 0.3))
    )
    np.testing.assert_allclose(plan.actions, np.tile([0.6, -0.3], (6, 1)), atol=0.02)


@PLANNERS
def test_the_plan_returned_is_the_best_one_scored(planner_type):
    scored = []
    objective = goal(0.3, 0.3)

    def recording(latents, actions):
        energy = objective(latents, actions)
        scored.extend(zip(energy.tolist(), actions.copy(), strict=True))
        return energy

    plan = planner_type(LinearWorld(), PlannerConfig(horizon=4)).plan(problem(recording, horizon=4))
    energy, actions = min(scored, key=lambda pair: pair[0])
    assert len(scored) == 3 * 64
    assert plan.energy == pytest.approx(energy)
    np.testing.assert_array_equal(plan.actions, actions)
    assert (np.diff(plan.energies) <= 0).all()
    assert plan.energies[-1] == np.float32(energy)


@PLANNERS
def test_rest_and_the_guesses_are_scored_in_every_iteration(planner_type):
    world = LinearWorld()
    warm, other = np.full((2, 2), 0.25, np.float32), np.full((2, 2), -0.75, np.float32)
    planner_type(world, PlannerConfig(horizon=2)).plan(
        problem(goal(0, 0), horizon=2, warm_start=warm, previous_plans=[other])
    )
    assert len(world.calls) == 3
    for _, _, actions in world.calls:
        for guess in (np.zeros((2, 2)), warm, other):
            assert (actions == guess).all(axis=(1, 2)).any()


@PLANNERS
def test_at_the_goal_the_plan_is_to_rest(planner_type):
    plan = planner_type(LinearWorld(), PlannerConfig(horizon=3)).plan(problem(goal(0, 0), horizon=3))
    np.testing.assert_array_equal(plan.actions, np.zeros((3, 2)))
    assert plan.energy == 0


@PLANNERS
def test_noise_is_held_over_knots(planner_type):
    world = LinearWorld()
    planner_type(world, PlannerConfig(horizon=7, knot=3, iterations=1)).plan(problem(goal(1, 1), horizon=7))
    changes = np.abs(np.diff(world.calls[0][2], axis=1)).sum(axis=(0, 2))
    assert (changes > 0).tolist() == [False, False, True, False, False, True]


@PLANNERS
def test_same_seed_same_plans_and_another_seed_another(planner_type):
    def two_plans(seed):
        planner = planner_type(LinearWorld(), PlannerConfig(horizon=3), seed)
        return np.stack([planner.plan(problem(goal(0.2, 0.9), horizon=3)).actions for _ in range(2)])

    first = two_plans(5)
    np.testing.assert_array_equal(first, two_plans(5))
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, two_plans(6))


@PLANNERS
@settings(max_examples=40, deadline=None)
@given(
    box=st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=3),
    horizon=st.integers(1, 5),
    knot=st.integers(1, 4),
    std=st.floats(0.01, 10),
    guess=st.floats(-100, 100),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_action_tried_or_returned_leaves_the_bounds(planner_type, box, horizon, knot, std, guess, seed):
    low, high = [min(p) for p in box], [max(p) for p in box]
    world = LinearWorld(len(low))
    objective = GoalObjective(world, np.full(len(low), 3, np.float32), TERMS)
    config = PlannerConfig(samples=16, elites=4, horizon=horizon, knot=knot, std=std)
    warm = np.full((horizon, len(low)), guess, np.float32)
    task = problem(objective, start=[0.0] * len(low), horizon=horizon, low=low, high=high, warm_start=warm)
    plan = planner_type(world, config, seed).plan(task)
    # A box narrower than float32 resolves is met to float32's resolution.
    slack = np.where(np.float32(low) == np.float32(high), 1e-6, 0)
    for actions in [plan.actions, *(call[2] for call in world.calls)]:
        assert (actions.astype(np.float64) >= low - slack).all()
        assert (actions.astype(np.float64) <= high + slack).all()


@PLANNERS
def test_candidates_without_a_finite_energy_are_ranked_last(planner_type):
    objective = goal(1, 1)

    def broken_on_the_right(latents, actions):
        energy = objective(latents, actions)
        energy[actions[:, 0, 0] > 0.2] = np.nan
        energy[actions[:, 0, 1] > 0.2] = -np.inf
        return energy

    plan = planner_type(LinearWorld(), PlannerConfig(horizon=1)).plan(problem(broken_on_the_right))
    assert plan.feasible
    assert np.isfinite(plan.energy)
    assert (plan.actions <= 0.2).all()
    assert (plan.actions > 0).all()


@PLANNERS
def test_without_a_finite_energy_there_is_no_feasible_plan(planner_type):
    def broken(latents, actions):
        return np.full(len(latents), np.nan, np.float32)

    plan = planner_type(LinearWorld(), PlannerConfig(horizon=2)).plan(problem(broken, horizon=2))
    assert not plan.feasible
    assert plan.energy == np.inf
    assert plan.iterations == 3
    np.testing.assert_array_equal(plan.actions, np.zeros((2, 2)))


@pytest.mark.filterwarnings("error")
def test_a_latent_that_is_not_a_number_counts_even_if_the_energy_hides_it():
    class Breaks(LinearWorld):
        def rollout(self, latents, past_actions, actions):
            future = super().rollout(latents, past_actions, actions)
            future[actions[:, 0, 0] > 0, 0] = np.inf, -np.inf
            return future

    def last_only(latents, actions):
        return np.square(latents[:, -1] - 1).sum(axis=1)

    plan = CEM(Breaks(), PlannerConfig(horizon=2)).plan(problem(last_only, horizon=2))
    assert plan.feasible
    assert plan.actions[0, 0] <= 0
    assert np.isfinite(plan.latents).all()


@PLANNERS
def test_hard_guardrails_come_before_energy(planner_type):
    def stay_left(latents, actions):
        return np.maximum(latents[:, :, 0].max(axis=1) - 0.1, 0)

    config = PlannerConfig(horizon=2, knot=1, iterations=6)
    plan = planner_type(LinearWorld(), config).plan(problem(goal(1, 0.5), horizon=2, guardrails=[stay_left]))
    assert plan.feasible
    assert plan.latents[:, 0].max() <= 0.1 + 1e-6
    assert plan.latents[-1, 1] == pytest.approx(0.5, abs=0.2)


@PLANNERS
def test_none_within_the_guardrails_gives_the_least_violation_and_says_so(planner_type):
    def impossible(latents, actions):
        return 10 + actions[:, 0, 0]

    config = PlannerConfig(horizon=1, iterations=8)
    plan = planner_type(LinearWorld(), config).plan(problem(goal(1, 0), guardrails=[impossible]))
    assert not plan.feasible
    assert plan.actions[0, 0] < -0.9


class Time:
    """A clock that a rollout moves by `each` seconds."""

    def __init__(self, each):
        self.now, self.each = 0.0, each

    def __call__(self):
        return self.now

    def advance(self):
        self.now += self.each


@PLANNERS
def test_no_iteration_starts_that_would_end_after_the_deadline(planner_type):
    clock = Time(each=0.25)
    planner = planner_type(LinearWorld(on_rollout=clock.advance), PlannerConfig(horizon=1, iterations=50), clock=clock)
    plan = planner.plan(problem(goal(0.5, 0.5)), lambda: 1.1 - clock.now)
    assert (plan.stopped, plan.iterations, clock.now) == ("deadline", 4, 1.0)
    assert plan.feasible
    assert len(plan.energies) == 4


def test_a_deadline_already_passed_gives_no_feasible_plan_and_planning_recovers_from_a_stall():
    clock = Time(each=10.0)
    planner = CEM(LinearWorld(on_rollout=clock.advance), PlannerConfig(horizon=1, iterations=1), clock=clock)
    late = planner.plan(problem(goal(0.5, 0.5)), lambda: 0.0)
    assert (late.stopped, late.iterations, late.feasible) == ("deadline", 0, False)
    assert np.isnan(late.latents).all()
    assert (late.actions == 0).all()

    assert planner.plan(problem(goal(0.5, 0.5)), lambda: 1.0).iterations == 1  # nothing known yet: it stalls 10 s
    clock.each = 0.1
    refused = 0
    while planner.plan(problem(goal(0.5, 0.5)), lambda: 1.0).iterations == 0:
        refused += 1
        assert refused < 20
    assert refused > 0


def test_stops_when_the_energy_stops_falling():
    config = PlannerConfig(horizon=1, iterations=50, convergence=0.01)
    plan = CEM(LinearWorld(), config).plan(problem(goal(3, 3)))
    assert plan.stopped == "converged"
    assert plan.iterations < 50


@PLANNERS
def test_the_search_goes_on_while_a_guardrail_is_broken(planner_type):
    """The energy is the same everywhere; the violation takes several iterations to fall to 0."""

    def flat(latents, actions):
        return np.ones(len(latents), np.float32)

    def near_a_corner(latents, actions):
        return np.maximum(np.linalg.norm(actions[:, 0] - 0.9, axis=1) - 0.02, 0)

    config = PlannerConfig(horizon=1, iterations=50, convergence=0.01, min_std=0.01)
    plan = planner_type(LinearWorld(), config).plan(problem(flat, guardrails=[near_a_corner]))
    assert plan.feasible
    assert plan.stopped == "converged"
    assert plan.iterations > 2


def test_the_iteration_that_ends_a_violation_is_not_judged():
    """(violation, energy) of every candidate, an iteration each: the energy rises when the violation falls."""
    script = [(1.0, 1.0), (0.0, 5.0), (0.0, 1.0), (0.0, 1.0), (0.0, 0.0)]
    world = LinearWorld()

    def energy(latents, actions):
        return np.full(len(latents), script[len(world.calls) - 1][1], np.float32)

    def violation(latents, actions):
        return np.full(len(latents), script[len(world.calls) - 1][0], np.float32)

    config = PlannerConfig(horizon=1, iterations=len(script), convergence=0.01)
    plan = CEM(world, config).plan(problem(energy, guardrails=[violation]))
    assert (plan.iterations, plan.stopped) == (4, "converged")
    assert plan.energies.tolist() == [1, 5, 1, 1]


def test_no_guardrail_kept_means_no_convergence():
    def broken(latents, actions):
        return np.ones(len(latents), np.float32)

    config = PlannerConfig(horizon=1, iterations=9, convergence=0.01)
    plan = CEM(LinearWorld(), config).plan(problem(goal(3, 3), guardrails=[broken]))
    assert (plan.iterations, plan.stopped, plan.feasible) == (9, "iterations", False)


def test_wrong_shapes_from_an_objective_are_named():
    with pytest.raises(PlanningError, match="objective returned shape"):
        CEM(LinearWorld(), PlannerConfig(horizon=1)).plan(problem(lambda latents, actions: np.zeros(3, np.float32)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"samples": 0}, "samples"),
        ({"elites": 65}, "elites"),
        ({"temperature": 0.0}, "temperature"),
        ({"horizon": 2.5}, "horizon"),
        ({"std": float("nan")}, "std"),
        ({"momentum": 1.0}, "momentum"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(change, said):
    with pytest.raises(PlanningError, match=f"'{said}'"):
        PlannerConfig(**change)


def test_the_factory_takes_the_manifest_and_the_overrides():
    planner = make_planner(manifest(horizon=9, std=0.5), LinearWorld(), {"samples": 32}, seed=3)
    assert isinstance(planner, CEM)
    assert (planner.config.samples, planner.config.horizon, planner.config.std) == (32, 9, 0.5)
    assert isinstance(make_planner(manifest(), LinearWorld(), {"name": "mppi"}), MPPI)
    with pytest.raises(PlanningError, match="use one of cem, mppi"):
        make_planner(manifest(), LinearWorld(), {"name": "magic"})
    with pytest.raises(PlanningError, match="'sample'"):
        make_planner(manifest(), LinearWorld(), {"sample": 3})
