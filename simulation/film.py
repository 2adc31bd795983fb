"""A film of a drive, drawn afterwards from what was recorded, so that drawing it costs the running robot nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
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


def _frames(sim: DogSim, records: list[GoalRecord], rate_hz: float) -> Iterator[UInt8]:
    """Every drive at `rate_hz` frames a second of the recording."""
    for record in track(records, description="drawing the film"):
        due = 0.0
        for row in record.body:
            if row[0] >= due:
                yield _frame(sim, record, row)
                due = row[0] + 0.99 / rate_hz


def write_film(path: Path, records: list[GoalRecord], room: Room, rate_hz: int = 10) -> Path:
    """Draw every drive into an MP4 with H.264, which every browser plays (OpenCV's own MPEG-4 plays in none).

    Raises:
        JepaRosError: the file cannot be written.
    """
    sim = DogSim(room)
    try:
        with av.open(str(path), "w", options={"movflags": "+faststart"}) as out:
            stream = out.add_stream("libx264", rate=rate_hz, options={"preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = _WIDTH + _INSET, _HEIGHT, "yuv420p"
            for frame in _frames(sim, records, rate_hz):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            out.mux(stream.encode())
    except (av.FFmpegError, OSError) as error:
        raise JepaRosError(f"film {path}: cannot be written ({error})") from error
    finally:
        sim.close()
    return path
