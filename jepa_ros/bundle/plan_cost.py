"""What one plan of a bundle costs: how often each graph runs and on how much, operations, weights and memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from jepa_ros.bundle.flops import GraphCost, Shape, graph_cost
from jepa_ros.bundle.graphs import read_signature
from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.loader import ENCODER, PREDICTOR, PREDICTOR_VJP, Bundle
from jepa_ros.bundle.manifest import Manifest
from jepa_ros.bundle.token_mask import TokenMask
from jepa_ros.errors import BundleError
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.prediction import activation_bytes, most_rows

_FLOAT = 4


@dataclass(frozen=True)
class GraphUse:
    """One graph's part in a plan: `calls` runs on `batch` rows each. `cost` is of one run."""

    file: str
    batch: int
    calls: int
    cost: GraphCost

    @property
    def flops(self) -> int:
        """Of all its runs."""
        return self.calls * self.cost.flops


@dataclass(frozen=True)
class PlanCost:
    """Of one plan, made to the last iteration from one new frame.

    Attributes:
        samples, iterations, horizon: as the manifest sets the planner, else the planner's own defaults.
        uses: the graphs that run.
        rows: that the predictor runs on at once; a plan with more samples runs it in parts.
        buffer_bytes: float32 buffers of the predictor's inputs and outputs, for these rows and for those of a smaller
            last part; of the predicted state `[B, H, …]`; of its difference from the goal, where a cost term has one.
        activation_bytes: an estimate, mostly from above, of what the predictor takes besides while it runs on `rows`.
    """

    samples: int
    iterations: int
    horizon: int
    uses: tuple[GraphUse, ...]
    rows: int
    buffer_bytes: int
    activation_bytes: int

    @property
    def flops(self) -> int:
        """Of all runs of all graphs, two a multiply-add."""
        return sum(use.flops for use in self.uses)

    @property
    def weight_bytes(self) -> int:
        """Of the graphs that run, each once."""
        return sum({use.file: use.cost.weight_bytes for use in self.uses}.values())

    @property
    def memory_bytes(self) -> int:
        """Weights, buffers and the estimate of activations together."""
        return self.weight_bytes + self.buffer_bytes + self.activation_bytes


def plan_cost(bundle: Bundle) -> PlanCost:
    """Count one plan.

    - The encoder runs once, the predictor on every sample in each step of the horizon, in every iteration. A planner
      that follows gradients runs the predictor's derivative as often; `hybrid` does so on the elites, in its descents.
    - A value head that a cost term names judges every predicted step in every iteration, or the last ones alone where
      no term asks for more; its derivative runs as often in a descent.
    - A policy proposes its samples step by step once a plan; the predictor rolls them out anew for each step.
    - Graphs of a fixed batch run on all of it, as often as their rows fill it in whole or in part.

    What a node does besides is of batch 1 and left out: the surprise, the steps that delay compensation rolls forward,
    the goal's latent.

    Raises:
        BundleError: a graph that cannot be counted, by name.
        PlanningError: planner settings that do not fit each other.
    """
    manifest = bundle.manifest
    settings = planner_settings(manifest)
    samples, iterations, horizon = settings.samples, settings.iterations, settings.horizon
    runs = [(ENCODER, 1, 1)]
    descends = manifest.planner.name in ("gradient", "hybrid") and PREDICTOR_VJP in manifest.files
    # Rows, iterations of them, and whether these are followed backward.
    phases = [(samples, iterations, descends and manifest.planner.name == "gradient")]
    if descends and manifest.planner.name == "hybrid" and settings.descents:
        phases.append((settings.elites, settings.descents, True))
    for rows, times, backward in phases:
        runs.append((PREDICTOR, rows, times * horizon))
        runs += [(PREDICTOR_VJP, rows, times * horizon)] if backward else []
    for name, head in manifest.heads.items():
        steps = {term.steps for term in manifest.cost if term.source == f"head:{name}"}
        for rows, times, backward in phases if steps else []:
            judged = rows if steps == {"last"} else rows * horizon
            runs.append((head.file, judged, times))
            runs += [(head.gradient, judged, times)] if backward and head.gradient else []
        if head.kind == "policy" and settings.policy_samples:
            runs.append((head.file, settings.policy_samples, horizon))
            runs.append((PREDICTOR, settings.policy_samples, horizon * (horizon - 1) // 2))
    uses = tuple(
        GraphUse(file, batch, calls, graph_cost(bundle.path / file, _shapes(bundle, file, batch)))
        for file, batch, calls in (_in_parts(*run, manifest.predictor.batch) for run in runs)
    )
    layout = StateLayout(manifest.state)
    fixed = manifest.predictor.batch
    rows = fixed or min(most_rows(manifest, layout), samples)
    inputs = sum(math.prod(shape) for shape in _shapes(bundle, PREDICTOR, 1).values())
    outputs = layout.size * (manifest.predictor.max_context if manifest.predictor.output == "sequence" else 1)
    parts = (rows + (0 if fixed else samples % rows)) * (inputs + outputs)
    floats = parts + samples * (horizon * layout.size + _differences(manifest, layout, horizon))
    activations = rows * activation_bytes(manifest, layout)
    return PlanCost(samples, iterations, horizon, uses, rows, _FLOAT * floats, activations)


def _in_parts(file: str, batch: int, calls: int, fixed: int | None) -> tuple[str, int, int]:
    """The same run on graphs of a fixed batch: in parts of it, the last one filled up. The encoder's batch is one
    already."""
    if fixed is None or file == ENCODER:
        return file, batch, calls
    return file, fixed, calls * -(-batch // fixed)


def _differences(manifest: Manifest, layout: StateLayout, horizon: int) -> int:
    """Floats a sample of `GoalObjective`'s differences: terms whose steps and sizes are the same share a buffer."""
    steps: dict[tuple[str, TokenMask | None], int] = {}
    for term in manifest.cost:
        if term.metric not in ("value", "cosine"):
            judged = 1 if term.steps == "last" else horizon
            key = term.source, term.tokens
            steps[key] = max(steps.get(key, 0), judged)
    columns = np.arange(layout.size)
    sizes = {key: columns[layout.columns(*key)].size for key in steps}
    return sum(count * size for count, size in {(steps[key], sizes[key]) for key in steps})


def planner_settings(manifest: Manifest) -> PlannerConfig:
    """The planner's settings, where the manifest leaves one to the planner its default."""
    given = {item.name: getattr(manifest.planner, item.name, None) for item in fields(PlannerConfig)}
    return PlannerConfig(**{name: value for name, value in given.items() if value is not None})


def _shapes(bundle: Bundle, file: str, batch: int) -> dict[str, Shape]:
    """A graph's inputs with the first axis of this size.

    Raises:
        BundleError: another axis is free.
    """
    shapes: dict[str, Shape] = {}
    for name, tensor in read_signature(bundle.path, file, bundle.manifest.files).inputs.items():
        fixed = [size for size in tensor.shape[1:] if size is not None]
        if len(fixed) != len(tensor.shape) - 1:
            raise BundleError(
                f"bundle {bundle.path}: {file}: input {name} is {tensor}, only the first size may be free; export it so"
            )
        shapes[name] = (batch, *fixed)
    return shapes
