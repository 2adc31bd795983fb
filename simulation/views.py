"""Goal views with a name: what the dog sees from the middle of a room and before each wall.

`python -m jepa_ros_simulation.views --out FOLDER` writes PNGs that `jepa_ros_export.cli --goals` puts into a bundle,
and `places.json` with the poses they were taken from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from jepa_ros_simulation.dog import DogSim
from jepa_ros_simulation.rooms import HALF_SIDE_M, Room
from jepa_ros_simulation.tasks import Pose
from jepa_ros_simulation.walker import Walker

BEFORE_WALL_M = 1.4
_GRID_M = 0.1


def named_places(room: Room) -> dict[str, Pose]:
    """The middle facing east, and for each wall the free spot nearest to `BEFORE_WALL_M` before it, facing it.

    East is the room's +x, north its +y.
    """
    away = HALF_SIDE_M - BEFORE_WALL_M
    wanted = {
        "middle": (0.0, 0.0, 0.0),
        "east": (away, 0.0, 0.0),
        "north": (0.0, away, np.pi / 2),
        "west": (-away, 0.0, np.pi),
        "south": (0.0, -away, -np.pi / 2),
    }
    line = np.arange(-HALF_SIDE_M + _GRID_M, HALF_SIDE_M, _GRID_M)
    spots = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    free = spots[room.clearance(spots) > 0.5]
    places = {}
    for name, (x, y, yaw) in wanted.items():
        spot = free[np.argmin(np.hypot(*(free - (x, y)).T))]
        places[name] = (round(float(spot[0]), 3), round(float(spot[1]), 3), round(float(yaw), 4))
    return places


def main(
    out: Annotated[Path, typer.Option(help="folder for the PNGs; files of the same names are replaced")],
    room: Annotated[int, typer.Option(help="which room (its seed)")] = 0,
) -> None:
    """Draw the named goal views of a room."""
    out.mkdir(parents=True, exist_ok=True)
    places = named_places(Room(room))
    walker = Walker(DogSim(Room(room)))
    for name, pose in places.items():
        cv2.imwrite(str(out / f"{name}.png"), walker.goal_view(*pose)[..., ::-1])
    walker.sim.close()
    (out / "places.json").write_text(json.dumps(places, indent=1))
    typer.echo(f"{len(places)} goal views in {out}: {', '.join(places)}")


if __name__ == "__main__":
    typer.run(main)
