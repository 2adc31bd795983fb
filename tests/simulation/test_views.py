"""Named goal views of a room."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from jepa_ros_simulation.rooms import Room
from jepa_ros_simulation.views import main, named_places


@pytest.mark.parametrize("seed", range(4))
def test_every_place_is_free_and_faces_its_wall(seed):
    room = Room(seed)
    places = named_places(room)
    assert set(places) == {"middle", "east", "north", "west", "south"}
    assert all(room.free(x, y, 0.45) for x, y, _ in places.values())
    for name, axis, sign in (("east", 0, 1), ("north", 1, 1), ("west", 0, -1), ("south", 1, -1)):
        x, y, yaw = places[name]
        ahead = (np.cos(yaw), np.sin(yaw))
        assert sign * (x, y)[axis] > 0.8
        assert sign * ahead[axis] == pytest.approx(1.0, abs=1e-4)


def test_views_are_written_with_their_poses(tmp_path):
    import typer

    app = typer.Typer()
    app.command()(main)
    done = CliRunner().invoke(app, ["--out", str(tmp_path / "goals")])
    assert done.exit_code == 0, done.output
    places = json.loads((tmp_path / "goals" / "places.json").read_text())
    views = [cv2.imread(str(tmp_path / "goals" / f"{name}.png")) for name in places]
    assert all(view.shape == (128, 128, 3) for view in views)
    assert not np.array_equal(views[0], views[1])
