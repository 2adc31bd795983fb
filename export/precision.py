"""A bundle → the same at a lower precision, with what that changes, measured. No torch."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from jepa_ros.bundle.loader import Bundle, load_bundle, sha256, write_manifest
from jepa_ros.bundle.manifest import MANIFEST_NAME, Manifest
from jepa_ros.bundle.signatures import derivatives, expected_signatures
from jepa_ros.errors import BundleError
from jepa_ros.golden import golden_cases, relative_error
from jepa_ros.runtime import Session
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_export.folder import replacing
from jepa_ros_export.frames import Inputs, Windows, graph_inputs, read_windows
from jepa_ros_export.low_precision import copy_graph, external_files, to_fp16, to_int8
from jepa_ros_export.plan_change import PlanChange, plan_change

Precision = Literal["fp16", "int8"]
Method = Literal["dynamic", "static"]

# Relative error of a graph's worst value from which nothing is written. Measured: fp16 0.0008 to 0.023 on eight models;
# int8 0.04 to 0.16 on them, and 0.63 on one edge input of a ninth, whose one plan was none the worse (docs/export.md).
# 1 is a value as far off as values are large.
_REFUSED = {"fp16": 0.05, "int8": 1.0}
# Tolerance over what was measured here. This CPU computes fp16 in fp32 and rounds what it stores; with every operation
# in fp16, as other processors may do it (onnx's reference evaluator), the same eight are up to 5.0 times as far off.
_MARGIN = {"fp16": 8.0, "int8": 2.0}
_CUDA = 2.0  # tolerance over the CPU's; not measured
_LEAST = 1e-4  # what fp32 is allowed

_CPU = ("CPUExecutionProvider",)


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        precision: of the graphs.
        calibrate: bag or run files, by which int8 gets its ranges and plans are compared; None for no recordings.
        method: of int8: `static` ranges from the recordings, or `dynamic`, measured in every run; None is static where
            there are recordings.
        plans: pairs of start and goal for which plans are compared; 0 compares none.
    """

    precision: Precision
    calibrate: Path | None = None
    method: Method | None = None
    plans: int = 8

    def checked(self) -> Request:
        """With the method filled in.

        Raises:
            BundleError: options that do not go together, named.
        """
        if self.precision not in _REFUSED:
            raise BundleError(f"--precision {self.precision}: must be fp16 or int8")
        if self.method not in (None, "dynamic", "static"):
            raise BundleError(f"--method {self.method}: must be dynamic or static")
        if self.precision == "fp16" and self.method is not None:
            raise BundleError(f"--method {self.method}: is for int8; fp16 has no ranges to measure")
        if self.method == "static" and self.calibrate is None:
            raise BundleError("--method static: needs --calibrate, a bag or run files to measure the ranges on")
        if self.plans < 0:
            raise BundleError(f"--plans {self.plans}: must not be negative")
        method = self.method or ("dynamic" if self.calibrate is None else "static")
        return Request(self.precision, self.calibrate, method, self.plans)


@dataclass(frozen=True)
class Report:
    """Largest relative error of each graph against the original; bytes of the two bundles; what became of plans."""

    errors: dict[str, float]
    sizes: tuple[int, int]
    change: PlanChange | None


def lower_bundle(source: Path, out: Path, request: Request, say: Callable[[str], None] = lambda _: None) -> Report:
    """Write another bundle of lower precision beside a bundle of fp32, or nothing.

    Args:
        source: the bundle's folder; it is not changed.
        out: the new one's; a bundle there is replaced once the new one is complete.
        request: precision and how.
        say: takes a line on each thing that was measured.

    Raises:
        BundleError: options or recordings that do not fit, a bundle that is not fp32, graphs that cannot be converted,
            or results too far off the original; nothing is left behind.
    """
    request = request.checked()
    if out.exists() and out.resolve() == source.resolve():
        raise BundleError(f"--out {out}: is the bundle itself; choose another folder")
    bundle = load_bundle(source)
    windows = None if request.calibrate is None else read_windows(request.calibrate, bundle.manifest)
    with replacing(out) as folder:
        return _lower(bundle, folder, request, windows, say)


def lower_in_place(
    folder: Path, request: Request, windows: Windows | None, say: Callable[[str], None] = lambda _: None
) -> Report:
    """The same for a bundle that nobody uses yet: the folder's files are replaced.

    Args:
        windows: what `request.calibrate` names, read.

    Raises:
        BundleError: as `lower_bundle`; the folder is then as it was.
    """
    request = request.checked()
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as beside:
        made = Path(beside) / folder.name
        made.mkdir()
        report = _lower(load_bundle(folder), made, request, windows, say)
        if not (folder / "README.md").is_file():
            (made / "README.md").unlink()  # the bundle that it would speak of will not be there
        folder.rename(Path(beside) / "original")
        made.rename(folder)
    return report


