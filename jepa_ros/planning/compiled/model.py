"""A bundle's model inside a plan graph: rollouts, heads, and their derivatives, cut into parts where need be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.loader import PREDICTOR, PREDICTOR_VJP, Bundle
from jepa_ros.bundle.signatures import PREDICTOR_CONDITION, PREDICTOR_STEP
from jepa_ros.errors import PlanningError
from jepa_ros.planning.compiled.functions import GraphFunction, graph_function, opset_of
from jepa_ros.planning.compiled.incremental import IncrementalRollout
from jepa_ros.planning.compiled.rollout import Window, WindowRollout, split
from jepa_ros.planning.compiled.sharing import takes_one_row
from jepa_ros.planning.compiled.tensors import GraphBuilder, Value
from jepa_ros.planning.problem import History
from jepa_ros.prediction import most_rows
from jepa_ros.types import Float32

HISTORY = "history_"
_PREDICTORS = (PREDICTOR, PREDICTOR_VJP, PREDICTOR_STEP, PREDICTOR_CONDITION)


@dataclass(frozen=True)
class Rolled:
    """A rollout that can be followed backward.

    Attributes:
        states: `[B, H, D]`.
        parts: of the batch, each with how many rows it holds and what its predictions saw.
    """

    states: Value
    parts: list[tuple[int, list[Window]]]


class GraphModel:
    """Emits a bundle's model into one plan graph.

    Args:
        bundle: an opened bundle.
        known: steps of history that a plan starts from, see `history_steps`.
        half: whether the predictor and its derivative compute in fp16; heads stay fp32.
    """

    def __init__(self, bundle: Bundle, known: int, half: bool = False) -> None:
        self.bundle, self.manifest = bundle, bundle.manifest
        self.layout = StateLayout(bundle.manifest.state)
        self._known, self._half = known, half
        self._fixed = bundle.manifest.predictor.batch
        self._most_rows = most_rows(bundle.manifest, self.layout)
        self._functions: dict[str, GraphFunction] = {}
        self._tried: dict[tuple[str, str], bool] = {}
        self._opset: int | None = None

    def history_inputs(self, graph: GraphBuilder) -> dict[str, Value]:
        """The history as inputs, at batch 1: `history_NAME` `[1, known, …]`, `history_action` `[1, known − 1, A]`."""
        known = self._known
        found = {t.name: graph.input(HISTORY + t.name, (1, known, *t.shape)) for t in self.layout.taken}
        if known > 1:
            found["action"] = graph.input(f"{HISTORY}action", (1, known - 1, self.manifest.action_size))
        return found

    def rollout(self, graph: GraphBuilder, history: Mapping[str, Value], actions: Value) -> Value:
        """Actions `[B, H, A]` → predicted states `[B, H, D]`. A large batch of a large model is predicted in parts,
        one after another."""
        if self.manifest.predictor.cache is None:
            return self.rollout_back(graph, history, actions).states
        roll = IncrementalRollout(graph, self.manifest, self._known, history)
        condition = self._function(PREDICTOR_CONDITION, "predictor_condition")
        step = self._function(PREDICTOR_STEP, "predictor_step")
        found = [roll.forward(condition, step, part) for _, part in self._cut(actions, self._most_rows)]
        return graph.concatenate(found, 0)

    def rollout_back(self, graph: GraphBuilder, history: Mapping[str, Value], actions: Value) -> Rolled:
        """The same, to be followed backward by `pullback`."""
        roll = WindowRollout(graph, self.manifest, self.layout, self._known, history)
        states, parts = [], []
        for count, part in self._cut(actions, self._most_rows):
            found, windows = roll.forward(self._function(PREDICTOR, "predictor"), part)
            states.append(found.part(0, 0, count))
            parts.append((count, windows))
        return Rolled(graph.concatenate(states, 0), parts)

    def pullback(self, graph: GraphBuilder, history: Mapping[str, Value], rolled: Rolled, cotangent: Value) -> Value:
        """dE/dstates `[B, H, D]` → dE/dactions `[B, H, A]`."""
        roll = WindowRollout(graph, self.manifest, self.layout, self._known, history)
        function = self._function(PREDICTOR_VJP, "predictor_vjp")
        given = self._cut(cotangent, self._most_rows)
        found = [
            roll.back(function, windows, part).part(0, 0, count)
            for (count, windows), (_, part) in zip(rolled.parts, given, strict=True)
        ]
        return graph.concatenate(found, 0)

    def head(self, graph: GraphBuilder, name: str, latents: Value, goal: Value | None) -> Value:
        """A value head on states `[N, D]`, with a goal's `[1, D]` → `[N]`."""
        spec = self.manifest.heads[name]
        function = self._function(spec.file, f"head_{name}")
        found = []
        for count, part in self._cut(latents, self._fixed or latents.shape[0]):
            inputs = self._head_inputs(function, name, part, goal)
            shapes = {spec.output: (part.shape[0],)}
            found.append(graph.call(function, inputs, shapes)[spec.output].part(0, 0, count))
        return graph.concatenate(found, 0)

    def head_pullback(
        self, graph: GraphBuilder, name: str, latents: Value, goal: Value | None, cotangent: Value
    ) -> Value:
        """Cotangent `[N]` of a head's value → the gradient by the first latent tensor, flat: `[N, size]`.

        Raises:
            PlanningError: the bundle has no derivative of this head.
        """
        spec, size = self.manifest.heads[name], math.prod(self.layout.latent.shape)
        if spec.gradient is None:
            raise PlanningError(f"the bundle's head {name!r} has no gradient; export it with its derivatives")
        function, most = self._function(spec.gradient, f"head_{name}_vjp"), self._fixed or latents.shape[0]
        found = []
        for (count, part), (_, weighed) in zip(self._cut(latents, most), self._cut(cotangent, most), strict=True):
            inputs = {**self._head_inputs(function, name, part, goal), "cotangent": weighed}
            shapes = {"grad_latent": (part.shape[0], *self.layout.latent.shape)}
            slope = graph.call(function, inputs, shapes)["grad_latent"]
            found.append(slope.reshape(part.shape[0], size).part(0, 0, count))
        return graph.concatenate(found, 0)

    @property
    def opset(self) -> int:
        """Of the plan graph: the highest of the bundle's graphs, to which the others are converted.

        Raises:
            PlanningError: below 13, in which a plan graph's own operators cannot be written.
        """
        if self._opset is None:
            heads = [file for head in self.manifest.heads.values() for file in (head.file, head.gradient) if file]
            others = (PREDICTOR_VJP, PREDICTOR_STEP, PREDICTOR_CONDITION)
            files = [PREDICTOR, *heads, *(file for file in others if file in self.manifest.files)]
            self._opset = max(opset_of(self.bundle.file(file)) for file in files)
            if self._opset < 13:
                raise PlanningError(
                    f"bundle {self.bundle.path}: its graphs have opset {self._opset}, a plan graph needs 13; export it "
                    "again, or plan with engine numpy"
                )
        return self._opset

    def _cut(self, value: Value, most: int) -> Sequence[tuple[int, Value]]:
        """Parts of at most so many rows, and how many rows each holds. Where graphs have a fixed batch, the last is
        filled up with its first row again: rows do not see one another."""
        rows, found = value.shape[0], []
        for begin in range(0, rows, most):
            part = value.part(0, begin, min(begin + most, rows))
            count = part.shape[0]
            if self._fixed is not None and count < most:
                part = part.take([*range(count), *[0] * (most - count)])
            found.append((count, part))
        return found

    def _head_inputs(self, function: GraphFunction, name: str, latents: Value, goal: Value | None) -> dict[str, Value]:
        judged, shape = self.layout.latent.name, self.layout.latent.shape
        inputs: dict[str, Value] = {}
        for part in self.manifest.heads[name].inputs:
            given = latents if part == "latent" else goal
            if given is None:
                raise PlanningError(f"head {name!r} of the bundle takes {part}, and there is none")
            flat = split(self.layout, given)[judged]
            once = flat.shape[0] == 1 and self._takes_one(function, part)
            rows = 1 if once else latents.shape[0]
            inputs[part] = flat.expand(rows, flat.shape[1]).reshape(rows, *shape)
        return inputs

    def _takes_one(self, function: GraphFunction, part: str) -> bool:
        """Whether a head takes one row of an input for all; tried out."""
        if self._fixed is not None:
            return False
        if (function.name, part) not in self._tried:
            shapes = {name: () if name == "cotangent" else self.layout.latent.shape for name in function.inputs}
            self._tried[function.name, part] = takes_one_row(function, shapes, part, self.opset)
        return self._tried[function.name, part]

    def _function(self, file: str, name: str) -> GraphFunction:
        if name not in self._functions:
            half = self._half and file in _PREDICTORS
            self._functions[name] = graph_function(self.bundle.file(file), name, self.opset, half)
        return self._functions[name]


