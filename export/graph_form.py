"""How graphs are written, as the commands ask for it: the ONNX opset, and a batch that is free or fixed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from jepa_ros.bundle.layout import StateLayout
from jepa_ros.bundle.manifest import Manifest
from jepa_ros.bundle.plan_cost import planner_settings
from jepa_ros.errors import BundleError
from jepa_ros.prediction import most_rows

OPSET = 18
# What torch 2.13 writes and converts (onnxscript 0.7) for every family, parity held. Below, splits and normalisations
# have no form of their own; at 26, what it writes does not pass ONNX's check.
OPSETS = range(18, 26)
_BATCHES = ("dynamic", "static")

OpsetOption = Annotated[int, typer.Option("--opset", help=f"of the graphs, {OPSETS[0]} to {OPSETS[-1]}")]
BatchOption = Annotated[
    str, typer.Option("--batch", help="dynamic: graphs take any number of rows; static: a fixed one, see --batch-size")
]
BatchSizeOption = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        help="rows of static graphs, all but the encoder's; default: the planner's samples, or as many as memory holds",
    ),
]


@dataclass(frozen=True)
class GraphForm:
    """What is asked of every graph of a bundle.

    Attributes:
        opset: of ONNX's own operators.
        batch: `dynamic` leaves it free, or as the manifest has it; `static` fixes it.
        batch_size: of `static`; None takes the manifest's, else the planner's samples, at most as many as memory has
            room for at once (`most_rows`).
    """

    opset: int = OPSET
    batch: str = "dynamic"
    batch_size: int | None = None

    def checked(self) -> GraphForm:
        """Itself.

        Raises:
            BundleError: an option that is out of its range, or goes with another that is not given.
        """
        if self.opset not in OPSETS:
            raise BundleError(f"--opset {self.opset}: graphs are written at {OPSETS[0]} to {OPSETS[-1]}")
        if self.batch not in _BATCHES:
            raise BundleError(f"--batch {self.batch}: must be {' or '.join(_BATCHES)}")
        if self.batch_size is not None and self.batch != "static":
            raise BundleError(f"--batch-size {self.batch_size}: goes with --batch static")
        if self.batch_size is not None and self.batch_size < 1:
            raise BundleError(f"--batch-size {self.batch_size}: must be at least 1")
        return self

    def of(self, manifest: Manifest) -> Manifest:
        """The manifest of a bundle whose graphs are written so."""
        if self.batch == "dynamic":
            return manifest
        free = manifest.model_copy(update={"predictor": manifest.predictor.model_copy(update={"batch": None})})
        room = most_rows(free, StateLayout(manifest.state))
        rows = self.batch_size or manifest.predictor.batch or min(planner_settings(manifest).samples, room)
        predictor = manifest.predictor.model_copy(update={"batch": rows})
        return manifest.model_copy(update={"predictor": predictor})
