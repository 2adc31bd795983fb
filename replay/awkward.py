"""The awkward sisters of a good bag: what recordings of real robots are like, for whatever must cope with them.

`python -m jepa_ros_replay.awkward drives/good --out drives/awkward` makes a bag for each kind of trouble.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from rich.console import Console
from rich.markup import escape

from jepa_ros.errors import JepaRosError
from jepa_ros.messages import image_view
from jepa_ros.types import UInt8
from jepa_ros_replay.bags import METADATA, Bag
from jepa_ros_replay.records import BagError, BagMessage
from jepa_ros_replay.writer import BagWriter

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
JOINTS, TIME = "sensor_msgs/msg/JointState", "builtin_interfaces/msg/Time"
JUMP_NS = 30_000_000_000
DROPPED, CUT_AT = 0.3, 0.6
OVERLAP = (0.4, 0.6)
JPEG_QUALITY = 90
# topic, kind, log time in ns, CDR
Row = tuple[str, str, int, bytes]
_ENCODINGS: dict[str, Callable[[UInt8], Any]] = {
    "rgb8": lambda rgb: rgb,
    "bgr8": lambda rgb: rgb[..., ::-1],
    "mono8": lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY),
    "rgba8": lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA),
}


def missing_topic(bag: Bag, _seed: int) -> Iterator[Row]:
    """No joint states."""
    return (_row(message) for message in bag.messages() if message.kind != JOINTS)


def clock_back(bag: Bag, _seed: int) -> Iterator[Row]:
    """In the middle, header stamps and log times go back by 30 s. In a bag that begins near zero the first half goes
    forward instead, since times must not be negative."""
    middle = _share_of_time(bag, 0.5)
    before, after = (0, -JUMP_NS) if middle >= JUMP_NS else (JUMP_NS, 0)
    for message in bag.messages():
        shift = before if message.time < middle else after
        content = bag.deserialize(message)
        times = [value for value in vars(content).values() if getattr(value, "__msgtype__", "") == TIME]
        if hasattr(content, "header"):
            times.append(content.header.stamp)
        for stamp in times:
            if (stamp.sec, stamp.nanosec) != (0, 0):
                stamp.sec += shift // 1_000_000_000
        yield message.topic, message.kind, message.time + shift, bag.serialize(content, message.kind)


def dropped(bag: Bag, seed: int) -> Iterator[Row]:
    """30 % of the camera frames are missing."""
    rng = np.random.default_rng(seed)
    return (_row(message) for message in bag.messages() if message.kind != IMAGE or rng.random() >= DROPPED)


def mixed_encodings(bag: Bag, _seed: int) -> Iterator[Row]:
    """Camera frames are rgb8, bgr8, mono8 and rgba8 in turn."""
    frames = 0
    for message in bag.messages():
        data = message.data
        if message.kind == IMAGE:
            encoding = list(_ENCODINGS)[frames % len(_ENCODINGS)]
            frames += 1
            content = bag.deserialize(message)
            pixels = np.ascontiguousarray(_ENCODINGS[encoding](image_view(content)))
            content.encoding, content.step, content.data = encoding, pixels[0].nbytes, pixels.reshape(-1)
            data = bag.serialize(content, message.kind)
        yield message.topic, message.kind, message.time, data


def compressed(bag: Bag, _seed: int) -> Iterator[Row]:
    """JPEG on `<camera topic>/compressed` instead of raw images."""
    for message in bag.messages():
        if message.kind != IMAGE:
            yield _row(message)
            continue
        content = bag.deserialize(message)
        ok, jpeg = cv2.imencode(".jpg", image_view(content)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        if not ok:
            raise BagError(f"bag {bag.path}: the image at byte {message.offset} cannot be compressed")
        # A header decoded by one store is as good as any other's: only its fields count.
        packed = bag.new(COMPRESSED, header=content.header, format="jpeg", data=jpeg.reshape(-1))
        yield f"{message.topic}/compressed", COMPRESSED, message.time, bag.serialize(packed, COMPRESSED)


def everything(bag: Bag, _seed: int) -> Iterator[Row]:
    """The bag as it is."""
    return (_row(message) for message in bag.messages())


def first_part(bag: Bag, _seed: int) -> Iterator[Row]:
    """The first 60 % of the time."""
    end = _share_of_time(bag, OVERLAP[1])
    return (_row(message) for message in bag.messages() if message.time < end)


def second_part(bag: Bag, _seed: int) -> Iterator[Row]:
    """The last 60 % of the time."""
    begin = _share_of_time(bag, OVERLAP[0])
    return (_row(message) for message in bag.messages() if message.time >= begin)


# The bags of each sister, by their folder within its own; the only one of a sister is that folder itself.
_PARTS: dict[str, dict[str, Callable[[Bag, int], Iterator[Row]]]] = {
    "missing_topic": {"": missing_topic},
    "clock_back": {"": clock_back},
    "dropped": {"": dropped},
    "mixed_encodings": {"": mixed_encodings},
    "compressed": {"": compressed},
    "truncated": {"": everything},
    "overlapping": {"first": first_part, "second": second_part},
}
SISTERS = tuple(_PARTS)


def make_awkward(path: Path, out: Path, seed: int = 0, only: Collection[str] = SISTERS) -> dict[str, list[Path]]:
    """Write a bag's sisters as folders into `out`, which each must not exist yet.

    Args:
        path: of the good bag, with camera images.
        out: folder.
        seed: of which frames are dropped.
        only: which of SISTERS.

    Returns:
        The bags of each sister: two of overlapping, one of any other.

    Raises:
        BagError: there is no such sister, the bag is no good one, or a sister cannot be written.
    """
    unknown = sorted(set(only) - set(SISTERS))
    if unknown:
        raise BagError(f"{', '.join(unknown)}: no such sister of a bag; there are {', '.join(SISTERS)}")
    bag = Bag(path)
    if IMAGE not in bag.topics.values() or bag.begin_ns is None:
        raise BagError(f"bag {path}: must hold camera images of kind {IMAGE}, and holds none")
    made: dict[str, list[Path]] = {}
    for name in only:
        for part, rows in _PARTS[name].items():
            written = _write(out / name / part, bag, rows(bag, seed))
            made.setdefault(name, []).append(written)
            if name == "truncated":
                _truncate(written)
    return made


def _row(message: BagMessage) -> Row:
    return message.topic, message.kind, message.time, message.data


def _share_of_time(bag: Bag, share: float) -> int:
    """The log time in ns at which that share of the bag is over."""
    begin, end = bag.begin_ns or 0, bag.end_ns or 0
    return begin + round((end - begin) * share)


def _write(path: Path, bag: Bag, rows: Iterator[Row]) -> Path:
    writer = BagWriter(path)
    added: set[str] = set()
    for topic, kind, time, data in rows:
        if topic not in added:
            writer.add_topic(topic, kind, bag.definition(kind))
            added.add(topic)
        writer.write(topic, time, data)
    writer.close()
    return path


def _truncate(path: Path) -> None:
    """Cut the file, and take away what a recorder writes last."""
    (path / METADATA).unlink()
    (file,) = path.iterdir()
    with file.open("r+b") as opened:
        opened.truncate(int(file.stat().st_size * CUT_AT))


def command(
    bag: Annotated[Path, typer.Argument(help="a good bag, with camera images")],
    out: Annotated[Path, typer.Option(help="folder for the sisters")] = Path("awkward"),
    seed: Annotated[int, typer.Option(help="of which frames are dropped")] = 0,
    only: Annotated[list[str] | None, typer.Option(help=f"one of {', '.join(SISTERS)}; may be repeated")] = None,
) -> None:
    """Make the awkward sisters of a good bag: topics missing, clocks set back, frames lost, files cut."""
    console = Console()
    try:
        for paths in make_awkward(bag, out, seed, only or SISTERS).values():
            for path in paths:
                console.print(escape(str(path)), soft_wrap=True)
    except JepaRosError as error:
        console.print(f"[red]awkward: {escape(str(error))}[/red]", soft_wrap=True)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(command)
