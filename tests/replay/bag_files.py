"""Small bags, written by rosbags in every way it can."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from mcap.writer import CompressionType
from mcap.writer import Writer as McapLibrary
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from jepa_ros_replay.bags import Bag
from jepa_ros_replay.typestores import known_definition, known_types
from jepa_ros_replay.writer import BagWriter

MCAP, SQLITE = StoragePlugin.MCAP, StoragePlugin.SQLITE3
START, STEP = 1_700_000_000_000_000_000, 10_000_000
IMAGE, JOINTS, ACTION = "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState", "jepa_ros_msgs/msg/AppliedAction"
KINDS = {"/camera/image_raw": IMAGE, "/joint_states": JOINTS, "/applied_action": ACTION}
# topic, log time in ns, CDR
Row = tuple[str, int, bytes]


def header(types: dict[str, Any], time: int) -> Any:
    stamp = types["builtin_interfaces/msg/Time"](sec=time // 10**9, nanosec=time % 10**9)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id="frame")


def message(kind: str, number: int, side: int = 16, types: dict[str, Any] | None = None) -> Any:
    """The message that is written as the `number`th."""
    types = types or known_types().types
    rng = np.random.default_rng(number)
    head = header(types, START + number * STEP)
    if kind == IMAGE:
        pixels = rng.integers(0, 256, side * side * 3, dtype=np.uint8)
        return types[kind](
            header=head, height=side, width=side, encoding="rgb8", is_bigendian=0, step=3 * side, data=pixels
        )
    values = rng.standard_normal(3)
    if kind == JOINTS:
        return types[kind](header=head, name=["a", "b", "c"], position=values, velocity=-values, effort=values * 0)
    return types[kind](header=head, names=["vx", "vy", "wz"], values=values)


def rows(count: int = 60, first: int = 0, side: int = 16) -> list[Row]:
    """An image, then two of the others, again and again."""
    store, topics = known_types(), list(KINDS)
    found = []
    for number in range(first, first + count):
        topic = topics[number % 3]
        data = bytes(store.serialize_cdr(message(KINDS[topic], number, side), KINDS[topic]))
        found.append((topic, START + number * STEP, data))
    return found


def write_rosbag2(path: Path, found: Sequence[Row], plugin: StoragePlugin, mode: CompressionMode) -> Path:
    writer = Writer(path, version=9, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connections = {
            topic: writer.add_connection(topic, kind, typestore=known_types()) for topic, kind in KINDS.items()
        }
        for topic, time, data in found:
            writer.write(connections[topic], time, data)
    return path


def write_ours(path: Path, found: Sequence[Row], flush_every: int = 10, compression: str = "zstd") -> Path:
    """With a chunk for every `flush_every` messages."""
    writer = BagWriter(path, compression)
    for topic, kind in KINDS.items():
        writer.add_topic(topic, kind, known_definition(kind))
    for number, row in enumerate(found, 1):
        writer.write(*row)
        if number % flush_every == 0:
            writer.flush()
    writer.close()
    return path


def write_split(path: Path, found: Sequence[Row], plugin: StoragePlugin, mode: CompressionMode, parts: int = 3) -> Path:
    """The bag in several files, as rosbag2 splits them."""
    path.mkdir()
    size = -(-len(found) // parts)
    names, metadata = [], {}
    for part in range(parts):
        inner = write_rosbag2(path / f"part{part}", found[part * size : (part + 1) * size], plugin, mode)
        metadata = yaml.safe_load((inner / "metadata.yaml").read_text())
        (file,) = [file for file in inner.iterdir() if file.name != "metadata.yaml"]
        names.append(f"{path.name}_{part}{''.join(file.suffixes)}")
        file.rename(path / names[-1])
        shutil.rmtree(inner)
    metadata["rosbag2_bagfile_information"]["relative_file_paths"] = names
    (path / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    return path


def write_rosbag1(path: Path, count: int = 60, compression: str = "") -> Path:
    """Images and joint states."""
    store = get_typestore(Stores.ROS1_NOETIC)
    writer = Writer1(path)
    if compression:
        writer.set_compression(Writer1.CompressionFormat[compression])
    with writer:
        connections = [
            writer.add_connection(topic, kind, typestore=store)
            for topic, kind in (("/camera/image_raw", IMAGE), ("/joint_states", JOINTS))
        ]
        for number in range(count):
            connection = connections[number % 2]
            made = ros1_message(store.types, connection.msgtype, number)
            writer.write(connection, START + number * STEP, store.serialize_ros1(made, connection.msgtype))
    return path


def ros1_message(types: dict[str, Any], kind: str, number: int) -> Any:
    made = message(kind, number)
    stamp = types["builtin_interfaces/msg/Time"](sec=made.header.stamp.sec, nanosec=made.header.stamp.nanosec)
    head = types["std_msgs/msg/Header"](seq=number, stamp=stamp, frame_id="frame")
    fields = {name: value for name, value in vars(made).items() if name not in ("header", "__msgtype__")}
    return types[kind](header=head, **fields)


def read(bag: Bag, topics: Sequence[str] | None = None) -> list[Row]:
    return [(message.topic, message.time, message.data) for message in bag.messages(topics)]


def storage(folder: Path) -> Path:
    (file,) = [path for path in folder.iterdir() if path.name != "metadata.yaml"]
    return file


def unchunked(path: Path, rows: list[Row]) -> Path:
    with path.open("wb") as file:
        writer = McapLibrary(file, use_chunking=False, compression=CompressionType.NONE)
        writer.start(profile="ros2")
        channels = {}
        for topic, kind in KINDS.items():
            schema = writer.register_schema(kind, "ros2msg", known_definition(kind).encode())
            channels[topic] = writer.register_channel(topic, "cdr", schema)
        for topic, time, data in rows:
            writer.add_message(channels[topic], time, data, time)
        writer.finish()
    return path
