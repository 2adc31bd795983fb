"""`jepa-export`: PyTorch checkpoints of any family to bundles, and their model cards."""

from __future__ import annotations

import math
import signal
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer

from jepa_ros.bundle.manifest import Mount
from jepa_ros.errors import JepaRosError
from jepa_ros_export import model_card as card
from jepa_ros_export import sigreg_jepa as family
from jepa_ros_export.derivative_command import derivative as derivative_command
from jepa_ros_export.family_command import add_family_commands
from jepa_ros_export.graph_form import OPSET, BatchOption, BatchSizeOption, GraphForm, OpsetOption
from jepa_ros_export.policy_command import policy_command
from jepa_ros_export.precision_command import precision
from jepa_ros_training.dataset import Runs, read_held_out
from jepa_ros_training.recipe import held_out_of

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


@app.command()
def sigreg_jepa(
    checkpoint: Annotated[Path, typer.Option(help="of jepa_ros_training.train")],
    out: Annotated[Path, typer.Option(help="the bundle's folder; a bundle there is replaced")],
    value: Annotated[Path | None, typer.Option(help="value head of jepa_ros_training.value")] = None,
    data: Annotated[Path, typer.Option(help="folder of run files; those that training held out calibrate")] = Path(
        "data/room0"
    ),
    hold_out: Annotated[
        int | None,
        typer.Option(min=1, help="how many of the last runs the model never saw, if the checkpoint does not name them"),
    ] = None,
    fov: Annotated[
        float | None,
        typer.Option(help="the camera's horizontal field of view after the crop, degrees; default: as the runs say"),
    ] = None,
    mount: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(help="where it sat: x y z from base_link in m, pitch in rad, nose-down; default: as the runs say"),
    ] = None,
    name: Annotated[str | None, typer.Option(help="default: the folder's name")] = None,
    cost: Annotated[str | None, typer.Option(help="value or latent; default: value where there is a head")] = None,
    goals: Annotated[Path | None, typer.Option(help="folder of PNG views that become named goals")] = None,
    source: Annotated[str, typer.Option(help="where model and data are from")] = family.Export.source,
    derivative: Annotated[
        bool, typer.Option(help="write the derivatives of predictor and head too, for planning by gradients")
    ] = True,
    opset: OpsetOption = OPSET,
    batch: BatchOption = "dynamic",
    batch_size: BatchSizeOption = None,
) -> None:
    """Export the default family: encoder, predictor, value head, golden values, calibration."""
    torch.set_num_threads(1)
    chosen = cost or ("latent" if value is None else "value")
    try:
        if chosen not in ("value", "latent"):
            raise JepaRosError(f"--cost {chosen}: must be value or latent")
        form = GraphForm(opset, batch, batch_size).checked()
        held_out = read_held_out(data, _held_out(checkpoint, value, hold_out))
        request = family.Export(
            checkpoint,
            out,
            fov_rad=_field_of_view(fov, held_out, data),
            mount=_mount(mount, held_out, data),
            value=value,
            name=name or out.name,
            cost=chosen,
            goals=goals,
            source=source,
            form=form,
            derivative=derivative,
        )
        errors = family.export(request, held_out)
    except JepaRosError as error:
        typer.echo(f"export: {error}", err=True)
        raise typer.Exit(1) from error
    for graph, error in errors.items():
        typer.echo(f"{graph:20s} differs from PyTorch by {error:.1e} relative")
    typer.echo(f"bundle written to {out}")


def _held_out(checkpoint: Path, value: Path | None, option: int | None) -> int | tuple[str, ...]:
    """Runs that neither model nor head has seen."""
    names = held_out_of(checkpoint, option)
    fitted = names if value is None else held_out_of(value, None)
    if isinstance(names, tuple) and isinstance(fitted, tuple) and set(fitted) != set(names):
        raise JepaRosError(
            f"--value {value}: the head was fitted with other runs held out than {checkpoint} was trained with; fit it "
            "again with `python -m jepa_ros_training.value`"
        )
    return names


def _field_of_view(degrees: float | None, runs: Runs, data: Path) -> float:
    """In rad: what is given, else what the run files say. A robot refuses a lens of another view, so never a guess."""
    radians = runs.fov_rad if degrees is None else math.radians(degrees)
    if radians is None:
        raise JepaRosError(
            f"--fov: the run files in {data} do not say which camera saw them; give its horizontal field of view in "
            "degrees, after the crop (the simulator's is 90)"
        )
    if not 0.0 < radians < math.pi:
        raise JepaRosError(f"--fov: {math.degrees(radians):g} degrees must lie between 0 and 180")
    return radians


def _mount(given: tuple[float, float, float, float] | None, runs: Runs, data: Path) -> Mount:
    """What is given, else what the run files say."""
    found = given or runs.mount
    if found is None:
        raise JepaRosError(
            f"--mount: the run files in {data} do not say where the camera sat; give x y z from base_link in m and its "
            "pitch in rad (the simulator's is 0.32 0 0.06 0)"
        )
    if not all(map(math.isfinite, found)):
        raise JepaRosError(f"--mount {' '.join(map(str, found))}: must be four finite numbers")
    x, y, z, pitch = found
    return Mount(x=x, y=y, z=z, pitch=pitch)


@app.command()
def model_card(
    bundle: Annotated[Path, typer.Option(help="the bundle's folder")],
    training: Annotated[Path, typer.Option(help="--out folder of jepa_ros_training.train")],
    evaluation: Annotated[Path | None, typer.Option(help="JSON of jepa_ros_simulation.evaluate")] = None,
) -> None:
    """Write a bundle's README.md from the training log and an evaluation."""
    try:
        path = card.write_model_card(bundle, training, evaluation)
    except JepaRosError as error:
        typer.echo(f"model card: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"written to {path}")


add_family_commands(app)
app.command()(precision)
app.command("derivative")(derivative_command)
app.command("policy")(policy_command)


def main() -> None:
    """Entry point. A SIGTERM ends an export as Ctrl-C does: what is half written is taken away."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    app()


if __name__ == "__main__":
    main()
