"""Whether a bundle is what it says it is, one finding after another, with the error measured on each graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.errors import BundleError
from jepa_ros.golden import check_golden, golden_cases, tolerance
from jepa_ros.runtime import Session, choose_providers
from jepa_ros.world_model import OnnxWorldModel


@dataclass(frozen=True)
class Finding:
    """One thing that holds: what, and in what way."""

    what: str
    how: str


def check_bundle(path: Path, provider: str | None = None) -> Iterator[Finding]:
    """Everything that a robot checks when it opens a bundle, on one provider or on all that this package uses and this
    machine has.

    Raises:
        BundleError: what does not hold.
        ModelError: the provider is not installed, or a graph does not open on it.
    """
    bundle = load_bundle(path)
    manifest = bundle.manifest
    yield Finding("hashes", f"{len(manifest.files)} files have the sha256 that the manifest names")
    cases = golden_cases(manifest)
    yield Finding("signatures", f"inputs and outputs of {len(cases)} graphs are those that the manifest implies")
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
            OnnxWorldModel(bundle, providers=(name,))
            yield Finding(name, "the world model opens")
