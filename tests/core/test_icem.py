"""iCEM's noise and what it keeps."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.planning.candidates import Workspace
from jepa_ros.planning.cem import CEM
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.cost import GoalObjective
from jepa_ros.planning.icem import ICEM, colouring, shifted

from .linear_world import TERMS, LinearWorld, problem


def goal(x, y):
    return GoalObjective(LinearWorld(), np.array([x, y], np.float32), TERMS)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("knots", [1, 2, 3, 5, 8, 30])
def test_the_colouring_has_unit_variance_and_the_spectrum_asked_for(knots, beta):
    matrix = colouring(knots, beta).astype(float)
    covariance = matrix @ matrix.T
    np.testing.assert_allclose(np.diag(covariance), 1, rtol=1e-6)
    # Power at each frequency, of the covariance, which is circulant: that of the matrix squared.
    power = np.abs(np.fft.rfft(matrix[:, 0])) ** 2
    frequency = np.fft.rfftfreq(knots)[1:]
    if knots > 1:
        np.testing.assert_allclose(power[1:] / power[1], (frequency / frequency[0]) ** -beta, rtol=1e-4)
        assert power[0] == pytest.approx(power[1], rel=1e-5)


def test_white_is_left_as_it_is_and_red_is_smooth():
    np.testing.assert_allclose(colouring(6, 0.0), np.eye(6), atol=1e-7)
    rough, smooth = (
        np.diff(colouring(20, beta) @ np.random.default_rng(0).standard_normal((20, 5000)), axis=0) for beta in (0, 2)
    )
    assert smooth.std() < 0.5 * rough.std()


def test_drawn_noise_is_coloured_along_the_plan_and_along_nothing_else():
    """20,000 samples: variances within 5 %; actions and samples are independent."""
    config = PlannerConfig(samples=20_000, horizon=8, knot=1, beta=2.0)
    work = Workspace(config, 8, 2)
    work.std[:] = 1
    work.colour = colouring(8, 2.0)
    work.draw(np.random.default_rng(0))
    noise = work.candidates.astype(float)
    np.testing.assert_allclose(noise.var(axis=0), 1, rtol=0.05)
    assert abs((noise[:, :, 0] * noise[:, :, 1]).mean()) < 0.03
    power = (np.abs(np.fft.rfft(noise, axis=1)) ** 2).mean(axis=(0, 2))
    np.testing.assert_allclose(power[1:] / power[1], np.arange(1.0, 5) ** -2, rtol=0.1)


def test_with_white_noise_and_nothing_kept_it_is_cem():
    config = PlannerConfig(horizon=4, knot=1, beta=0.0, keep=0.0)
    plans = [kind(LinearWorld(), config, 3).plan(problem(goal(2, -1), horizon=4)) for kind in (CEM, ICEM)]
    np.testing.assert_allclose(plans[0].actions, plans[1].actions, atol=1e-6)


def test_elites_are_kept_for_the_next_iteration_and_shifted_into_the_next_plan():
    world = LinearWorld()
    planner = ICEM(world, PlannerConfig(samples=32, elites=10, keep=0.3, horizon=3, knot=1, iterations=2))
    objective = goal(1, 0.5)
    for _ in range(2):
        planner.plan(problem(objective, horizon=3))
    tried = [actions for _, _, actions in world.calls]

    def best(actions):
        order = np.argsort(objective(np.cumsum(actions, axis=1), actions), kind="stable")
        return actions[order[:3]]

    # Behind rest, the warm start, mean and best.
    np.testing.assert_array_equal(tried[1][4:7], best(tried[0]))
    np.testing.assert_array_equal(tried[2][4:7], shifted(best(tried[1])))
    np.testing.assert_array_equal(shifted(np.arange(6).reshape(1, 3, 2)), [[[2, 3], [4, 5], [4, 5]]])


def test_a_plan_of_another_shape_begins_anew():
    world = LinearWorld()
    planner = ICEM(world, PlannerConfig(horizon=3, knot=1, iterations=1))
    planner.plan(problem(goal(1, 0.5), horizon=3))
    plan = planner.plan(problem(goal(1, 0.5), horizon=5))
    assert plan.actions.shape == (5, 2)
    assert world.calls[1][2].shape == (64, 5, 2)


def test_kept_elites_take_room_among_the_samples():
    config = PlannerConfig(elites=10, keep=0.3, policy_samples=0)
    assert ICEM.guesses(config) == CEM.guesses(config) + 3


def test_where_less_is_finite_than_is_kept():
    """One candidate alone has an energy; the rest of the room is for samples again."""

    def nearly_nothing(latents, actions):
        energy = np.full(len(latents), np.nan, np.float32)
        energy[0] = 1.0
        return energy

    planner = ICEM(LinearWorld(), PlannerConfig(horizon=2, iterations=3, keep=1.0))
    plan = planner.plan(problem(nearly_nothing, horizon=2))
    assert plan.feasible
    np.testing.assert_array_equal(plan.actions, np.zeros((2, 2)))
