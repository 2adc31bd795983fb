"""Descent: its steps by hand, its optimum, and what it does with rows that it cannot follow."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.errors import PlanningError
from jepa_ros.guardrails import ActionMagnitude, KeepAway, Penalty, Sum
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.cost import GoalObjective
from jepa_ros.planning.descent import Descent
from jepa_ros.planning.factory import make_planner
from jepa_ros.planning.gradient import GradientPlanner
from jepa_ros.planning.hybrid import Hybrid

from .curved_bundles import Curved
from .linear_world import LinearWorld, problem, term
from .made_bundles import Made
from .sloping_world import SlopingWorld, slopes

TERMS = (term(reduction="sum", steps="last"),)


def goal(x, y, terms=TERMS):
    return GoalObjective(SlopingWorld(), np.array([x, y], np.float32), terms)


def task(objective=None, horizon=1, **more):
    return problem(objective or goal(0.3, -0.6), horizon=horizon, **more)


def led(world, actions):
    """From the origin."""
    return world.rollout(np.zeros((1, 2), np.float32), np.zeros((0, 2), np.float32), actions)


def stepped(actions, steps=1, objective=None, low=(-1.0, -2.0), high=(1.0, 2.0), **settings):
    """Actions after steps of descent."""
    world = SlopingWorld()
    descent, found = Descent(world, PlannerConfig(**settings), "gradient"), np.array(actions, np.float32)
    asked = task(objective, found.shape[1], low=low, high=high)
    descent.begin(found)
    for _ in range(steps):
        descent.step(asked, found, led(world, found))
    return found


def test_a_step_of_sgd_by_hand():
    """d energy / d action = 2 (sum − goal) = (−0.6, 1.2) at rest; half ranges 1 and 2."""
    found = stepped(np.zeros((1, 1, 2)), learning_rate=0.1, optimizer="sgd")
    np.testing.assert_allclose(found[0, 0], [0.1 * 0.6, -0.1 * 2 * 2 * 1.2], rtol=1e-6)


def test_the_first_step_of_adam_is_the_learning_rate_of_half_the_range():
    np.testing.assert_allclose(stepped(np.zeros((1, 1, 2)), learning_rate=0.1)[0, 0], [0.1, -0.2], rtol=1e-5)


def test_steps_of_adam_as_in_the_paper():
    """Algorithm 1 of Kingma & Ba in float64, on action / half range."""
    half, wanted = np.array([1.0, 2.0]), np.array([0.3, -0.6])
    x, m, v = np.zeros(2), np.zeros(2), np.zeros(2)
    for t in range(1, 8):
        g = 2 * (x * half - wanted) * half
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        x = x - 0.05 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(stepped(np.zeros((1, 1, 2)), 7, learning_rate=0.05)[0, 0], x * half, rtol=1e-4)


def test_an_action_that_is_fixed_stays():
    found = stepped(np.zeros((1, 2, 2)), 5, low=(-1.0, 0.0), high=(1.0, 0.0))
    np.testing.assert_array_equal(found[..., 1], 0)
    assert (found[..., 0] > 0).all()


# Adam's fourth step, of which the three before were none: 0.1 (0.1 / (1 − 0.9⁴)) / √(0.001 / (1 − 0.999⁴)).
@pytest.mark.parametrize(("optimizer", "step"), [("adam", 0.0581), ("sgd", 0.1 * 2 * 0.2)])
def test_a_row_whose_gradient_is_not_finite_does_not_move_and_learns_nothing(optimizer, step):
    """Its energy is a number, so it is a plan like any; when the gradient is one too, it moves as if for the first
    time."""

    class Broken(SlopingWorld):
        wrong = 0.0

        def pullback(self, latents, past_actions, actions, predicted, cotangent):
            found = super().pullback(latents, past_actions, actions, predicted, cotangent)
            found[1, 0, 1] += self.wrong
            return found

    world = Broken()
    descent, found = (
        Descent(world, PlannerConfig(optimizer=optimizer), "gradient"),
        np.full((3, 2, 2), 0.25, np.float32),
    )
    descent.begin(found)
    for world.wrong in (np.nan, np.inf, -np.inf):
        descent.step(task(horizon=2), found, led(world, found))
        np.testing.assert_array_equal(found[1], 0.25)
    world.wrong = 0.0
    descent.step(task(horizon=2), found, led(world, found))
    assert np.abs(found - 0.25).min() > 0.01
    np.testing.assert_allclose(found[1, :, 0], 0.25 - step, atol=1e-4)


def test_the_slope_of_what_actions_cost_and_of_what_they_lead_to():
    wish = Sum(
        [goal(1, -1), Penalty(ActionMagnitude(0.1), 2.0), Penalty(KeepAway(np.ones((1, 2), np.float32), 9.0), 0.5)]
    )
    actions = np.random.default_rng(0).uniform(-1, 1, (4, 3, 2))
    world = SlopingWorld()
    descent = Descent(world, PlannerConfig(), "gradient")
    found = descent.slope(task(wish, 3), actions.astype(np.float32), led(world, actions.astype(np.float32)))
    expected = slopes(lambda values: wish(np.cumsum(values, axis=1), values), actions, 0.01)
    np.testing.assert_allclose(found, expected, atol=5e-3)


def test_to_begin_is_to_forget():
    world, steps = SlopingWorld(), []
    descent = Descent(world, PlannerConfig(), "gradient")
    for _ in range(2):
        found = np.full((2, 2, 2), 0.5, np.float32)
        descent.begin(found)
        for _ in range(3):
            descent.step(task(horizon=2), found, led(world, found))
        steps.append(found)
    np.testing.assert_array_equal(*steps)


def test_the_last_iteration_has_a_pace_of_its_own():
    """0.2 s to score and 0.8 s to step: a third iteration, which only scores, fits into 2.25 s."""

    class Timed(SlopingWorld):
        now = 0.0

        def pullback(self, *given):
            self.now += 0.8
            return super().pullback(*given)

        def rollout(self, *given):
            self.now += 0.2
            return super().rollout(*given)

    world = Timed()
    planner = GradientPlanner(world, PlannerConfig(iterations=3, horizon=1), clock=lambda: world.now)
    planner.plan(task())
    until = world.now + 2.25
    assert planner.plan(task(), lambda: until - world.now).iterations == 3


def test_penalties_on_actions_alone_need_no_model():
    class NoModel(SlopingWorld):
        def pullback(self, *_):
            raise AssertionError("the energy does not depend on the latents")

    descent, found = Descent(NoModel(), PlannerConfig(), "gradient"), np.full((1, 2, 2), 0.5, np.float32)
    descent.begin(found)
    descent.step(task(Penalty(ActionMagnitude(0.1), 1.0), 2), found, np.zeros((1, 2, 2), np.float32))
    assert found[0, 0, 0] < 0.5


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_reaches_the_known_optimum(optimizer):
    config = PlannerConfig(
        samples=6, elites=1, iterations=60, horizon=4, knot=1, learning_rate=0.05, optimizer=optimizer, convergence=0
    )
    plan = GradientPlanner(SlopingWorld(), config).plan(task(goal(1.3, -0.6), 4))
    np.testing.assert_allclose(plan.latents[-1], [1.3, -0.6], atol=0.01)
    assert plan.energy < 1e-4
    assert (np.diff(plan.energies) <= 0).all()


def test_a_goal_out_of_reach_is_approached_at_the_bounds():
    config = PlannerConfig(samples=6, elites=1, iterations=40, horizon=3, knot=1)
    plan = GradientPlanner(SlopingWorld(), config).plan(task(goal(50, -50), 3, low=(-0.4, -0.3), high=(0.6, 0.3)))
    np.testing.assert_allclose(plan.actions, np.tile([0.6, -0.3], (3, 1)), atol=1e-6)


def test_a_penalty_bends_the_descent_and_a_hard_guardrail_ranks():
    config = PlannerConfig(samples=16, elites=1, iterations=40, horizon=2, knot=1, learning_rate=0.03)
    slow, wish = ActionMagnitude(0.4), goal(2, 0)
    soft = GradientPlanner(SlopingWorld(), config).plan(task(Sum([wish, Penalty(slow, 20.0)]), 2))
    np.testing.assert_allclose(np.linalg.norm(soft.actions, axis=1), 0.4, atol=0.05)
    hard = GradientPlanner(SlopingWorld(), config).plan(task(wish, 2, guardrails=[slow]))
    assert hard.feasible
    assert np.linalg.norm(hard.actions, axis=1).max() <= 0.4 + 1e-6


def test_the_last_iteration_only_scores():
    """A step that nothing scores would be in vain."""

    class Counting(SlopingWorld):
        pulled = 0

        def pullback(self, *given):
            self.pulled += 1
            return super().pullback(*given)

    world = Counting()
    GradientPlanner(world, PlannerConfig(iterations=4, horizon=1)).plan(task())
    assert (len(world.calls), world.pulled) == (4, 3)
    world = Counting()
    Hybrid(world, PlannerConfig(iterations=4, descents=3, horizon=1)).plan(task())
    assert (len(world.calls), world.pulled) == (7, 2)


@pytest.mark.parametrize("kind", [GradientPlanner, Hybrid])
def test_a_model_without_a_derivative(kind):
    class Flat(SlopingWorld):
        has_derivative = False

    for world in (LinearWorld(), Flat()):
        with pytest.raises(PlanningError, match=f"planner '{kind.__name__.lower()[:6]}.*follows gradients"):
            kind(world, PlannerConfig())


@pytest.mark.parametrize("name", ["gradient", "hybrid"])
def test_a_bundle_with_and_without_its_derivative(tmp_path, name):
    settings = {"name": name, "samples": 12, "iterations": 4, "descents": 4}
    curved = Curved(tmp_path / "curved", heads=("value",), cost=[{"source": "head:value", "metric": "value"}])
    model = curved.open()
    planner = make_planner(model.manifest, model, settings, engine="numpy")
    layout = model.layout
    wish = GoalObjective(model, np.zeros(5, np.float32), model.manifest.cost, layout)
    plan = planner.plan(problem(wish, start=(0.1, 0.2, 0.3, 0.4, 0.5), horizon=2, low=(-1, -0.5), high=(1, 0.5)))
    assert plan.feasible
    assert plan.energies[-1] < plan.energies[0]

    made = Made(tmp_path / "made").open()
    with pytest.raises(PlanningError, match=rf"planner '{name}' needs predictor_vjp\.onnx, .* one of cem, mppi, icem$"):
        make_planner(made.manifest, made, settings, engine="numpy")


@pytest.mark.parametrize(("engine", "opened"), [("graph", False), (None, False), ("numpy", True)])
def test_derivatives_stay_open_only_for_the_engine_that_calls_them(tmp_path, engine, opened):
    """Else their weights would be in memory twice."""
    model = Curved(tmp_path / "curved", heads=("value",)).open()
    make_planner(model.manifest, model, {"name": "gradient"}, engine=engine, cache=tmp_path / "plans")
    assert (model._derivative is not None, bool(model._head_gradients)) == (opened, opened)


def test_a_head_of_the_cost_without_a_gradient(tmp_path):
    model = Curved(tmp_path / "curved", heads=("value",)).open()
    head = model.manifest.heads["value"].model_copy(update={"gradient": None})
    manifest = model.manifest.model_copy(update={"heads": {"value": head}})
    make_planner(manifest, model, {"name": "gradient"}, engine="numpy")
    manifest = manifest.model_copy(update={"cost": [term(source="head:value", metric="value")]})
    with pytest.raises(PlanningError, match=r"'gradient' needs heads\.value\.gradient, the derivative of a head"):
        make_planner(manifest, model, {"name": "gradient"}, engine="numpy")
