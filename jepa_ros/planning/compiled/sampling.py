"""An iteration of the sampling planners as a graph; see `jepa_ros.planning.sampling` for what it does in NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_ros.planning.compiled.descent import Judge
from jepa_ros.planning.compiled.scoring import WORST, Best, Bounds, Scored, ranked
from jepa_ros.planning.compiled.tensors import GraphBuilder, Value
from jepa_ros.planning.config import PlannerConfig


@dataclass(frozen=True)
class Distribution:
    """What the samples are drawn from, and what is carried from iteration to iteration.

    Attributes:
        mean, std: `[H, A]`.
        elites: `[K, H, A]` the best candidates of the iteration before, best first.
        best: the best scored so far.
    """

    mean: Value
    std: Value
    elites: Value
    best: Best


@dataclass(frozen=True)
class Draw:
    """What enters one iteration anew.

    Attributes:
        noise: `[B, knots, A]`, of unit variance.
        later: `[1]`, 1 from the second iteration on, when the mean and the best so far are among the candidates.
        kept: `[1]`, 1 where `elites` hold candidates to keep (iCEM).
    """

    noise: Value
    later: Value
    kept: Value


class SamplingIteration:
    """Emits iterations of one planner.

    Args:
        name: `cem`, `icem` or `mppi`.
        config: its settings.
        graph: where they are written.
        bounds: of actions.
        guesses: `[G, H, A]` plans that are always candidates, within the bounds or not.
        floor: `[A]` least deviation.
        judge: scores candidates `[B, H, A]`.
    """

    def __init__(
        self,
        name: str,
        config: PlannerConfig,
        graph: GraphBuilder,
        bounds: Bounds,
        guesses: Value,
        floor: Value,
        judge: Judge,
    ) -> None:
        self._name, self._config, self._graph = name, config, graph
        self._bounds, self._guesses, self._floor, self._judge = bounds, guesses, floor, judge

    def __call__(self, now: Distribution, draw: Draw) -> Distribution:
        """Draw, score, select and refit."""
        graph, config = self._graph, self._config
        candidates = self._bounds.apply(graph, self._candidates(now, draw))
        imagined, scored, _ = self._judge(candidates)
        order = ranked(graph, scored, config.elites)
        best = now.best.challenged(graph, scored, imagined, order.part(0, 0, 1))
        elites = candidates.take(order)
        mean, std = self._refit(now, elites, scored, order)
        # Where no candidate is finite, what was kept before is still worth keeping.
        some = scored.finite.to_float().max(0, keep=True) > 0.0
        elites = some.reshape(1, 1, 1).where(elites, now.elites)
        return Distribution(mean, std, elites, best)

    def _candidates(self, now: Distribution, draw: Draw) -> Value:
        graph, config = self._graph, self._config
        horizon, size = now.mean.shape
        first = self._guesses.shape[0]
        # The first rows are guesses in any case.
        noise = draw.noise.part(0, first, config.samples)
        knots = np.arange(horizon) // config.knot
        held = noise.take(knots.tolist(), axis=1) if config.knot > 1 else noise
        samples = held * now.std + now.mean
        later = (draw.later > 0.5).reshape(1, 1, 1)
        known = graph.stack([now.mean, now.best.actions], 0)
        rows = [self._guesses, later.where(known, samples.part(0, 0, 2))]
        taken = 2
        if self._name == "icem" and (kept := config.kept):
            holds = (draw.kept > 0.5).reshape(1, 1, 1)
            rows.append(holds.where(now.elites.part(0, 0, kept), samples.part(0, taken, taken + kept)))
            taken += kept
        return graph.concatenate([*rows, samples.part(0, taken, samples.shape[0])], 0).reshape(
            config.samples, horizon, size
        )

    def _refit(self, now: Distribution, elites: Value, scored: Scored, order: Value) -> tuple[Value, Value]:
        """The next mean and deviation; those before where no elite is finite."""
        weights = self._weights(scored, order)
        count = elites.shape[0]
        total = weights.sum(0, keep=True)
        each = (weights / total.maximum(1e-30)).reshape(count, 1, 1)
        mean = (elites * each).sum(0)
        away = elites - mean.reshape(1, *mean.shape)
        std = (away * away * each).sum(0).sqrt()
        if self._config.momentum and self._name != "mppi":
            keep = float(np.float32(self._config.momentum))
            mean, std = now.mean * keep + mean * (1 - keep), now.std * keep + std * (1 - keep)
        some = (total > 0.0).reshape(1, 1)
        return some.where(mean, now.mean), some.where(std.maximum(self._floor), now.std)

    def _weights(self, scored: Scored, order: Value) -> Value:
        """Of each elite, not yet of sum 1; see `CEM` and `MPPI`."""
        finite = scored.finite.to_float().take(order)
        if self._name != "mppi":
            return finite
        energy = scored.energy.take(order)
        if scored.violation is not None:
            # A candidate that violates a constraint more than the best does must not pull the mean.
            violation = scored.violation.take(order)
            finite = finite * (violation <= violation.part(0, 0, 1)).to_float()
        lowest = (finite > 0.5).where(energy, WORST).min(0, keep=True)
        above = ((energy - lowest) * finite).maximum(0.0)
        return (above / -float(np.float32(self._config.temperature))).exp() * finite