def _lower(
    bundle: Bundle, folder: Path, request: Request, windows: Windows | None, say: Callable[[str], None]
) -> Report:
    manifest = bundle.manifest
    if manifest.precision != "fp32":
        raise BundleError(f"bundle {bundle.path}: is {manifest.precision} already; lower the fp32 one it was made from")
    original = OnnxWorldModel(bundle, providers=_CPU)
    _convert(bundle, folder, request, original, windows)
    allowed = _REFUSED[request.precision]
    errors = _errors(bundle, folder)
    for what, off in errors.items():
        if not off <= allowed:
            raise BundleError(
                f"precision {request.precision}: {what} is off the original by {off:.1e} relative, more than "
                f"{allowed:.0e}; not written. {_advice(request)}"
            )
        say(f"{what:20s} is off the original by {off:.1e} relative")
    write_manifest(folder, _labelled(manifest, request, errors))
    change = None
    if request.plans:
        lowered = OnnxWorldModel(load_bundle(folder), providers=_CPU)
        change = plan_change(original, lowered, request.plans, windows)
        for line in change.lines(request.precision):
            say(line)
    return Report(errors, (_size(bundle.path), _size(folder)), change)


def _convert(bundle: Bundle, folder: Path, request: Request, original: OnnxWorldModel, windows: Windows | None) -> None:
    """Every file of the bundle at its place; graphs converted, but for int8 the derivatives: steps of 1/256 are no
    slopes."""
    graphs = list(expected_signatures(bundle.manifest))
    weights = {file for graph in graphs for file in external_files(bundle.path / graph)}
    values = bundle.golden()
    golden: dict[str, Inputs] = {
        case.file: {part: values[key] for part, key in case.inputs.items()} for case in golden_cases(bundle.manifest)
    }
    calibration: dict[str, Inputs] = {}
    if request.precision == "int8" and request.method == "static" and windows is not None:
        calibration = graph_inputs(original, windows, np.random.default_rng(0))
    for name in bundle.manifest.files:
        source, target = bundle.path / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name in graphs:
            if request.precision == "fp16":
                to_fp16(source, target, golden[name])
            elif name in derivatives(bundle.manifest):
                copy_graph(source, target)
            else:
                to_int8(source, target, calibration.get(name))
        elif source not in weights:
            shutil.copy(source, target)
    (folder / "README.md").write_text(_readme(bundle, request))


def _labelled(manifest: Manifest, request: Request, errors: dict[str, float]) -> Manifest:
    """The original's manifest with precision and tolerances."""
    tolerance = max(max(errors.values()) * _MARGIN[request.precision], _LEAST)
    given = {
        f"CPUExecutionProvider:{request.precision}": tolerance,
        f"CUDAExecutionProvider:{request.precision}": tolerance * _CUDA,
    }
    calibration = manifest.calibration.model_copy(update={"tolerance": given, "precision_error": errors})
    by = f"{manifest.created_by}; {_how(request)} by jepa_ros_export.precision"
    return manifest.model_copy(update={"precision": request.precision, "calibration": calibration, "created_by": by})


def _errors(bundle: Bundle, folder: Path) -> dict[str, float]:
    """Largest relative error of each graph in the folder against what the original model gave, on the CPU."""
    golden = bundle.golden()
    found: dict[str, float] = {}
    for case in golden_cases(bundle.manifest):
        session = Session(folder / case.file, providers=_CPU)
        outputs = session.run_rows(**{part: golden[key] for part, key in case.inputs.items()})
        found[case.what] = max(relative_error(outputs[part], golden[key]) for part, key in case.outputs.items())
    return found


def _advice(request: Request) -> str:
    if request.precision == "fp16":
        return "Stay with fp32"
    other = "--method dynamic" if request.method == "static" else "--method static with --calibrate"
    return f"Try {other}, or fp16"


def _how(request: Request) -> str:
    return request.precision if request.precision == "fp16" else f"int8 ({request.method})"


def _readme(bundle: Bundle, request: Request) -> str:
    """The original's model card, which is not of this bundle, under a line that says so."""
    note = (
        f"> Made {_how(request)} by `jepa-export precision` from the bundle whose manifest has the sha256\n"
        f"> `{sha256(bundle.path / MANIFEST_NAME)}`. "
    )
    card = bundle.path / "README.md"
    return f"{note}Figures below are of that one.\n\n{card.read_text()}" if card.is_file() else f"{note.rstrip()}\n"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
