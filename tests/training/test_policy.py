"""The policy prior: what the network promises, what it learns, and the command from recorded plans to a bundle."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.loader import load_bundle, write_manifest
from jepa_ros.bundle.manifest import read_manifest
from jepa_ros.errors import JepaRosError
from jepa_ros.planning.cost import GoalObjective
from jepa_ros.planning.factory import make_planner
from jepa_ros.planning.problem import History, PlanProblem
from jepa_ros.planning.recorded import RecordedPlans
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_export.policy_command import policy_command
from jepa_ros_training.policy import (
    Pairs,
    Policy,
    PolicyConfig,
    PolicyRecipe,
    bounds_of,
    errors_of,
    fit_policy,
    pairs_of,
    split,
)

LOW, HIGH, SIZE, HORIZON = (-0.4, -0.3, -0.9), (0.6, 0.3, 0.9), 8, 4
CONFIG = PolicyConfig(SIZE, LOW, HIGH, width=16)
POLICY = typer.Typer()
POLICY.command()(policy_command)


def untrained(config=CONFIG, seed=0):
    torch.manual_seed(seed)
    return Policy(config).eval()


def recorded(bundle, count=60, seed=0):
    """Plans of a teacher that goes straight to the goal, as far as the bounds let it: in the tiny bundle an action
    moves the first three values of the latent."""
    rng = np.random.default_rng(seed)
    low, high = bounds_of(bundle.manifest).low, bounds_of(bundle.manifest).high
    latents, goals = rng.standard_normal((2, count, SIZE)).astype(np.float32)
    at, actions, predicted = latents.copy(), [], []
    for _ in range(HORIZON):
        actions.append(np.clip(goals[:, :3] - at[:, :3], low, high))
        at = at.copy()
        at[:, :3] += actions[-1]
        predicted.append(at)
    energies = np.square(at - goals).mean(axis=1)
    encoder = bundle.manifest.files["encoder.onnx"]
    return RecordedPlans(latents, goals, np.stack(actions, 1), np.stack(predicted, 1), energies, encoder)


@pytest.fixture
def bundle(tiny_bundle):
    return load_bundle(tiny_bundle)


def test_without_noise_it_does_the_mean():
    policy = untrained()
    latent, goal = torch.randn(2, 5, SIZE)
    policy.layers[-1].weight.data *= 0.1  # far from the bounds, which cut noise off
    zeros, mean = torch.zeros(5, 3), policy.mean(latent, goal)
    found = policy(latent, goal, zeros)
    torch.testing.assert_close(found, policy.centre + policy.half_range * mean)
    noise = torch.full((5, 3), 0.5)
    torch.testing.assert_close(policy(latent, goal, noise) - found, (policy.half_range * policy.std() / 2).expand(5, 3))


@settings(max_examples=60, deadline=None)
@given(scale=st.floats(0, 1e6), noise=st.floats(-1e6, 1e6), seed=st.integers(0, 99), low=st.floats(-9, 9),
       width=st.floats(0, 9))  # fmt: skip
def test_it_never_leaves_the_bounds(scale, noise, seed, low, width):
    policy = untrained(PolicyConfig(SIZE, (low, *LOW[1:]), (low + width, *HIGH[1:]), width=4), seed)
    latent, goal = scale * torch.randn(2, 4, SIZE)
    found = policy(latent, goal, torch.full((4, 3), noise))
    assert torch.isfinite(found).all()
    assert (found >= policy.low).all()
    assert (found <= policy.high).all()


def test_a_plans_steps_are_its_pairs(bundle):
    plans, layout = recorded(bundle, count=3), StateLayout(bundle.manifest.state)
    pairs = pairs_of(plans, layout)
    assert len(pairs) == 3 * HORIZON
    np.testing.assert_array_equal(pairs.latents[0], plans.latents[0])
    np.testing.assert_array_equal(pairs.latents[1:HORIZON], plans.predicted[0, :-1])
    np.testing.assert_array_equal(pairs.goals[HORIZON : 2 * HORIZON], np.tile(plans.goals[1], (HORIZON, 1)))
    np.testing.assert_array_equal(pairs.actions, plans.actions.reshape(-1, 3))


def test_the_last_plans_are_held_out(bundle):
    layout = StateLayout(bundle.manifest.state)
    files = [recorded(bundle, count=count, seed=count) for count in (5, 3, 2)]
    fitted, held_out = split(files, layout, 0.3)
    assert (len(fitted), len(held_out)) == (7 * HORIZON, 3 * HORIZON)
    np.testing.assert_array_equal(held_out.latents[0], files[1].latents[2])
    np.testing.assert_array_equal(held_out.actions[HORIZON:], files[2].actions.reshape(-1, 3))
    with pytest.raises(JepaRosError, match="plans: 2 are too few to hold 10% of them out"):
        split(files[2:], layout, 0.1)


def test_it_learns_what_the_teacher_does(bundle):
    plans, layout = recorded(bundle, count=400), StateLayout(bundle.manifest.state)
    fitted, held_out = split([plans], layout, 0.1)
    config = replace(CONFIG, width=64)
    policy = fit_policy(fitted, held_out, config, PolicyRecipe(epochs=40, batch=128))
    off, constant = errors_of(policy, fitted, held_out)
    assert off < constant / 3
    assert policy.std().max() < 0.3, "narrower than at first: it knows"
    again = fit_policy(fitted, held_out, config, PolicyRecipe(epochs=40, batch=128))
    for one, other in zip(policy.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_it_stops_where_what_is_held_out_gets_no_better():
    """What is held out contradicts what is fitted: the first epochs are the best."""
    latents, goals = torch.randn(2, 64, SIZE)
    fitted = Pairs(latents, goals, torch.full((64, 3), 0.25))
    held_out = Pairs(latents, goals, torch.full((64, 3), -0.25))
    recipe = PolicyRecipe(epochs=200, batch=64, patience=3, learning_rate=1e-2)
    found = fit_policy(fitted, held_out, CONFIG, recipe)
    short = fit_policy(fitted, held_out, CONFIG, replace(recipe, epochs=4))
    assert torch.equal(found.log_std, short.log_std)


def test_a_fixed_action_stays_and_does_not_enter_the_error():
    config = PolicyConfig(SIZE, (*LOW[:2], 0.0), (*HIGH[:2], 0.0), width=8)
    latents, goals = torch.randn(2, 64, SIZE)
    actions = torch.rand(64, 3) * 0.2
    actions[:, 2] = 0
    pairs = Pairs(latents, goals, actions)
    policy = fit_policy(pairs, pairs, config, PolicyRecipe(epochs=2))
    assert (policy(latents, goals, torch.randn(64, 3))[:, 2] == 0).all()
    assert np.isfinite(errors_of(policy, pairs, pairs)).all()


def distil(folder, plans, *extra):
    words = ["--bundle", folder, "--plans", plans, "--out", folder.parent / "led", "--epochs", 3, "--width", 8, *extra]
    done = CliRunner().invoke(POLICY, [str(word) for word in words], env={"COLUMNS": "400"})
    return done.exit_code, done.output


def test_from_recorded_plans_to_a_bundle_that_plans_with_them(tmp_path, bundle):
    recorded(bundle).write(tmp_path / "drives" / "one" / "plans.npz")
    code, said = distil(bundle.path, tmp_path / "drives", "--policy-samples", 3)
    assert code == 0, said
    figures = json.loads(said.strip().splitlines()[-1])
    assert (figures["plans"], figures["steps"]) == (60, 60 * HORIZON)
    made = load_bundle(bundle.path.parent / "led")
    model = OnnxWorldModel(made)
    assert made.manifest.planner.policy_samples == 3
    assert model.policy_needs_goal
    assert len(made.manifest.files) == len(bundle.manifest.files) + 1
    planner = make_planner(made.manifest, model, cache=tmp_path / "graphs")
    manifest, rows = made.manifest, np.zeros((1, SIZE), np.float32)
    goal = GoalObjective(model, np.ones(SIZE, np.float32), manifest.cost, model.layout)
    problem = PlanProblem(
        History(rows, np.zeros((0, 3), np.float32)), goal, planner.horizon, manifest.action.low, manifest.action.high
    )
    assert planner.plan(problem).feasible


def test_the_same_seed_gives_the_same_graph(tmp_path, bundle):
    recorded(bundle).write(tmp_path / "plans.npz")
    hashes = []
    for seed in (0, 0, 1):
        code, said = distil(bundle.path, tmp_path / "plans.npz", "--seed", seed)
        assert code == 0, said
        hashes.append(read_manifest(bundle.path.parent / "led").files["heads/policy.onnx"])
    assert hashes[0] == hashes[1] != hashes[2]


def another_size(plans):
    return replace(plans, latents=plans.latents[:, :6], goals=plans.goals[:, :6], predicted=plans.predicted[..., :6])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (another_size, "latents of 6 values, bundle"),
        (lambda p: replace(p, actions=p.actions[..., :2]), "actions of 2 values, bundle"),
        (lambda p: replace(p, encoder="0" * 64), "recorded with another encoder than that of bundle"),
        (lambda p: replace(p, actions=p.actions + 1), "actions are out of the bounds of bundle"),
        (lambda p: replace(p, latents=np.full_like(p.latents, np.nan)), "latents holds values that are not numbers"),
        (lambda p: RecordedPlans(*(getattr(p, name)[:0] for name in
                                   ("latents", "goals", "actions", "predicted", "energies")), p.encoder),
         "holds no plan; was there a goal?"),
        (lambda p: RecordedPlans(*(getattr(p, name)[:3] for name in
                                   ("latents", "goals", "actions", "predicted", "energies")), p.encoder),
         "plans: 3 are too few to hold 10% of them out"),
    ],
)  # fmt: skip
def test_plans_that_are_not_this_bundles(tmp_path, bundle, change, says):
    change(recorded(bundle)).write(tmp_path / "plans.npz")
    code, said = distil(bundle.path, tmp_path)
    assert code == 1
    assert says in said
    assert not (bundle.path.parent / "led").exists()


def test_bundles_that_take_no_policy(tmp_path, bundle):
    recorded(bundle).write(tmp_path / "plans.npz")
    assert distil(bundle.path, tmp_path)[0] == 0
    code, said = distil(bundle.path.parent / "led", tmp_path)
    assert code == 1
    assert "heads.policy is in its place; add the policy to the bundle as it was before" in said
    code, said = distil(bundle.path, tmp_path, "--policy-samples", 28)
    assert code == 1
    assert "'samples' is 32 and must be above 32, the guesses always scored" in said
    write_manifest(bundle.path, bundle.manifest.model_copy(update={"precision": "fp16"}))
    code, said = distil(bundle.path, tmp_path)
    assert code == 1
    assert "is fp16; add the policy to the fp32 one it was made from" in said
