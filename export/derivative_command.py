"""`jepa-export derivative`: derivatives added to a bundle that was written without them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from jepa_ros.bundle.loader import GOLDEN, PREDICTOR, PREDICTOR_VJP, Bundle, load_bundle, write_manifest
from jepa_ros.errors import BundleError, JepaRosError
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_export.added_derivatives import add_derivatives
from jepa_ros_export.folder import replacing
from jepa_ros_export.graphs import TOLERANCE, check_parity, opset_of
from jepa_ros_export.sigreg_jepa import FAMILY
from jepa_ros_training.warm_start import load_predictor, load_value_head


def derive_bundle(source: Path, out: Path, say: Callable[[str], None] = lambda _: None) -> dict[str, float]:
    """Write a bundle with the derivatives of its predictor and value heads, or nothing. Its other graphs are copied.

    The modules are built again from the graphs' weights, which those of the project's own family allow, and held
    against the graphs before anything is derived from them.

    Args:
        source: the bundle's folder; out: the new one's, which may be the same.
        say: takes a line on each graph.

    Returns:
        The largest relative error of each derivative against autograd, by file.

    Raises:
        JepaRosError: a bundle of another family or precision, one that has derivatives already, weights that do not
            make the graphs that are there, or a derivative that differs from autograd; nothing is changed.
    """
    bundle = load_bundle(source)
    _check(bundle)
    OnnxWorldModel(bundle)
    manifest, golden = bundle.manifest, bundle.golden()
    heads = {name: load_value_head(bundle, head.file) for name, head in manifest.heads.items()}
    predictor = load_predictor(bundle).requires_grad_(False)
    _hold(bundle, predictor, PREDICTOR, {"latent": golden["context"], "action": golden["action"]}, "next")
    for name, head in heads.items():
        spec = manifest.heads[name]
        inputs = {part: golden[f"head_{name}_{part}"] for part in spec.inputs}
        _hold(bundle, head.requires_grad_(False), spec.file, inputs, spec.output)
    with replacing(out) as folder:
        for name in (*manifest.files, "README.md"):
            if (source / name).is_file() and name != GOLDEN:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source / name, folder / name)
        added = add_derivatives(folder, manifest, golden, predictor, heads, opset_of(bundle), TOLERANCE, say)
        np.savez_compressed(folder / GOLDEN, **{**golden, **added.golden})
        write_manifest(folder, added.manifest)
        OnnxWorldModel(load_bundle(folder)).open_derivatives()
    return added.errors


def _check(bundle: Bundle) -> None:
    """Refuse what cannot be derived, with what to do instead."""
    manifest, where = bundle.manifest, f"bundle {bundle.path}"
    if manifest.family != FAMILY:
        raise BundleError(
            f"{where}: the weights of family {manifest.family} cannot be read back from its graphs; export it again "
            "from the checkpoint, which writes the derivatives"
        )
    if manifest.precision != "fp32":
        raise BundleError(f"{where}: is {manifest.precision}; add the derivatives to the fp32 one it was made from")
    if PREDICTOR_VJP in manifest.files:
        raise BundleError(f"{where}: has {PREDICTOR_VJP} already")


def _hold(bundle: Bundle, module: torch.nn.Module, file: str, inputs: dict[str, np.ndarray], output: str) -> None:
    """Refuse a module that does not say what the graph does."""
    given = {part: torch.from_numpy(np.array(array)) for part, array in inputs.items()}
    with torch.no_grad():
        found = module(*given.values()).numpy()
    try:
        check_parity(bundle.file(file), given, {output: found})
    except BundleError as error:
        raise BundleError(
            f"bundle {bundle.path}: the module with the weights of {file} does not say what the graph says; export it "
            "again from the checkpoint"
        ) from error


def derivative(
    bundle: Annotated[Path, typer.Argument(help="folder of a bundle of the project's own family")],
    out: Annotated[Path | None, typer.Option(help="the new bundle's folder; default: the bundle is changed")] = None,
) -> None:
    """Add predictor_vjp.onnx and the value heads' gradients to a bundle, for planning by gradients."""
    torch.set_num_threads(1)
    try:
        derive_bundle(bundle, out or bundle, typer.echo)
    except JepaRosError as error:
        typer.echo(f"jepa-export: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"bundle written to {out or bundle}; one that was signed must be signed again")
