"""What the export's tests share. They run beside others; spinning threads would only get in each other's way."""

import gc
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from jepa_ros_export.sigreg_jepa import export
from jepa_ros_export.writer import write_bundle

from .tiny_models import Trained, export_of, stepwise_parts, trained

torch.set_num_threads(1)


@pytest.fixture(scope="package", autouse=True)
def rare_collections():
    """torch's exporter makes millions of objects and keeps most: looking through them is a sixth of its time."""
    before = gc.get_threshold()
    gc.set_threshold(200_000, 20, 20)
    yield
    gc.set_threshold(*before)


@dataclass(frozen=True)
class OwnBundle:
    """A bundle of the project's own family, with a value head, derivatives and a goal.

    `start`: what it was made from. `errors`: of each graph, as the export says.
    """

    start: Trained
    path: Path
    errors: dict[str, float]


@pytest.fixture(scope="session")
def own_bundle(tmp_path_factory):
    """Nobody changes it."""
    folder = tmp_path_factory.mktemp("own")
    start = trained(folder)
    views = folder / "views"
    views.mkdir()
    cv2.imwrite(str(views / "door.png"), np.zeros((8, 8, 3), np.uint8))
    request = export_of(start.checkpoint, folder / "bundles" / "tiny", value=start.value, name="tiny", goals=views)
    return OwnBundle(start, request.out, export(request, start.runs))


@pytest.fixture(scope="session")
def stepwise_lewm(tmp_path_factory):
    """A bundle with an incremental predictor, and what its writing said; nobody changes it."""
    out = tmp_path_factory.mktemp("stepwise") / "bundle"
    return out, write_bundle(stepwise_parts(), out, with_derivative=False)
