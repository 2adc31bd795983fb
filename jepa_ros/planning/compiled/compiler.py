"""(bundle, planner, cost terms, constraints, shapes) → one plan graph."""

from __future__ import annotations

import hashlib
import inspect
import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import onnx
import onnxruntime

import jepa_ros
from jepa_ros.bundle.loader import Bundle
from jepa_ros.planning.compiled.descent import Descent, DescentIteration
from jepa_ros.planning.compiled.model import GraphModel
from jepa_ros.planning.compiled.sampling import Distribution, Draw, SamplingIteration
from jepa_ros.planning.compiled.scoring import Best, Bounds, Scored, score
from jepa_ros.planning.compiled.tensors import GraphBuilder, Value
from jepa_ros.planning.compiled.terms import Gradient, Imagined, Term
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.types import Float32

NEXT = "next_"
BEST = ("best_actions", "best_states", "best_energy", "best_violation")
STATE = {
    "sampling": ("mean", "std", "elites", *BEST),
    "descent": ("actions", "first_moment", "second_moment", *BEST),
}


@dataclass(frozen=True)
class PlanShape:
    """Everything that a plan graph is compiled for, beside the bundle and the terms.

    Attributes:
        planner: `cem`, `icem`, `mppi` or `gradient`.
        config: its settings.
        actions: A. known: steps of history, see `history_steps`.
        guesses: G, plans that are always candidates (sampling only).
        rows: B, sequences that are scored at once.
        steps: iterations of one call.
        descends: whether a descent's iterations step; the last of a plan only scores.
        norm_limit, block: of `ActionBounds`.
        precision: in what predictor and derivative compute; what `config` has of it is only what was wished for.
    """

    planner: str
    config: PlannerConfig
    actions: int
    known: int
    guesses: int
    rows: int
    steps: int = 1
    descends: bool = True
    norm_limit: float | None = None
    block: int = 1
    precision: Literal["fp32", "fp16"] = "fp32"

    @property
    def kind(self) -> Literal["sampling", "descent"]:
        """Which state is carried."""
        return "descent" if self.planner == "gradient" else "sampling"


@dataclass(frozen=True)
class Question:
    """The terms of a plan: of its energy, and of each of its constraints."""

    energy: Sequence[Term]
    constraints: Sequence[Sequence[Term]] = ()

    @property
    def structure(self) -> list[list[str]]:
        """What a graph is compiled for: what the terms say, and their code."""
        return [[_told(term) for term in terms] for terms in (self.energy, *self.constraints)]

    def named(self) -> list[list[tuple[str, Term]]]:
        """Each term and what its inputs' names begin with: first those of the energy."""
        groups = [("energy", self.energy), *((f"constraint{i}", terms) for i, terms in enumerate(self.constraints))]
        return [[(f"{group}_{i}_", term) for i, term in enumerate(terms)] for group, terms in groups]

    def parameters(self) -> dict[str, Float32]:
        """Values of all inputs that the terms have."""
        return {
            prefix + name: value
            for group in self.named()
            for prefix, term in group
            for name, value in term.parameters().items()
        }


