"""Predictions of a causal predictor that keeps keys and values: a step computes what is new to it, and no more.

What history leads to is computed once, at batch 1, and so are the past actions' conditions; those of the plan's actions
are computed once for all windows they are in. While the window has not begun to slide, positions stay and a step adds
one token; once it slides, positions move, and the tokens of the window that differ between candidates are computed
anew.
"""

from __future__ import annotations

from collections.abc import Mapping

from jepa_ros.bundle.manifest import Manifest
from jepa_ros.planning.compiled.functions import GraphFunction
from jepa_ros.planning.compiled.tensors import GraphBuilder, Value


class IncrementalRollout:
    """Calls `predictor_step.onnx`; see `jepa_ros.bundle.signatures`.

    Args:
        graph: where it is written.
        manifest: of the bundle; its predictor has a cache and one state tensor.
        known: steps of history.
        history: the state's `[1, known, D]`, and `action` `[1, known − 1, A]`.
    """

    def __init__(self, graph: GraphBuilder, manifest: Manifest, known: int, history: Mapping[str, Value]) -> None:
        cache = manifest.predictor.cache
        assert cache is not None  # noqa: S101 (who calls this has looked)
        self._graph, self._known, self._history = graph, known, history
        self._context, self._cache, self._tensor = manifest.predictor.max_context, cache, manifest.latent
        self._names = [f"{part}_{i}" for i in range(cache.layers) for part in ("keys", "values")]

    def forward(self, condition: GraphFunction, step: GraphFunction, actions: Value) -> Value:
        """Actions `[B, H, A]` → predicted states `[B, H, D]`."""
        batch, horizon, _ = actions.shape
        graph, seen = self._graph, self._known - 1  # steps whose action is past: the same for all
        chosen = self._condition(condition, actions)
        past = self._condition(condition, self._history["action"]) if seen else None
        latents = self._history[self._tensor.name]
        # Steps from the newest of history on differ between candidates by their actions.
        track = [latents.part(1, seen, self._known).expand(batch, 1, latents.shape[2])]
        kept: dict[str, Value] = {}
        predicted: list[Value] = []
        begun = -1
        for h in range(horizon):
            end = self._known + h
            begin = max(end - self._context, 0)
            if begin != begun:  # positions move
                kept, begun = {}, begin
                if past is not None and begin < seen:
                    _, once = self._call(step, latents.part(1, begin, seen), past.part(1, begin, seen), {})
                    kept = {name: value.expand(batch, *value.shape[1:]) for name, value in once.items()}
                first = max(begin, seen)
            else:
                first = end - 1
            new = graph.concatenate(track[first - seen : end - seen], 1)
            following, more = self._call(step, new, chosen.part(1, first - seen, end - seen), kept)
            kept = {name: graph.concatenate([kept[name], more[name]] if kept else [more[name]], 1) for name in more}
            predicted.append(following)
            track.append(following.reshape(batch, 1, latents.shape[2]))
        return graph.stack(predicted, 1)

    def _condition(self, function: GraphFunction, actions: Value) -> Value:
        shape = (*actions.shape[:2], self._cache.condition)
        return self._graph.call(function, {"action": actions}, {"condition": shape})["condition"]

    def _call(
        self, step: GraphFunction, latents: Value, condition: Value, kept: Mapping[str, Value]
    ) -> tuple[Value, dict[str, Value]]:
        """What follows new steps `[B, n, D]`, and their keys and values."""
        (batch, count, size), width = latents.shape, self._cache.width
        inputs = {self._tensor.name: latents, "condition": condition}
        for name in self._names:
            inputs[name] = kept[name] if kept else self._graph.zeros(batch, 0, width)
        shapes = {f"new_{name}": (batch, count, width) for name in self._names}
        found = self._graph.call(step, inputs, {"next": (batch, size), **shapes})
        return found["next"], {name: found[f"new_{name}"] for name in self._names}
