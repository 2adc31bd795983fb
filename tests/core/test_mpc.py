"""The loop from frames to plans: history, delay, warm start, surprise."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.errors import ModelError, PlanningError
from jepa_ros.guardrails import ActionChange, ActionMagnitude, Penalty
from jepa_ros.planning.factory import make_planner
from jepa_ros.planning.mpc import LatentMPC

from .linear_world import LinearWorld, manifest, term

GOAL = np.array([2.0, 0.0], np.float32)


class World(LinearWorld):
    """Encodes a "frame" that already is the position."""

    def encode(self, frame):
        return np.array(frame, dtype=np.float32)


def make(world=None, delay_steps=1, goal=GOAL, mpc=None, seed=0, **settings):
    world = world or World()
    written = manifest(**settings)
    loop = LatentMPC(world, make_planner(written, world, seed=seed), written, delay_steps, **(mpc or {}))
    loop.set_goal(goal)
    return world, loop


def at(x, y=0.0):
    return np.array([x, y])


@pytest.mark.parametrize("delay_steps", [0, 1, 2])
def test_closed_loop_reaches_the_goal_and_stays(delay_steps):
    """The world applies, at each step, what the plan made `delay_steps` frames ago says."""
    _, loop = make(delay_steps=delay_steps, low=(-0.4, -0.4), high=(0.4, 0.4))
    position, applied, sent = np.zeros(2), None, [np.zeros(2)] * delay_steps
    energies, surprises = [], []
    for _ in range(20):
        step = loop.step(position, applied)
        energies.append(step.energy_now)
        surprises.append(step.surprise)
        sent.append(step.plan.actions[0].astype(float))
        applied = sent.pop(0)
        position = position + applied
    assert energies[0] == pytest.approx(2.0)  # mean over two elements of 2² and 0²
    assert max(energies[-5:]) < 0.01
    assert surprises[0] is None
    assert max(surprises[1:]) < 1e-6  # the model is exact and is told what was applied


def test_committed_actions_are_rolled_forward_before_planning():
    world, loop = make(delay_steps=2, horizon=3)
    plans = []
    for x in (0.0, 0.0, 0.0):
        world.calls.clear()
        plans.append(loop.step(at(x), at(0.0)).plan)
    # At the third frame the first plan's first action is being applied, and the second plan's comes next.
    committed = np.stack([plans[0].actions[0], plans[1].actions[0]])
    rolled = [call for call in world.calls if call[2].shape == (1, 2, 2)]
    assert len(rolled) == 1
    np.testing.assert_array_equal(rolled[0][2][0], committed)
    # The search starts where they lead, and knows them as past actions.
    latents, actions, _ = next(call for call in world.calls if len(call[2]) == 64)
    np.testing.assert_allclose(latents[-1], committed.sum(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(actions, committed)


def test_a_step_says_where_its_plan_begins():
    _, loop = make(delay_steps=1)
    first = loop.step(at(0.25), at(0.0))
    np.testing.assert_array_equal(first.origin, at(0.25))
    second = loop.step(at(0.5), at(0.0))
    np.testing.assert_allclose(second.origin, at(0.5) + first.plan.actions[0], rtol=1e-6)
    loop.set_goal(None)
    assert loop.step(at(0.5), at(0.0)).origin is None


def test_the_last_plan_shifted_by_one_step_is_among_the_samples():
    world, loop = make(goal=at(0.7, -0.4), horizon=3)
    first = loop.step(at(0.0)).plan
    world.calls.clear()
    loop.step(at(0.1), at(0.1))
    shifted = np.concatenate([first.actions[1:], first.actions[-1:]])
    searches = [call[2] for call in world.calls if len(call[2]) == 64]
    assert len(searches) == 3
    assert all((actions == shifted).all(axis=(1, 2)).any() for actions in searches)


def search_history(world):
    latents, actions, _ = next(call for call in world.calls if len(call[2]) == 64)
    return latents, actions


def test_a_growing_history_keeps_the_newest_latents_and_applied_actions():
    world, loop = make(delay_steps=0, history_max=3)
    for index in range(5):
        world.calls.clear()
        loop.step(at(index), at(10 + index))
        latents, actions = search_history(world)
        assert len(latents) == min(index + 1, 3)
    np.testing.assert_array_equal(latents[:, 0], [2, 3, 4])
    np.testing.assert_array_equal(actions[:, 0], [13, 14])  # 14 was applied over the step that ended at frame 4


def test_padding_repeats_the_oldest_latent_at_rest():
    world, loop = make(delay_steps=0, history_min=3, warm_up="pad", low=(-1.0, 0.25))
    loop.step(at(7))
    loop_latents, loop_actions = search_history(world)
    np.testing.assert_array_equal(loop_latents[:, 0], [7, 7, 7])
    np.testing.assert_array_equal(loop_actions, [[0, 0.25], [0, 0.25]])
    world.calls.clear()
    loop.step(at(8), at(1))
    latents, actions = search_history(world)
    np.testing.assert_array_equal(latents[:, 0], [7, 7, 8])
    np.testing.assert_array_equal(actions, [[0, 0.25], [1, 0]])


def test_no_plan_before_the_required_history():
    _, loop = make(warm_up="require", history_min=3)
    assert [loop.step(at(0), at(0)).plan is None for _ in range(4)] == [True, True, False, False]


def test_a_fixed_component_keeps_its_value_in_each_action_of_a_block():
    class Blocks(World):
        def rollout(self, latents, past_actions, actions):
            return super().rollout(latents, past_actions, actions[..., :2] + actions[..., 2:])

    _, loop = make(Blocks(), delay_steps=0, action={"block": 2, "fixed": {"y": 0.5}})
    plan = loop.step(at(0)).plan
    assert plan.actions.shape == (3, 4)
    np.testing.assert_array_equal(plan.actions[:, [1, 3]], 0.5)
    assert (plan.latents[:, 0] > 0).all()


def test_surprise_is_what_the_applied_action_does_not_explain():
    _, loop = make()
    loop.step(at(0))
    assert loop.step(at(0.3), at(0.3)).surprise == pytest.approx(0, abs=1e-9)
    # 0.4 further than the action says: 0.4² / 2 elements = 0.08, twice the p99 of 0.04.
    assert loop.step(at(0.8), at(0.1)).surprise == pytest.approx(2.0, rel=1e-5)
    assert loop.step(at(0.8), None).surprise == pytest.approx(0, abs=1e-9)


def test_reset_forgets_history_and_plan_but_not_the_goal():
    _, loop = make()
    fresh = loop.step(at(0.0))
    loop.step(at(0.5), at(0.5))
    loop.reset()
    again = loop.step(at(0.0))
    assert again.surprise is None
    assert again.energy_now == fresh.energy_now
    assert again.plan is not None


def test_two_loops_with_one_seed_plan_the_same():
    def run(seed):
        _, loop = make(goal=at(0.4, 0.3), seed=seed)
        return np.stack([loop.step(at(0.0), at(0.0)).plan.actions for _ in range(4)])

    np.testing.assert_array_equal(run(1), run(1))
    assert not np.array_equal(run(1), run(2))


def test_without_a_goal_frames_are_still_remembered():
    world, loop = make(goal=None, delay_steps=0)
    step = loop.step(at(1))
    assert (step.plan, step.energy_now) == (None, None)
    loop.set_goal(GOAL)
    loop.step(at(2), at(1))
    np.testing.assert_array_equal(search_history(world)[0][:, 0], [1, 2])


def test_a_goal_withdrawn_means_that_nothing_is_committed_any_more():
    world, loop = make(delay_steps=1)
    loop.step(at(0))
    loop.set_goal(None)
    loop.step(at(0), at(0))
    loop.set_goal(GOAL)
    world.calls.clear()
    loop.step(at(0), at(0))
    np.testing.assert_array_equal(search_history(world)[0][-1], [0, 0])


def test_a_new_goal_keeps_what_is_already_on_its_way():
    world, loop = make(delay_steps=1)
    first = loop.step(at(0)).plan
    loop.set_goal(-GOAL)
    world.calls.clear()
    loop.step(at(0), at(0))
    np.testing.assert_allclose(search_history(world)[0][-1], first.actions[0])


def test_an_infeasible_plan_is_not_what_the_next_one_starts_from():
    world, loop = make(delay_steps=1, mpc={"guardrails": [lambda latents, actions: np.ones(len(latents), np.float32)]})
    assert not loop.step(at(0)).plan.feasible
    world.calls.clear()
    loop.step(at(0), at(0))
    np.testing.assert_array_equal(search_history(world)[0][-1], [0, 0])


def test_without_time_the_last_plan_goes_on():
    world, loop = make(delay_steps=1, horizon=3)
    first = loop.step(at(0)).plan
    late = loop.step(at(0), at(0), lambda: 0.0).plan
    assert (late.feasible, late.iterations) == (False, 0)
    world.calls.clear()
    loop.step(at(0), at(0))
    np.testing.assert_allclose(search_history(world)[0][-1], first.actions[1])


def test_penalties_enter_the_energy():
    _, free = make(delay_steps=0, goal=at(3))
    _, slow = make(delay_steps=0, goal=at(3), mpc={"penalties": [Penalty(ActionMagnitude(0.2), weight=100.0)]})
    assert np.linalg.norm(free.step(at(0)).plan.actions, axis=1).max() > 0.5
    assert np.linalg.norm(slow.step(at(0)).plan.actions, axis=1).max() < 0.3


def drive(loop, delay_steps, count=20):
    """Plans followed to the letter from rest at the origin; returns them and the actions applied, `[N, A]`."""
    position, applied, sent = at(0), None, [np.zeros(2, np.float32)] * delay_steps
    plans, actions = [], [np.zeros(2, np.float32)]
    for _ in range(count):
        plans.append(loop.step(position, applied).plan)
        sent.append(plans[-1].actions[0])
        applied = sent.pop(0)
        actions.append(applied)
        position = position + applied
    return plans, np.stack(actions)


@pytest.mark.parametrize("history_max", [1, 3])
@pytest.mark.parametrize("delay_steps", [0, 1, 2])
def test_a_limit_on_change_holds_for_what_is_executed(delay_steps, history_max):
    limit, settings = 0.1, {"iterations": 8, "std": 0.2, "history_max": history_max}
    _, free = make(delay_steps=delay_steps, **settings)
    assert np.abs(np.diff(drive(free, delay_steps)[1], axis=0)).max() > 3 * limit
    _, loop = make(delay_steps=delay_steps, mpc={"guardrails": [ActionChange(limit)]}, **settings)
    plans, actions = drive(loop, delay_steps)
    assert all(plan.feasible for plan in plans)
    assert np.abs(np.diff(actions, axis=0)).max() <= limit + 1e-6
    assert actions.sum(axis=0)[0] > 1  # it does get on


def test_a_soft_limit_on_change_counts_the_first_action_too():
    penalty = {"penalties": [Penalty(ActionChange(0.1), weight=100.0)]}
    _, free = make(delay_steps=1, horizon=1)
    _, soft = make(delay_steps=1, horizon=1, mpc=penalty)
    assert np.abs(free.step(at(0)).plan.actions[0]).max() > 0.5
    assert np.abs(soft.step(at(0)).plan.actions[0]).max() < 0.2


def test_a_limit_on_change_starts_from_what_safety_left_of_the_last_plan():
    """No candidate drawn at random comes as near; to hold the action is always tried."""
    _, loop = make(delay_steps=0, mpc={"guardrails": [ActionChange(1e-3)]})
    loop.step(at(0))
    plan = loop.step(at(0.5), at(0.5, -0.25)).plan
    assert plan.feasible
    np.testing.assert_allclose(plan.actions[0], [0.5, -0.25], atol=1.1e-3)


def test_after_a_reset_change_is_counted_from_rest():
    _, loop = make(delay_steps=0, mpc={"guardrails": [ActionChange(1e-3)]})
    loop.step(at(0))
    loop.step(at(0.5), at(0.5))
    loop.reset()
    np.testing.assert_allclose(loop.step(at(0.5), at(0.5)).plan.actions[0], [0, 0], atol=1.1e-3)


def test_a_broken_latent_is_refused_and_does_not_enter_the_history():
    world, loop = make(delay_steps=0)
    loop.step(at(1))
    with pytest.raises(ModelError, match="not finite"):
        loop.step(at(np.nan), at(0))
    world.calls.clear()
    loop.step(at(2), at(1))
    np.testing.assert_array_equal(search_history(world)[0][:, 0], [1, 2])


@pytest.mark.parametrize("action", [np.zeros(3), np.array([np.nan, 0.0])])
def test_a_wrong_applied_action_is_refused(action):
    _, loop = make()
    loop.step(at(0))
    with pytest.raises(PlanningError, match="2 finite numbers"):
        loop.step(at(0), action)


def test_timings_cover_encoder_and_planner_apart():
    _, loop = make()
    step = loop.step(at(0))
    assert step.encode_ms >= 0
    assert step.plan_ms > 0


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(PlanningError, match="delay_steps"):
        make(delay_steps=-1)


def test_a_goal_whose_cost_needs_a_head_is_refused_by_a_model_without():
    class Headless(World):
        head = None

    _, loop = make(Headless(), goal=None, terms=[term(source="head:value", metric="value")])
    with pytest.raises(PlanningError, match="no heads"):
        loop.set_goal(GOAL)
