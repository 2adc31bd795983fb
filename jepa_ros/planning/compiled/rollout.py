"""Predictions fed back over a horizon inside a plan graph, and the way back through them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.manifest import Manifest
from jepa_ros.planning.compiled.functions import GraphFunction
from jepa_ros.planning.compiled.tensors import GraphBuilder, Value


@dataclass
class Window:
    """What one prediction saw: steps `begin` to `begin + length` of the track of what was and what was predicted.

    Attributes:
        begin, length: in steps of the track.
        inputs: of the predictor, `[B, T, …]`.
    """

    begin: int
    length: int
    inputs: dict[str, Value]


class WindowRollout:
    """Calls the predictor on its whole context for each step, as `jepa_ros.prediction` does.

    Args:
        graph: where it is written.
        manifest: of the bundle.
        layout: of its state.
        known: steps of history.
        history: by tensor `[1, known, …]`, and `action` `[1, known − 1, A]`.
    """

    def __init__(
        self,
        graph: GraphBuilder,
        manifest: Manifest,
        layout: StateLayout,
        known: int,
        history: Mapping[str, Value],
    ) -> None:
        self._graph, self._manifest, self._layout = graph, manifest, layout
        self._known, self._history = known, history
        self._context = manifest.predictor.max_context
        self._sequence = manifest.predictor.output == "sequence"

    def forward(self, predictor: GraphFunction, actions: Value) -> tuple[Value, list[Window]]:
        """Actions `[B, H, A]` → predicted states `[B, H, D]`, and what each prediction saw."""
        batch = actions.shape[0]
        predicted: dict[str, list[Value]] = {tensor.name: [] for tensor in self._layout.all}
        windows = []
        for h in range(actions.shape[1]):
            window = self._window(predicted, actions, h)
            windows.append(window)
            time = (self._context,) if self._sequence else ()
            shapes = {self._manifest.next_name(t): (batch, *time, *t.shape) for t in self._layout.all}
            found = self._graph.call(predictor, window.inputs, shapes)
            for tensor in self._layout.all:
                value = found[self._manifest.next_name(tensor)]
                predicted[tensor.name].append(value.row(1, window.length - 1) if self._sequence else value)
        columns = [
            self._graph.stack([value.reshape(batch, math.prod(tensor.shape)) for value in predicted[tensor.name]], 1)
            for tensor in self._layout.all
        ]
        return self._graph.concatenate(columns, 2), windows

    def back(self, derivative: GraphFunction, windows: list[Window], cotangent: Value) -> Value:
        """dE/dpredicted `[B, H, D]` → dE/dactions `[B, H, A]`, back through every prediction that was fed back."""
        batch, horizon = cotangent.shape[:2]
        parts = split(self._layout, cotangent)
        # What the energy says of each step's prediction; what later predictions say of it is added on the way back.
        owed = [{name: part.row(1, h) for name, part in parts.items()} for h in range(horizon)]
        by_action: list[Value | None] = [None] * horizon
        for h in reversed(range(horizon)):
            window = windows[h]
            inputs = {**window.inputs}
            for tensor in self._layout.all:
                given = owed[h][tensor.name].reshape(batch, *tensor.shape)
                inputs[f"cotangent_{self._manifest.next_name(tensor)}"] = self._placed(given, window)
            shapes = {f"grad_{name}": value.shape for name, value in window.inputs.items()}
            found = self._graph.call(derivative, inputs, shapes)
            for index in range(window.length):
                step = window.begin + index - self._known  # predictions are numbered from 0
                for tensor in self._layout.taken:
                    if step >= 0:
                        more = found[f"grad_{tensor.name}"].row(1, index).reshape(batch, math.prod(tensor.shape))
                        owed[step][tensor.name] = owed[step][tensor.name] + more
                if step + 1 >= 0:  # the action at a step is what leads to the prediction after it
                    more, so_far = found["grad_action"].row(1, index), by_action[step + 1]
                    by_action[step + 1] = more if so_far is None else so_far + more
        return self._graph.stack([value for value in by_action if value is not None], 1)

    def _window(self, predicted: Mapping[str, list[Value]], actions: Value, h: int) -> Window:
        """What prediction `h` sees: the last steps of history and of what was predicted, padded behind."""
        graph, (batch, _, size) = self._graph, actions.shape
        end = self._known + h
        begin = max(end - self._context, 0)
        length, old = end - begin, max(self._known - begin, 0)
        behind = self._context - length
        inputs = {}
        for tensor in self._layout.taken:
            parts = [value.reshape(batch, 1, *tensor.shape) for value in predicted[tensor.name][h - (length - old) : h]]
            if old:
                seen = self._history[tensor.name].part(1, self._known - old, self._known)
                parts.insert(0, seen.expand(batch, old, *tensor.shape))
            if behind:  # what lies there must be a number, although it is masked
                parts.append(graph.zeros(batch, behind, *tensor.shape))
            inputs[tensor.name] = graph.concatenate(parts, 1)
        past = max(old - 1, 0)  # the last step of history is followed by the plan's first action
        parts = [actions.part(1, h + 1 - (length - past), h + 1)]
        if past:
            last = self._known - 1
            parts.insert(0, self._history["action"].part(1, last - past, last).expand(batch, past, size))
        if behind:
            parts.append(graph.zeros(batch, behind, size))
        inputs["action"] = graph.concatenate(parts, 1)
        return Window(begin, length, inputs)

    def _placed(self, given: Value, window: Window) -> Value:
        """A cotangent of the step that was read, `[B, …]` → of the predictor's output."""
        if not self._sequence:
            return given
        batch, shape = given.shape[0], given.shape[1:]
        before, after = window.length - 1, self._context - window.length
        ends = [[self._graph.zeros(batch, count, *shape)] if count else [] for count in (before, after)]
        return self._graph.concatenate([*ends[0], given.reshape(batch, 1, *shape), *ends[1]], 1)


def split(layout: StateLayout, states: Value) -> dict[str, Value]:
    """`[…, D]` → each tensor's columns."""
    axis = len(states.shape) - 1
    places = {tensor.name: layout.place(tensor.name) for tensor in layout.all}
    return {name: states.part(axis, place.start, place.stop) for name, place in places.items()}
