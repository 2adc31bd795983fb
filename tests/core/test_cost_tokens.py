"""Distances of some tokens alone: by hand, what is no mask, and the same in a plan graph."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.manifest import CostTerm, Manifest, StateTensor
from jepa_ros.bundle.token_mask import chosen_tokens
from jepa_ros.errors import PlanningError
from jepa_ros.planning.compiled.model import GraphModel
from jepa_ros.planning.compiled.tensors import GraphBuilder
from jepa_ros.planning.compiled.terms import GoalTerm as GraphTerm
from jepa_ros.planning.compiled.terms import Gradient, Imagined
from jepa_ros.planning.cost import GoalObjective

from .bundle_command import invoke
from .linear_world import LinearWorld, manifest, term
from .made_bundles import Made

PATCHES = StateTensor(name="patches", kind="tokens", shape=(6, 2), grid=(2, 3))
STATE = (
    StateTensor(name="joints", kind="vector", shape=(3,), role="proprio"),
    PATCHES,
    StateTensor(name="ground", kind="map", shape=(2, 2, 2)),
)
LAYOUT = StateLayout(STATE)
RNG = np.random.default_rng(5)
GOAL = RNG.standard_normal(LAYOUT.size).astype(np.float32)
LATENTS = (1.5 * RNG.standard_normal((3, 4, LAYOUT.size))).astype(np.float32)
ACTIONS = np.zeros((3, 4, 2), np.float32)
LOWER_LEFT = {"rows": [1, 2], "columns": [0, 2]}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # Token n is off the goal by n + 1 in its first element, and by nothing in its second.
        ({"tokens": [0], "reduction": "sum"}, 1),
        ({"tokens": [0, 2], "reduction": "sum"}, 1 + 9),
        ({"tokens": [0, 2]}, (1 + 9) / 4),
        ({"tokens": [[1, 4], 5], "reduction": "sum"}, 4 + 9 + 16 + 36),
        ({"tokens": [[1, 3], [2, 4], 2], "reduction": "sum"}, 4 + 9 + 16),
        ({"tokens": LOWER_LEFT, "reduction": "sum"}, 16 + 25),
        ({"tokens": LOWER_LEFT, "metric": "l1"}, (4 + 5) / 4),
        ({"tokens": LOWER_LEFT, "metric": "smooth_l1", "reduction": "sum"}, 3.5 + 4.5),
        # A map's tokens are its places: the last of 4 is off by 10 in either channel.
        ({"source": "ground", "tokens": [3], "reduction": "sum"}, 200),
        ({"source": "ground", "tokens": {"rows": [1, 2], "columns": [0, 2]}}, 200 / 4),
    ],
)
def test_only_these_count(fields, expected):
    latents = GOAL.copy()
    latents[LAYOUT.place("patches")] += [1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0]
    latents[LAYOUT.place("ground")] += [0, 0, 0, 10, 0, 0, 0, 10]
    objective = GoalObjective(LinearWorld(), GOAL, [term(**{"source": "patches", **fields})], LAYOUT)
    np.testing.assert_allclose(objective(latents[None, None], ACTIONS), [expected], rtol=1e-5)
    assert objective.arrival_energy(latents) == pytest.approx(expected, rel=1e-5)


MASKED = [
    *(term(source="patches", metric=m, tokens=[[0, 2], 4]) for m in ("l2", "l1", "smooth_l1", "cosine")),
    term(source="patches", tokens=LOWER_LEFT, reduction="sum", steps="last", discount=0.9, weight=-2.0),
    term(source="ground", tokens=[1, 2], metric="l1", reduction="sum", steps="sum"),
    term(source="patches", weight=0.3),
]


def judged_by_graph(folder, terms):
    """Energies `[B]` and gradient `[B, H, D]` of a compiled term."""
    graph = GraphBuilder()
    model = GraphModel(Made(folder, STATE).open().bundle, 1)
    imagined = Imagined(graph, model, graph.input("states", LATENTS.shape), graph.input("actions", ACTIONS.shape))
    compiled, slope = GraphTerm(tuple(terms), GOAL), Gradient()
    parameters = {name: graph.input(name, value.shape) for name, value in compiled.parameters().items()}
    graph.output("energy", compiled.energy(imagined, parameters))
    compiled.descend(imagined, parameters, slope)
    graph.output("slope", slope.by_states)
    session = onnxruntime.InferenceSession(graph.model().SerializeToString(), providers=["CPUExecutionProvider"])
    given = {"states": LATENTS, "actions": ACTIONS, **compiled.parameters()}
    return session.run(["energy", "slope"], {item.name: given[item.name] for item in session.get_inputs()})


@pytest.mark.parametrize("terms", [*([one] for one in MASKED), MASKED])
def test_a_plan_graph_judges_as_numpy_does(tmp_path, terms):
    objective = GoalObjective(LinearWorld(), GOAL, terms, LAYOUT)
    energy, slope = judged_by_graph(tmp_path / "made", terms)
    np.testing.assert_allclose(energy, objective(LATENTS, ACTIONS), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(slope, objective.gradient(LATENTS, ACTIONS)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tokens": [6]}, r"tokens of patches are 0 to 5, and \[6, 7\]"),
        ({"tokens": [[2, 7]]}, r"tokens of patches are 0 to 5, and \[2, 7\]"),
        ({"tokens": [[3, 3]]}, "is empty"),
        ({"tokens": {"rows": [0, 3], "columns": [0, 1]}}, "rows of patches are 0 to 1"),
        ({"tokens": {"rows": [0, 1], "columns": [2, 1]}}, "columns of patches are 0 to 2"),
        ({"source": "joints", "tokens": [0]}, "joints is a vector, which has none"),
        ({"source": "ground", "tokens": [4]}, "tokens of ground are 0 to 3"),
        ({"source": "head:value", "metric": "value", "tokens": [0]}, "head:value is judged by metric value"),
    ],
)
def test_tokens_that_are_not_there_are_refused(fields, said):
    one = CostTerm(**{"source": "patches", **fields})
    with pytest.raises(PlanningError, match=said):
        GoalObjective(LinearWorld(), GOAL, [one], LAYOUT)
    whole = manifest().model_dump()
    whole |= {"state": [tensor.model_dump() for tensor in STATE], "cost": [one.model_dump()]}
    with pytest.raises(ValidationError, match=f"cost: .*{said}"):
        Manifest(**whole)


def test_a_rectangle_needs_a_grid():
    tokens = StateTensor(name="patches", kind="tokens", shape=(6, 2))
    with pytest.raises(ValueError, match=r"need the grid of patches; say it in its state entry"):
        chosen_tokens(CostTerm(tokens=LOWER_LEFT).tokens, tokens)


@pytest.mark.parametrize("tokens", [[], [-1], [True], [[1, 2, 3]], {"rows": [0, 1]}, "all", [1.5]])
def test_what_names_no_tokens_is_no_mask(tokens):
    with pytest.raises(ValidationError, match="tokens"):
        CostTerm(tokens=tokens)


@pytest.mark.parametrize("fields", [{"shape": (6, 2), "grid": (2, 2)}, {"shape": (6, 2), "grid": (-2, -3)}])
def test_a_grid_holds_all_tokens(fields):
    with pytest.raises(ValidationError, match="grid of patches"):
        StateTensor(name="patches", kind="tokens", **fields)


@settings(max_examples=60, deadline=None)
@given(mask=st.lists(st.one_of(st.integers(0, 5), st.tuples(st.integers(0, 4), st.integers(1, 2))), min_size=1))
def test_a_mask_is_read_back_and_counts_each_token_once(mask):
    mask = [item if isinstance(item, int) else [item[0], min(item[0] + item[1], 6)] for item in mask]
    one = CostTerm(source="patches", tokens=mask)
    assert CostTerm(**one.model_dump(mode="json")) == one
    expected = {n for item in mask for n in ([item] if isinstance(item, int) else range(*item))}
    assert chosen_tokens(one.tokens, PATCHES) == tuple(sorted(expected))


def test_the_card_names_the_tokens(tmp_path):
    cost = [{"source": "patches", "tokens": [0, [2, 4]]}, {"source": "ground", "tokens": LOWER_LEFT}]
    _, text = invoke("show", Made(tmp_path / "made", STATE, cost=cost).folder)
    assert "1 × patches l2 (mean), tokens 0, 2–3, steps: all" in text
    assert "1 × ground l2 (mean), tokens rows 1–1, columns 0–1, steps: all" in text
