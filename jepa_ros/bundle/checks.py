"""Whether a bundle is what it says it is, one finding after another, with the error measured on each graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jepa_ros.bundle.loader import Bundle, load_bundle
from jepa_ros.errors import BundleError, PlanningError
from jepa_ros.golden import check_golden, golden_cases, tolerance
from jepa_ros.planning.factory import make_planner, planners_of
from jepa_ros.planning.mpc import LatentMPC
from jepa_ros.planning.pursuit import refuse_what_a_robot_has_not
from jepa_ros.protocols import WorldModel
from jepa_ros.runtime import Session, choose_providers
from jepa_ros.world_model import OnnxWorldModel


@dataclass(frozen=True)
class Finding:
    """One thing that holds: what, and in what way."""

    what: str
    how: str


def check_bundle(path: Path, provider: str | None = None) -> Iterator[Finding]:
    """Everything that a robot checks when it opens a bundle, on one provider or on all that this package uses and this
    machine has; that it can be planned with, and whether a robot can run it, which is said and not refused.

    Raises:
        BundleError: what does not hold.
        ModelError: the provider is not installed, or a graph does not open on it.
    """
    bundle = load_bundle(path)
    manifest = bundle.manifest
    yield Finding("hashes", f"{len(manifest.files)} files have the sha256 that the manifest names")
    cases = golden_cases(manifest)
    yield Finding("signatures", f"inputs and outputs of {len(cases)} graphs are those that the manifest implies")
    model: OnnxWorldModel | None = None
    for name in choose_providers(None if provider is None else (provider,)):
        for case in cases:
            session = Session(bundle.file(case.file), providers=(name,))
            if session.provider != name:
                if provider is not None:
                    raise BundleError(f"bundle {path}: {case.file} does not run on {name} here, it fell back")
                yield Finding(name, f"is installed and does not work here, it falls back to {session.provider}")
                break
            off = check_golden(bundle, {case.file: session})[case.what]
            yield Finding(name, f"{case.what} is off by {off:.1e}, {tolerance(manifest, name):.1e} is allowed")
        else:
            model = OnnxWorldModel(bundle, providers=(name,))
            yield Finding(name, "the world model opens")
    if model is not None:
        yield Finding("planner", check_plannable(bundle, model))
    yield Finding("robot", _robot(bundle))


def check_plannable(bundle: Bundle, model: WorldModel) -> str:
    """Make the planner and the control loop that the manifest asks for, without a plan.

    A planner that is not available is no error, since another may be asked for; its settings are held to CEM's rules.

    Args:
        bundle: an opened bundle, or one that is about to be written; only its folder's name and manifest are read.
        model: its world model.

    Returns:
        what plans, in a few words.

    Raises:
        BundleError: settings, bounds or calibration that no plan can be made with.
    """
    manifest = bundle.manifest
    name = manifest.planner.name
    others = planners_of(manifest)
    available = name in others
    try:
        planner = make_planner(manifest, model, {} if available else {"name": "cem"})
        LatentMPC(model, planner, manifest)
    except PlanningError as error:
        raise BundleError(f"bundle {bundle.path}: nothing can plan with it: {error}") from error
    config = planner.config
    asked = name if available else f"{name} is not available, another must be asked for ({', '.join(others)}):"
    return f"{asked} plans {config.horizon} steps with {config.samples} samples"


def _robot(bundle: Bundle) -> str:
    try:
        refuse_what_a_robot_has_not(bundle.manifest)
    except BundleError as error:
        return f"plans in the core; no robot can run it: {error}"
    return "nothing in the manifest keeps it from driving one"
