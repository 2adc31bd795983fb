"""The planner that a bundle asks for, with what the user overrides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args

from jepa_ros.bundle.manifest import Manifest
from jepa_ros.bundle.signatures import PREDICTOR_VJP
from jepa_ros.errors import PlanningError
from jepa_ros.planning.candidates import CandidatePlanner
from jepa_ros.planning.cem import CEM
from jepa_ros.planning.compiled.planner import GraphPlanner
from jepa_ros.planning.config import PlannerConfig
from jepa_ros.planning.gradient import GradientPlanner
from jepa_ros.planning.hybrid import Hybrid
from jepa_ros.planning.icem import ICEM
from jepa_ros.planning.mppi import MPPI
from jepa_ros.planning.search import IteratedPlanner
from jepa_ros.protocols import WorldModel
from jepa_ros.world_model import OnnxWorldModel

PLANNERS: dict[str, type[CandidatePlanner]] = {
    "cem": CEM, "mppi": MPPI, "icem": ICEM, "gradient": GradientPlanner, "hybrid": Hybrid,
}  # fmt: skip
Engine = Literal["graph", "numpy"]
BY_GRADIENT = ("gradient", "hybrid")


def lacks(manifest: Manifest, name: str) -> str | None:
    """What this bundle would need for a planner of that name to run; None where it has it all."""
    if name not in BY_GRADIENT:
        return None
    if PREDICTOR_VJP not in manifest.files:
        return f"{PREDICTOR_VJP}, the predictor's derivative"
    for term in manifest.cost:
        head = term.source.removeprefix("head:")
        if term.source != head and manifest.heads[head].gradient is None:
            return f"heads.{head}.gradient, the derivative of a head that the cost names"
    return None


def planners_of(manifest: Manifest) -> list[str]:
    """Names of the planners that can run with this bundle."""
    return [name for name in PLANNERS if lacks(manifest, name) is None]


def make_planner(
    manifest: Manifest,
    model: WorldModel,
    overrides: Mapping[str, Any] | None = None,
    seed: int = 0,
    engine: Engine | None = None,
    cache: Path | None = None,
) -> IteratedPlanner:
    """The manifest's planner; `overrides` replaces `name` (one of `PLANNERS`) or any field of `PlannerConfig`.

    Args:
        manifest: of the bundle.
        model: a bundle's, or anyone's.
        overrides: of the manifest's settings.
        seed: of the samples.
        engine: `graph` compiles each iteration to one plan graph; `numpy` calls the model's graphs step by step and
            takes any model, objective and guardrail. Both give the same plans. None is `graph` for a bundle's model on
            ONNX Runtime, else `numpy`.
        cache: folder of compiled plan graphs; None takes the user's.

    Raises:
        PlanningError: An unknown planner or setting, a value out of range, no more samples than guesses, a horizon that
            the predictor cannot go, or a planner that needs derivatives which bundle or model do not have.
        BundleError, ModelError: Derivatives, or graphs of single steps, that cannot be opened or are off their golden
            values.
    """
    known = [item.name for item in fields(PlannerConfig)]
    settings = {name: value for name in known if (value := getattr(manifest.planner, name, None)) is not None}
    changes = dict(overrides or {})
    name = changes.pop("name", manifest.planner.name)
    if name not in PLANNERS:
        raise PlanningError(f"no planner is called '{name}': use one of {', '.join(PLANNERS)}")
    for key in changes:
        if key not in known:
            raise PlanningError(f"no planner setting is called '{key}': use one of name, {', '.join(known)}")
    config, predictor = PlannerConfig(**{**settings, **changes}), manifest.predictor
    guesses = PLANNERS[name].guesses(config)
    if config.samples <= guesses:
        raise PlanningError(
            f"planner setting 'samples' is {config.samples} and must be above {guesses}, the guesses always scored"
        )
    if not predictor.sliding and config.horizon > predictor.max_context:
        raise PlanningError(
            f"planner setting 'horizon' is {config.horizon}, and this bundle's predictor, which does not slide, goes "
            f"{predictor.max_context} steps at most"
        )
    if engine not in (None, *get_args(Engine)):
        raise PlanningError(f"no planning engine is called '{engine}': use one of {', '.join(get_args(Engine))}")
    if name in BY_GRADIENT and isinstance(model, OnnxWorldModel):
        if lacking := lacks(manifest, name):
            raise PlanningError(
                f"planner '{name}' needs {lacking}, which this bundle lacks: export it with its derivatives, or use "
                f"one of {', '.join(planners_of(manifest))}"
            )
        if engine == "numpy":
            model.open_derivatives()  # now, and not in the first plan
        else:
            model.check_derivatives()  # plan graphs have them inside: a second copy of their weights is of no use
    if isinstance(model, OnnxWorldModel):
        if engine == "numpy":
            return PLANNERS[name](model, config, seed)
        model.check_steps()
        return GraphPlanner(model, config, name, seed, cache=cache)
    if engine == "graph":
        raise PlanningError("engine graph needs a bundle's model on ONNX Runtime (OnnxWorldModel); use engine numpy")
    return PLANNERS[name](model, config, seed)
