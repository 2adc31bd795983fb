"""`jepa-export precision`: a bundle of fp32 to one of fp16 or int8; also `python -m jepa_ros_export.precision_command`,
which needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console

from jepa_ros.errors import JepaRosError
from jepa_ros_export.precision import Method, Precision, Request, lower_bundle


def precision(
    bundle: Annotated[Path, typer.Option(help="the fp32 bundle's folder; it stays as it is")],
    out: Annotated[Path, typer.Option(help="the new bundle's folder; a bundle there is replaced")],
    precision: Annotated[str, typer.Option(help="fp16 or int8")],
    calibrate: Annotated[
        Path | None,
        typer.Option(help="bag or folder of run files: gives int8 its ranges, and the starts and goals to compare"),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="of int8: static ranges from --calibrate, or dynamic; default: static where it is given"),
    ] = None,
    plans: Annotated[
        int, typer.Option(min=0, help="most pairs of start and goal on which plans are compared; 0: none")
    ] = 8,
) -> None:
    """Write a bundle's graphs at a lower precision, and say what that changes."""
    console = Console()
    request = Request(cast("Precision", precision), calibrate, cast("Method | None", method), plans)
    try:
        with console.status(f"converting to {precision}"):
            report = lower_bundle(
                bundle, out, request, lambda line: console.print(line, highlight=False, soft_wrap=True)
            )
    except JepaRosError as error:
        typer.echo(f"jepa-export: {error}", err=True)
        raise typer.Exit(1) from error
    before, after = (size / 1e6 for size in report.sizes)
    console.print(f"bundle written to {out} ({before:.1f} MB → {after:.1f} MB)", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(precision)
