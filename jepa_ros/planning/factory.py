"""The planner that a bundle asks for, with what the user overrides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from jepa_ros.bundle.manifest import Manifest
from jepa_ros.errors import PlanningError
from jepa_ros.planning.cem import CEM
from jepa_ros.planning.config import GUESSES, PlannerConfig
from jepa_ros.planning.mppi import MPPI
from jepa_ros.planning.sampling import SamplingPlanner
from jepa_ros.protocols import WorldModel

PLANNERS: dict[str, type[SamplingPlanner]] = {"cem": CEM, "mppi": MPPI}


def make_planner(
    manifest: Manifest, model: WorldModel, overrides: Mapping[str, Any] | None = None, seed: int = 0
) -> SamplingPlanner:
    """The manifest's planner; `overrides` replaces `name` ("cem" or "mppi") or any field of `PlannerConfig`.

    Raises:
        PlanningError: An unknown planner or setting, a value out of range, no more samples than guesses, or a horizon
            that the predictor cannot go.
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
    guesses = GUESSES + config.policy_samples
    if config.samples <= guesses:
        raise PlanningError(
            f"planner setting 'samples' is {config.samples} and must be above {guesses}, the guesses always scored"
        )
    if not predictor.sliding and config.horizon > predictor.max_context:
        raise PlanningError(
            f"planner setting 'horizon' is {config.horizon}, and this bundle's predictor, which does not slide, goes "
            f"{predictor.max_context} steps at most"
        )
    return PLANNERS[name](model, config, seed)
