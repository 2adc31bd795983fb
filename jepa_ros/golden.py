"""golden.npz: inputs of every graph and what the original model gave for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jepa_ros.bundle.loader import ENCODER, GOLDEN, PREDICTOR, PREDICTOR_VJP, Bundle
from jepa_ros.bundle.manifest import Manifest
from jepa_ros.bundle.signatures import PREDICTOR_CONDITION, PREDICTOR_STEP, derivatives, expected_signatures
from jepa_ros.errors import BundleError, ModelError
from jepa_ros.runtime import Session

Array = NDArray[np.generic]


@dataclass(frozen=True)
class GoldenCase:
    """A graph, and what golden.npz calls each of its inputs and outputs.

    Attributes:
        what: for messages.
        file: of the graph.
        inputs, outputs: golden names by the graph's.
    """

    what: str
    file: str
    inputs: dict[str, str]
    outputs: dict[str, str]


def golden_cases(manifest: Manifest) -> list[GoldenCase]:
    """One for each graph and each head of the bundle; a derivative shares the inputs of what it is of, and the two
    graphs of the incremental predictor share the condition."""
    signatures = expected_signatures(manifest)
    alone = len(manifest.state) == 1
    contexts = {tensor.name: "context" if alone else f"context_{tensor.name}" for tensor in manifest.state}
    found = []
    for file, what in ((ENCODER, "encoder"), (PREDICTOR, "predictor"), (PREDICTOR_VJP, "predictor_vjp")):
        if file in signatures:
            named = {} if file == ENCODER else contexts
            inputs = {part: named.get(part, part) for part in signatures[file].inputs}
            found.append(GoldenCase(what, file, inputs, {part: part for part in signatures[file].outputs}))
    for file, what in ((PREDICTOR_CONDITION, "predictor_condition"), (PREDICTOR_STEP, "predictor_step")):
        if file in signatures:
            inputs, outputs = (
                {part: f"step_{part}" for part in parts}
                for parts in (signatures[file].inputs, signatures[file].outputs)
            )
            found.append(GoldenCase(what, file, inputs, outputs))
    for name, head in manifest.heads.items():
        inputs = {part: f"head_{name}_{part}" for part in head.inputs}
        found.append(GoldenCase(f"head {name}", head.file, inputs, {head.output: f"head_{name}_output"}))
        if head.gradient is not None:
            inputs = {**inputs, "cotangent": f"head_{name}_cotangent"}
            outputs = {"grad_latent": f"head_{name}_grad_latent"}
            found.append(GoldenCase(f"head {name} vjp", head.gradient, inputs, outputs))
    return found


def check_golden(bundle: Bundle, sessions: Mapping[str, Session]) -> dict[str, float]:
    """Run the graphs that are open on their golden inputs.

    Args:
        bundle: whose golden.npz it is.
        sessions: by file.

    Returns:
        The largest relative error of each graph, by what it is.

    Raises:
        BundleError: a golden value is missing, empty or none that the graphs take, or an output is further off than
            the manifest's tolerance for this provider.
    """
    manifest = bundle.manifest
    golden, where = bundle.golden(), f"bundle {manifest.name}: {GOLDEN}"
    cases = [case for case in golden_cases(manifest) if case.file in sessions]
    needed = sorted({key for case in cases for key in (*case.inputs.values(), *case.outputs.values())})
    if missing := [key for key in needed if key not in golden]:
        raise BundleError(f"{where} lacks {', '.join(missing)}; export the bundle again")
    if empty := [key for key in needed if golden[key].size == 0 or golden[key].dtype.kind not in "fiu"]:
        raise BundleError(f"{where} has no numbers in {', '.join(empty)}; export the bundle again")
    errors: dict[str, float] = {}
    for case in cases:
        session = sessions[case.file]
        allowed = tolerance(manifest, session.provider, case.file)
        try:
            found = session.run_rows(**{part: golden[key] for part, key in case.inputs.items()})
        except ModelError as error:
            raise BundleError(f"{where} has inputs that a graph does not take ({error})") from error
        for part, key in case.outputs.items():
            off = relative_error(found[part], golden[key])
            errors[case.what] = max(errors.get(case.what, 0.0), off)
            if not off <= allowed:
                raise BundleError(
                    f"bundle {manifest.name}: {key} is off its golden value by {off:.1e} on {session.provider}, more "
                    f"than {allowed:.1e}; export it again or raise calibration.tolerance"
                )
    return errors


def tolerance(manifest: Manifest, provider: str, file: str = PREDICTOR) -> float:
    """Relative error allowed to a graph on a provider; the widest of the manifest's where it names none for this
    one."""
    given = manifest.calibration.tolerance
    allowed = given.get(f"{provider}:{manifest.precision}", max(given.values(), default=1e-4))
    return max(allowed, manifest.calibration.derivative_tolerance or 0.0) if file in derivatives(manifest) else allowed


def relative_error(found: Array, expected: Array) -> float:
    """Largest absolute difference over the root mean square of what is expected; infinite where shapes differ or either
    holds a value that is not a number."""
    if found.shape != expected.shape or not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return float("inf")
    wide = expected.astype(np.float64)
    scale = float(np.sqrt(np.mean(wide**2))) or 1.0
    return float(np.max(np.abs(found.astype(np.float64) - wide))) / scale