def content_hash(bundle: Bundle, shape: PlanShape, question: Question) -> str:
    """Of everything that a plan graph is made of: the bundle's graphs, the shape, the terms, and this compiler."""
    said = {
        "files": {name: digest for name, digest in bundle.manifest.files.items() if not name.startswith("goals/")},
        "state": [tensor.model_dump() for tensor in bundle.manifest.state],
        "predictor": bundle.manifest.predictor.model_dump(),
        "heads": {name: head.model_dump() for name, head in bundle.manifest.heads.items()},
        "shape": asdict(shape),
        "terms": question.structure,
        "parameters": {name: value.shape for name, value in question.parameters().items()},
        "compiler": _own_hash(),
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def compile_plan(bundle: Bundle, shape: PlanShape, question: Question) -> onnx.ModelProto:
    """The plan graph of `shape.steps` iterations.

    Inputs, float32, where k is `steps`: `history_*` (see `GraphModel.history_inputs`), `low`, `high`, `rest`, `floor`
    `[A]`, the terms' parameters, the state by name (`STATE`), and
    - sampling: `guesses` `[G, H, A]`, `noise` `[k, B, knots, A]`, `later` and `kept` `[k]`;
    - descent: `corrections` `[k, 2]`.

    Outputs: the state as `next_NAME`, and `trace` `[k, 2]`, violation and energy of the best after each iteration.

    Raises:
        PlanningError: what cannot be compiled, and what to use instead.
    """
    return _Compiler(bundle, shape, question).model()


class _Compiler:
    """Writes one graph."""

    def __init__(self, bundle: Bundle, shape: PlanShape, question: Question) -> None:
        self._shape, self._question = shape, question
        config = shape.config
        self._model = GraphModel(bundle, shape.known, half=shape.precision == "fp16")
        self._graph = graph = GraphBuilder(self._model.opset)
        self._history = self._model.history_inputs(graph)
        low, high, rest = (graph.input(name, (shape.actions,)) for name in ("low", "high", "rest"))
        self._bounds = Bounds(low, high, rest, shape.norm_limit, shape.block)
        self._terms = [
            [
                (term, {name: graph.input(prefix + name, value.shape) for name, value in term.parameters().items()})
                for prefix, term in group
            ]
            for group in question.named()
        ]
        self._plan = (config.horizon, shape.actions)

    def model(self) -> onnx.ModelProto:
        graph = self._graph
        horizon = self._shape.config.horizon
        best = Best(
            graph.input("best_actions", self._plan),
            graph.input("best_states", (horizon, self._model.layout.size)),
            graph.input("best_energy", (1,)),
            graph.input("best_violation", (1,)),
        )
        trace = self._sampling(best) if self._shape.kind == "sampling" else self._descent(best)
        graph.output("trace", graph.stack(trace, 0))
        return graph.model()

    def _sampling(self, best: Best) -> list[Value]:
        graph, shape, config = self._graph, self._shape, self._shape.config
        knots = -(-config.horizon // config.knot)
        now = Distribution(
            graph.input("mean", self._plan),
            graph.input("std", self._plan),
            graph.input("elites", (config.elites, *self._plan)),
            best,
        )
        guesses = graph.input("guesses", (shape.guesses, *self._plan))
        floor = graph.input("floor", (shape.actions,))
        noise = graph.input("noise", (shape.steps, shape.rows, knots, shape.actions))
        later, kept = graph.input("later", (shape.steps,)), graph.input("kept", (shape.steps,))
        iterate = SamplingIteration(shape.planner, config, graph, self._bounds, guesses, floor, self._judge)
        trace = []
        for i in range(shape.steps):
            now = iterate(now, Draw(noise.row(0, i), later.part(0, i, i + 1), kept.part(0, i, i + 1)))
            trace.append(self._said(now.best))
        self._give("sampling", [now.mean, now.std, now.elites], now.best)
        return trace

    def _descent(self, best: Best) -> list[Value]:
        graph, shape = self._graph, self._shape
        rows = (shape.rows, *self._plan)
        actions, first, second = (graph.input(name, rows) for name in STATE["descent"][:3])
        now = Descent(actions, first, second, best)
        corrections = graph.input("corrections", (shape.steps, 2))
        judge = self._judge_slope if shape.descends else self._judge
        iterate = DescentIteration(shape.config, graph, self._bounds, judge)
        trace = []
        for i in range(shape.steps):
            now = iterate(now, corrections.row(0, i))
            trace.append(self._said(now.best))
        self._give("descent", [now.actions, now.first, now.second], now.best)
        return trace

    def _judge(self, actions: Value) -> tuple[Imagined, Scored, None]:
        states = self._model.rollout(self._graph, self._history, actions)
        imagined = Imagined(self._graph, self._model, states, actions)
        return imagined, score(imagined, self._terms[0], self._terms[1:]), None

    def _judge_slope(self, actions: Value) -> tuple[Imagined, Scored, Value]:
        rolled = self._model.rollout_back(self._graph, self._history, actions)
        imagined = Imagined(self._graph, self._model, rolled.states, actions)
        scored = score(imagined, self._terms[0], self._terms[1:])
        slope = Gradient()
        for term, given in self._terms[0]:
            term.descend(imagined, given, slope)
        if slope.by_states is not None:
            slope.add_actions(self._model.pullback(self._graph, self._history, rolled, slope.by_states))
        return imagined, scored, slope.by_actions or self._graph.zeros(*actions.shape)

    def _said(self, best: Best) -> Value:
        return self._graph.concatenate([best.violation, best.energy], 0)

    def _give(self, kind: str, state: Sequence[Value], best: Best) -> None:
        values = [*state, best.actions, best.states, best.energy, best.violation]
        for name, value in zip(STATE[kind], values, strict=True):
            self._graph.output(NEXT + name, value)


def _told(term: Term) -> str:
    return " ".join([term.structure, *(_code_of(type(part)) for part in (term, *term.parts))])


@cache
def _code_of(kind: type) -> str:
    """A class by name and source. One that was typed in has no source: graphs with it are found again by this process
    alone."""
    try:
        source = hashlib.sha256(Path(inspect.getfile(kind)).read_bytes()).hexdigest()
    except (TypeError, OSError):
        source = secrets.token_hex()
    return f"{kind.__module__}.{kind.__qualname__} {source}"


@cache
def _own_hash() -> str:
    """Of what writes plan graphs: the sources here and those that they ask, and onnx and ONNX Runtime, whose converters
    they use."""
    digest = hashlib.sha256(f"{onnx.__version__} {onnxruntime.__version__}".encode())
    package = Path(jepa_ros.__file__).parent
    asked = (package / "planning").rglob("*.py"), (package / "bundle").glob("*.py"), [package / "prediction.py"]
    for path in sorted(path for paths in asked for path in paths):
        digest.update(path.read_bytes())
    return digest.hexdigest()
