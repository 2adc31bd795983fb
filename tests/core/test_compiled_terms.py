"""Terms of plan graphs where what they are given is no number, or of another size."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from jepa_ros.errors import PlanningError
from jepa_ros.guardrails import ActionChange, ActionMagnitude, HeadLimit, KeepAway, Penalty
from jepa_ros.planning.compiled.limits import ChangeTerm, HeadLimitTerm, KeepAwayTerm, MagnitudeTerm, PenaltyTerm
from jepa_ros.planning.compiled.scoring import WORST, score
from jepa_ros.planning.compiled.tensors import GraphBuilder
from jepa_ros.planning.compiled.terms import Imagined, Term


class Probed:
    """A model whose head says what the graph is given as `said`."""

    def head(self, *_):
        return np.zeros(1, np.float32)


class Zero(Term):
    structure = "zero"

    def parameters(self):
        return {}

    def energy(self, imagined, parameters):
        return imagined.actions.sum(1, 2) * 0.0

    def descend(self, imagined, parameters, into):
        raise NotImplementedError


def judged(said, soft):
    """Energy and violation of candidates whose head says this, `[B, H]`."""
    batch, steps = said.shape
    graph = GraphBuilder()
    outputs = graph.input("said", (batch * steps,))
    states, actions = graph.zeros(batch, steps, 2), graph.zeros(batch, steps, 1)
    imagined = Imagined(graph, SimpleNamespace(head=lambda *_: outputs), states, actions)
    limit = HeadLimit(Probed(), "probe", high=0.5)
    term = HeadLimitTerm(limit)
    term = PenaltyTerm(Penalty(limit, 2.0), term) if soft else term
    given = {name: graph.input(name, value.shape) for name, value in term.parameters().items()}
    energy = [(Zero(), {}), (term, given)] if soft else [(Zero(), {})]
    found = score(imagined, energy, [] if soft else [[(term, given)]])
    graph.output("energy", found.energy)
    if found.violation is not None:
        graph.output("violation", found.violation)
    session = onnxruntime.InferenceSession(graph.model().SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = {"said": said.reshape(-1), **term.parameters()}
    wanted = {item.name for item in session.get_inputs()}
    return session.run(None, {name: value for name, value in inputs.items() if name in wanted})


@pytest.mark.parametrize("soft", [False, True], ids=["guardrail", "penalty"])
@pytest.mark.parametrize("step", range(9))
def test_a_head_that_says_no_number_at_any_step_ranks_last(soft, step):
    """ONNX Runtime's maximum may pass over a value that is none: the plan kept its guardrail, as far as one saw."""
    said = np.full((3, 9), 0.4, np.float32)
    said[1, step] = np.nan
    said[2, step] = 0.8
    energy, *violation = judged(said, soft)
    assert energy[1] == np.float32(WORST)
    if soft:
        np.testing.assert_allclose(energy[[0, 2]], [0, 0.6], atol=1e-6)
    else:
        assert violation[0][1] == np.float32(WORST)
        np.testing.assert_allclose(violation[0][[0, 2]], [0, 0.3], atol=1e-6)


def test_sizes_that_do_not_fit_are_named():
    with pytest.raises(PlanningError, match="ActionMagnitude: there is no column 3, an action has 3 values"):
        MagnitudeTerm(ActionMagnitude(1.0, columns=[0, 3]), 3)
    with pytest.raises(PlanningError, match="ActionChange: limit has 2 values, an action has 3"):
        ChangeTerm(ActionChange([0.1, 0.2]), 3)
    with pytest.raises(PlanningError, match="ActionChange: previous has 2 values, an action has 3"):
        ChangeTerm(ActionChange(0.1, previous=np.zeros(2, np.float32)), 3)
    graph, term = GraphBuilder(), KeepAwayTerm(KeepAway(np.ones((1, 4), np.float32), 1.0))
    given = {name: graph.input(name, value.shape) for name, value in term.parameters().items()}
    imagined = Imagined(graph, SimpleNamespace(), graph.zeros(2, 3, 5), graph.zeros(2, 3, 1))
    with pytest.raises(PlanningError, match="KeepAway: latents have 4 values, the model's have 5"):
        term.energy(imagined, given)
