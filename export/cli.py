"""`python -m jepa_ros_export.cli`: PyTorch checkpoints to bundles, and their model cards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from jepa_ros.errors import JepaRosError
from jepa_ros_export import model_card as card
from jepa_ros_export import sigreg_jepa as family
from jepa_ros_training.dataset import read_runs

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


@app.command()
def sigreg_jepa(
    checkpoint: Annotated[Path, typer.Option(help="of jepa_ros_training.train")],
    out: Annotated[Path, typer.Option(help="the bundle's folder; a bundle there is replaced")],
    value: Annotated[Path | None, typer.Option(help="value head of jepa_ros_training.value")] = None,
    data: Annotated[Path, typer.Option(help="run files; the last ones calibrate")] = Path("data/room0"),
    hold_out: Annotated[int, typer.Option(min=1, help="how many of the last runs the model never saw")] = 20,
    name: Annotated[str | None, typer.Option(help="default: the folder's name")] = None,
    cost: Annotated[str | None, typer.Option(help="value or latent; default: value where there is a head")] = None,
    goals: Annotated[Path | None, typer.Option(help="folder of PNG views that become named goals")] = None,
) -> None:
    """Export the default family: encoder, predictor, value head, golden values, calibration."""
    torch.set_num_threads(1)
    chosen = cost or ("latent" if value is None else "value")
    try:
        if chosen not in ("value", "latent"):
            raise JepaRosError(f"--cost {chosen}: must be value or latent")
        request = family.Export(checkpoint, out, value=value, name=name or out.name, cost=chosen, goals=goals)
        errors = family.export(request, read_runs(data, slice(-hold_out, None)))
    except JepaRosError as error:
        typer.echo(f"export: {error}", err=True)
        raise typer.Exit(1) from error
    for graph, error in errors.items():
        typer.echo(f"{graph:20s} differs from PyTorch by {error:.1e} relative")
    typer.echo(f"bundle written to {out}")


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


if __name__ == "__main__":
    app()
