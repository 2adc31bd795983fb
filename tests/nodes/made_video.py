"""A real H.264 stream, encoded here: a picture whose colour says which one it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT, RATE = 320, 180, 30


def picture(i: int, count: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Grey at the left, from dark to bright with `i`; red at the right."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2] = 40 + 180 * i // count
    image[:, width // 2 :, 0] = 200
    return image


def packets(count: int, container: av.container.OutputContainer | None = None, **size: int) -> Iterator[av.Packet]:
    """Encoded pictures; key frames every ten, no picture waits for a later one."""
    width, height = size.get("width", WIDTH), size.get("height", HEIGHT)
    if container is None:
        codec = av.CodecContext.create("libx264", "w")
        codec.time_base = Fraction(1, RATE)
    else:
        codec = container.add_stream("libx264", rate=RATE)
    codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
    codec.options = {"tune": "zerolatency", "preset": "ultrafast", "g": "10"}
    for i in range(count):
        frame = av.VideoFrame.from_ndarray(picture(i, count, width, height), format="rgb24")
        frame.pts, frame.time_base = i, Fraction(1, RATE)
        yield from codec.encode(frame)


def write(path: Path, count: int) -> None:
    """A file of them."""
    with av.open(str(path), "w") as container:
        for packet in packets(count, container):
            container.mux(packet)


class Sender:
    """Streams them in real time, in a thread, until it is closed."""

    def __init__(self, url: str, form: str) -> None:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._send, args=(url, form), daemon=True)
        self._thread.start()

    def _send(self, url: str, form: str) -> None:
        with av.open(url, "w", format=form) as container:
            for packet in packets(3000, container):
                container.mux(packet)
                time.sleep(1.0 / RATE)
                if self._end.is_set():
                    return

    def close(self) -> None:
        """Stop."""
        self._end.set()
        self._thread.join(5.0)
