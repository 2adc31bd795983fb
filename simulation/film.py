"""A film of a drive, drawn afterwards from what was recorded, so that drawing it costs the running robot nothing."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from jepa_ros.errors import JepaRosError
from jepa_ros.types import UInt8
from jepa_ros_simulation.dog import DogSim
from jepa_ros_simulation.records import GoalRecord
from jepa_ros_simulation.rooms import Room

_WIDTH, _HEIGHT, _INSET = 480, 360, 180


def _caption(image: UInt8, text: str) -> UInt8:
    """Text in the lower left corner."""
    return np.asarray(
        cv2.putText(image, text, (8, image.shape[0] - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, 16)
    )


def _frame(sim: DogSim, record: GoalRecord, row: tuple[float, ...]) -> UInt8:
    """The dog from behind; at its right what it sees and what it was shown."""
    sim.show(np.array(row[1:8]), np.array(row[8:]))
    outside = sim.render_third_person(_WIDTH, _HEIGHT)
    inner = [
        cv2.resize(view, (_INSET, _INSET), interpolation=cv2.INTER_NEAREST) for view in (sim.render(), record.goal_view)
    ]
    column = np.vstack([_caption(inner[0], "sees"), _caption(inner[1], "goal")])
    return np.hstack([_caption(outside.copy(), f"goal {record.number}   {row[0]:4.1f} s"), column])


def write_film(path: Path, records: list[GoalRecord], room: Room, rate_hz: float = 10.0) -> Path:
    """Draw every drive at `rate_hz` frames a second of the recording into an MP4.

    Raises:
        JepaRosError: OpenCV cannot write such a file here.
    """
    sim = DogSim(room)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate_hz, (_WIDTH + _INSET, _HEIGHT))
    if not writer.isOpened():
        raise JepaRosError(f"film {path}: this OpenCV has no MP4 writer; install opencv-python-headless from PyPI")
    for record in track(records, description="drawing the film"):
        due = 0.0
        for row in record.body:
            if row[0] >= due:
                writer.write(np.ascontiguousarray(_frame(sim, record, row)[..., ::-1]))
                due = row[0] + 0.99 / rate_hz
    writer.release()
    sim.close()
    return path
