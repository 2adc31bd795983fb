"""The command of each published family: checkpoint, settings, and where the bundle goes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, cast

import torch
import typer
from pydantic import ValidationError
from rich.console import Console

from jepa_ros.errors import BundleError, JepaRosError
from jepa_ros_export.checkpoint import join, pick, read_checkpoint
from jepa_ros_export.families import FAMILIES, check_family, family_module, one_model
from jepa_ros_export.family import Parts
from jepa_ros_export.family_settings import default_config, read_config
from jepa_ros_export.frames import read_windows
from jepa_ros_export.goals import goal_views
from jepa_ros_export.graph_form import OPSET, BatchOption, BatchSizeOption, GraphForm, OpsetOption
from jepa_ros_export.precision import Precision, Request, lower_in_place
from jepa_ros_export.recordings import calibrate, fitting
from jepa_ros_export.writer import Report, write_bundle
from jepa_ros_training.dataset import read_runs


def add_family_commands(app: typer.Typer) -> None:
    """Give the app a command for each family, all of one form."""
    for name, title in FAMILIES.items():
        app.command(name=name.replace("_", "-"), help=f"Export {title}.", rich_help_panel="Published families")(
            _command(name)
        )


def _command(name: str) -> Any:
    def export(
        out: Annotated[Path | None, typer.Option(help="the bundle's folder; a bundle there is replaced")] = None,
        checkpoint: Annotated[
            list[str] | None,
            typer.Option(help="file or folder of weights; several as PART=PATH, which puts PART. before their names"),
        ] = None,
        prefix: Annotated[
            str | None,
            typer.Option(help="of names, where a file holds several models, as model. and ema.; . is what has none"),
        ] = None,
        config: Annotated[
            Path | None, typer.Option(help="YAML of settings that the checkpoint does not hold; see --show-config")
        ] = None,
        random_weights: Annotated[
            str | None, typer.Option(help="tiny or full: no checkpoint, fresh weights, to try and to time with")
        ] = None,
        goals: Annotated[Path | None, typer.Option(help="folder of PNG views that become named goals")] = None,
        data: Annotated[
            Path | None,
            typer.Option(help="folder of run files that the model never saw; calibrates arrival and surprise"),
        ] = None,
        derivative: Annotated[
            bool, typer.Option(help="write predictor_vjp.onnx too, for planning by gradients")
        ] = True,
        opset: OpsetOption = OPSET,
        batch: BatchOption = "dynamic",
        batch_size: BatchSizeOption = None,
        precision: Annotated[
            str | None, typer.Option(help="fp16 or int8: of the graphs, once they are held against PyTorch in fp32")
        ] = None,
        recordings: Annotated[
            Path | None,
            typer.Option("--calibrate", help="of --precision: bag or folder of run files, which gives int8 its ranges"),
        ] = None,
        show_config: Annotated[bool, typer.Option(help="print the default settings as YAML, and end")] = False,
    ) -> None:
        console = Console()
        try:
            if show_config:
                console.print(default_config(name), end="", markup=False, highlight=False, soft_wrap=True)
                return
            if out is None:
                raise BundleError(f"export {name}: --out is missing: say where the bundle goes")
            torch.set_num_threads(1)
            form = GraphForm(opset, batch, batch_size).checked()
            request = _lowering(precision, recordings)
            parts = parts_of(name, checkpoint or [], config, random_weights, out.name, prefix)
            report = _write(parts, out, goals, data, derivative, form, request, console)
        except JepaRosError as error:
            typer.echo(f"jepa-export: {error}", err=True)
            raise typer.Exit(1) from error
        console.print(f"bundle written to {out} ({report.size / 1e6:.1f} MB)", highlight=False, soft_wrap=True)
        if data is None:
            console.print("its calibration is a placeholder: for a robot, export with --data", soft_wrap=True)

    return export


def _lowering(precision: str | None, recordings: Path | None) -> Request | None:
    """What --precision and --calibrate ask for.

    Raises:
        BundleError: one of them is wrong, or the second is given alone.
    """
    if precision is None:
        if recordings is not None:
            raise BundleError(
                f"--calibrate {recordings}: goes with --precision; --data calibrates arrival and surprise"
            )
        return None
    return Request(cast("Precision", precision), recordings).checked()


def _write(
    parts: Parts,
    out: Path,
    goals: Path | None,
    data: Path | None,
    derivative: bool,
    form: GraphForm,
    request: Request | None,
    console: Console,
) -> Report:
    """With a line on what is being done, and one on each thing that is."""
    began, runs = time.perf_counter(), None if data is None else read_runs(data)
    recorded = request and request.calibrate
    if runs is not None:
        fitting(parts.manifest, runs)  # refused before the export, which may take minutes
    windows = read_windows(recorded, parts.manifest) if recorded else None

    def finish(folder: Path) -> None:
        if request is not None:
            lower_in_place(folder, request, windows, say)
        if runs is not None:
            calibrate(folder, runs)  # of the graphs that will run

    with console.status("exporting") as status:

        def say(line: str) -> None:
            console.print(line, highlight=False, soft_wrap=True)
            status.update(f"exporting, {time.perf_counter() - began:.0f} s so far")

        views = goal_views(goals)
        return write_bundle(parts, out, views, with_derivative=derivative, form=form, finish=finish, say=say)


def parts_of(
    name: str,
    checkpoint: list[str],
    config: Path | None,
    random_weights: str | None,
    bundle: str,
    prefix: str | None = None,
) -> Parts:
    """A family's model with the weights and settings that were named.

    Args:
        bundle: its name, where the settings give none.
        prefix: of names, in files that hold several models; see `checkpoint.pick`.

    Raises:
        BundleError: one sentence that names the option, file, key or field.
    """
    module = family_module(name)
    if prefix is not None and (random_weights is not None or hasattr(module, "build_from_files")):
        raise BundleError(f"export {name}: --prefix {prefix}: goes with a --checkpoint of named weights")
    if hasattr(module, "build_from_files"):
        if config is None:
            raise BundleError(f"export {name}: --config is missing: the manifest of the model")
        return _checked(module.build_from_files, _files(name, checkpoint), config)
    if (random_weights is None) == (not checkpoint):
        raise BundleError(f"export {name}: give either --checkpoint or --random-weights")
    if random_weights not in (None, "tiny", "full"):
        raise BundleError(f"export {name}: --random-weights {random_weights}: must be tiny or full")
    settings = read_config(module, config, random_weights)
    if not settings.name:
        settings = settings.model_copy(update={"name": bundle})
    if random_weights is not None:
        torch.manual_seed(0)
        state = module.random_checkpoint(settings)
    else:
        state = _weights(name, checkpoint, prefix)
        check_family(state, name, ", ".join(checkpoint))
    return _checked(module.build, state, settings)


def _files(name: str, checkpoint: list[str]) -> dict[str, Path]:
    """One file a part.

    Raises:
        BundleError: a part that is given twice.
    """
    files: dict[str, Path] = {}
    for part, path in map(_part, checkpoint):
        if part in files:
            raise BundleError(f"export {name}: --checkpoint {part}= is given twice: {files[part]} and {path}; give one")
        files[part] = path
    return files


def _checked(build: Any, *given: Any) -> Parts:
    try:
        parts: Parts = build(*given)
    except ValidationError as error:
        found = error.errors()[0]
        field = ".".join(map(str, found["loc"])) or "the whole"
        raise BundleError(
            f"export: settings do not fit one another: {field}: {found['msg'].removeprefix('Value error, ')}"
        ) from error
    return parts


def _weights(name: str, checkpoint: list[str], prefix: str | None) -> dict[str, torch.Tensor]:
    """The tensors of all files, their names behind the part's; of a file that has names under the prefix, these alone.

    Raises:
        BundleError: two tensors of one name, a file with several models and no prefix, or a prefix that none has.
    """
    files = {given: (part, read_checkpoint(path)) for given in checkpoint for part, path in [_part(given)]}
    if prefix is not None and not any(pick(tensors, prefix) for _, tensors in files.values()):
        begins = sorted({key.partition(".")[0] for _, tensors in files.values() for key in tensors})
        raise BundleError(
            f"export {name}: --prefix {prefix}: no tensor's name begins so; they begin with {', '.join(begins[:8])}"
        )
    chosen = {given: (part, one_model(tensors, name, prefix, given)) for given, (part, tensors) in files.items()}
    return join(
        (given, {f"{part}.{key}" if part else key: tensor for key, tensor in tensors.items()})
        for given, (part, tensors) in chosen.items()
    )


def _part(given: str) -> tuple[str, Path]:
    """PART=PATH, or a path alone."""
    part, sign, path = given.partition("=")
    return (part, Path(path)) if sign and not Path(given).exists() else ("", Path(given))
