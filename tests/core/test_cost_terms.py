"""Cost terms on states of several tensors, over the steps of a plan, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.manifest import StateTensor
from jepa_ros.errors import PlanningError
from jepa_ros.planning.cost import GoalObjective, arrival_term

from .linear_world import LinearWorld, manifest, term

STATE = [
    StateTensor(name="reward", kind="vector", shape=(1,), role="outcome"),
    StateTensor(name="tokens", kind="tokens", shape=(2, 2)),
    StateTensor(name="joints", kind="vector", shape=(2,), role="proprio"),
]
LAYOUT = StateLayout(STATE)
GOAL = np.array([0, 1, 1, 0, 0, 5, 5], np.float32)
# One plan of 3 steps: rewards 2, 4, 8; off the goal are the tokens by 2 in one element, by 1 in two, not at all, and
# the joints by 1, 3, 2 in one element.
LATENTS = np.array([[[2, 3, 1, 0, 0, 6, 5], [4, 1, 2, 1, 0, 5, 8], [8, 1, 1, 0, 0, 3, 5]]], np.float32)
ACTIONS = np.zeros((1, 3, 2), np.float32)


def energy(*terms, latents=LATENTS):
    return GoalObjective(LinearWorld(7), GOAL, terms, LAYOUT)(latents, ACTIONS)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"source": "tokens", "reduction": "sum"}, (4 + 2 + 0) / 3),
        ({"source": "tokens", "reduction": "sum", "steps": "sum"}, 4 + 2 + 0),
        ({"source": "tokens", "reduction": "mean", "steps": "sum"}, 1 + 0.5),
        ({"source": "tokens", "metric": "l1", "reduction": "sum", "steps": "sum"}, 2 + 2),
        ({"source": "tokens", "steps": "last"}, 0),
        ({"source": "joints", "reduction": "sum"}, (1 + 9 + 4) / 3),
        ({"source": "joints", "reduction": "sum", "steps": "last"}, 4),
        ({"source": "reward", "metric": "value", "weight": -1.0}, -(2 + 4 + 8) / 3),
        ({"source": "reward", "metric": "value", "steps": "sum"}, 14),
        ({"source": "reward", "metric": "value", "steps": "last"}, 8),
        # γ = ½: γʰ from h = 0 in a mean and a sum, γ³ at the end of three steps.
        ({"source": "reward", "metric": "value", "discount": 0.5}, (2 + 4 / 2 + 8 / 4) / 3),
        ({"source": "reward", "metric": "value", "steps": "sum", "discount": 0.5}, 2 + 4 / 2 + 8 / 4),
        ({"source": "reward", "metric": "value", "steps": "last", "discount": 0.5}, 8 / 8),
        ({"source": "joints", "reduction": "sum", "steps": "sum", "discount": 0.5}, 1 + 9 / 2 + 4 / 4),
        # A head sees all of the latent here: |latent − goal| is 2 + 2 + 1, 4 + 2 + 3, 8 + 0 + 2.
        ({"source": "head:value", "metric": "value", "steps": "sum", "discount": 0.5}, 5 + 9 / 2 + 10 / 4),
        ({"source": "head:value", "metric": "value", "steps": "last", "discount": 0.5}, 10 / 8),
    ],
)
def test_each_term_by_hand(fields, expected):
    np.testing.assert_allclose(energy(term(**fields)), [expected], rtol=1e-6)


def test_terms_on_one_tensor_and_on_tensors_of_one_size_do_not_mix():
    """What is said at the end and over all steps shares a distance; other tensors and metrics have their own."""
    terms = [
        term(source="joints", reduction="sum", steps="sum"),
        term(source="joints", reduction="sum", steps="last", weight=10.0),
        term(source="joints", metric="l1", reduction="sum", steps="sum", weight=100.0),
        term(source="reward", metric="value", steps="last", weight=-1000.0),
        term(source="reward", metric="value", steps="sum", discount=0.5, weight=10000.0),
        term(source="tokens", reduction="sum", steps="sum", weight=100.0),
    ]
    expected = (1 + 9 + 4) + 10 * 4 + 100 * (1 + 3 + 2) - 1000 * 8 + 10000 * 6 + 100 * (4 + 2)
    np.testing.assert_allclose(energy(*terms), [expected], rtol=1e-6)


def test_a_head_is_asked_about_the_last_step_alone_where_no_term_asks_for_more():
    class Asked(LinearWorld):
        def head(self, name, latents, goal):
            rows.append(len(latents))
            return super().head(name, latents, goal)

    rows, last = [], term(source="head:value", metric="value", steps="last", discount=0.5)
    many = np.repeat(LATENTS, 4, axis=0)
    found = GoalObjective(Asked(7), GOAL, [last], LAYOUT)(many, np.zeros((4, 3, 2), np.float32))
    np.testing.assert_allclose(found, [10 / 8] * 4)
    assert rows == [4]


def test_what_is_in_the_latents_is_left_as_it_was():
    kept = LATENTS.copy()
    energy(term(source="reward", metric="value", steps="sum", discount=0.5), term(source="tokens", metric="l1"))
    np.testing.assert_array_equal(LATENTS, kept)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"source": "latent"}, "source 'latent' must be 'reward', 'tokens', 'joints' or 'head:NAME'"),
        ({"source": "joints", "metric": "value"}, "metric 'value' is for heads"),
    ],
)
def test_a_term_that_does_not_fit_the_state(fields, says):
    with pytest.raises(PlanningError, match=says):
        energy(term(**fields))


def test_a_goal_of_another_size_than_the_state():
    with pytest.raises(PlanningError, match="the goal latent has 6 elements, the model's 7"):
        GoalObjective(LinearWorld(7), GOAL[:6], [term(source="tokens")], LAYOUT)


def planned(*cost, goal_head=True):
    """A manifest with this state and these terms; "value" judges a latent with or without a goal."""
    found = manifest().model_copy(update={"state": STATE, "cost": list(cost)})
    inputs = ["latent", "goal"] if goal_head else ["latent"]
    return found.model_copy(update={"heads": {"value": found.heads["value"].model_copy(update={"inputs": inputs})}})


REWARD, TOKENS = term(source="reward", metric="value", weight=-1.0), term(source="tokens", metric="l1")
VALUE = term(source="head:value", metric="value", weight=3.0)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (planned(TOKENS, VALUE), TOKENS),
        (planned(VALUE, TOKENS), VALUE),
        (planned(REWARD, TOKENS), TOKENS),
        (planned(REWARD, VALUE, TOKENS), VALUE),
        (planned(VALUE, TOKENS, goal_head=False), TOKENS),
        (planned(REWARD, VALUE, goal_head=False), term(source="tokens")),
    ],
)
def test_arrival_is_judged_by_the_first_term_that_knows_the_goal(found, expected):
    assert arrival_term(found) == expected


def test_arrival_by_a_term_that_is_none_of_the_costs():
    found = GoalObjective(LinearWorld(7), GOAL, [REWARD], LAYOUT, term(source="joints", reduction="sum", weight=9.0))
    assert found.arrival_energy(LATENTS[0, 1]) == pytest.approx(9.0)
