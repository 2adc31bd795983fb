"""What one plan of a bundle costs: how often each graph runs and on how much, operations, weights and memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from jepa_ros.bundle.flops import GraphCost, Shape, graph_cost
from jepa_ros.bundle.graphs import read_signature
from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.loader import ENCODER, PREDICTOR, PREDICTOR_VJP, Bundle
from jepa_ros.bundle.manifest import Manifest
from jepa_ros.errors import BundleError
from jepa_ros.planning.config import PlannerConfig

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
        buffer_bytes: the predictor's inputs for all samples, and the predicted state `[B, H, …]`, float32.
    """

    samples: int
    iterations: int
    horizon: int
    uses: tuple[GraphUse, ...]
    buffer_bytes: int

    @property
    def flops(self) -> int:
        """Of all runs of all graphs, two a multiply-add."""
        return sum(use.flops for use in self.uses)

    @property
    def weight_bytes(self) -> int:
        """Of the graphs that run, each once."""
        return sum({use.file: use.cost.weight_bytes for use in self.uses}.values())


def plan_cost(bundle: Bundle) -> PlanCost:
    """Count one plan.

    - The encoder runs once, the predictor on every sample in each step of the horizon, in every iteration. A planner
      that follows gradients runs the predictor's derivative as often.
    - A value head that a cost term names judges every predicted step in every iteration, or the last ones alone where
      no term asks for more.
    - A policy proposes its samples step by step once a plan; the predictor rolls them out anew for each step.

    What a node does besides is of batch 1 and left out: the surprise, the steps that delay compensation rolls forward,
    the goal's latent.

    Raises:
        BundleError: a graph that cannot be counted, by name.
        PlanningError: planner settings that do not fit each other.
    """
    manifest = bundle.manifest
    settings = planner_settings(manifest)
    samples, iterations, horizon = settings.samples, settings.iterations, settings.horizon
    runs = [(ENCODER, 1, 1), (PREDICTOR, samples, iterations * horizon)]
    if manifest.planner.name == "gradient" and PREDICTOR_VJP in manifest.files:
        runs.append((PREDICTOR_VJP, samples, iterations * horizon))
    for name, head in manifest.heads.items():
        steps = {term.steps for term in manifest.cost if term.source == f"head:{name}"}
        if steps:
            runs.append((head.file, samples if steps == {"last"} else samples * horizon, iterations))
        if head.kind == "policy" and settings.policy_samples:
            runs.append((head.file, settings.policy_samples, horizon))
            runs.append((PREDICTOR, settings.policy_samples, horizon * (horizon - 1) // 2))
    uses = tuple(
        GraphUse(file, batch, calls, graph_cost(bundle.path / file, _shapes(bundle, file, batch)))
        for file, batch, calls in runs
    )
    inputs = sum(math.prod(shape) for shape in _shapes(bundle, PREDICTOR, samples).values())
    predicted = samples * horizon * StateLayout(manifest.state).size
    return PlanCost(samples, iterations, horizon, uses, _FLOAT * (inputs + predicted))


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