def history_steps(bundle: Bundle, horizon: int, latents: int) -> int:
    """How many steps of history a plan graph has for a history of `latents`, after padding in front where the
    predictor's output is `last`."""
    predictor = bundle.manifest.predictor
    most = predictor.max_context if predictor.sliding else predictor.max_context - horizon + 1
    return predictor.max_context if predictor.output == "last" else min(latents, most)


def history_values(
    bundle: Bundle, layout: StateLayout, horizon: int, history: History
) -> tuple[int, dict[str, Float32]]:
    """What `GraphModel.history_inputs` are for a history, and its steps: padded in front by the oldest, at rest of
    zeros, as `PredictorSpec.output` says."""
    manifest = bundle.manifest
    steps = history_steps(bundle, horizon, len(history.latents))
    used = steps
    if not manifest.predictor.sliding:
        used = min(used, manifest.predictor.max_context - horizon + 1)
    latents = history.latents[-used:]
    missing = steps - len(latents)
    latents = np.concatenate([np.repeat(latents[:1], missing, axis=0), latents])
    past = history.actions[len(history.actions) - (steps - missing - 1) :]
    past = np.concatenate([np.zeros((missing, manifest.action_size), np.float32), past])
    found = {HISTORY + t.name: layout.part(latents, t.name).reshape(1, steps, *t.shape) for t in layout.taken}
    if steps > 1:
        found[f"{HISTORY}action"] = past[None]
    return steps, found
