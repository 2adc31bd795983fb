"""Messages come in the order of time, and no more of a bag is in memory than that takes."""

from __future__ import annotations

import random
import struct
import tracemalloc

import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionMode
from rosbags.typesys import Stores, get_typestore

from jepa_ros_replay.bags import Bag, BagMessage
from jepa_ros_replay.time_order import in_time_order

from . import bag_files
from .bag_files import MCAP, SQLITE, START, read, storage, unchunked


@pytest.mark.parametrize("how", ["mcap", "sqlite", "ros1", "two files"])
def test_messages_come_in_the_order_of_their_log_time(tmp_path, how):
    """Of the same time, in the order in which they were written."""
    rows = bag_files.rows(200)
    times = random.Random(0).choices(range(80), k=200)
    rows = [(topic, START + time, data) for (topic, _, data), time in zip(rows, times, strict=True)]
    wanted = sorted(rows, key=lambda row: row[1])
    if how == "two files":
        path = bag_files.write_split(tmp_path / "bag", rows, MCAP, CompressionMode.NONE, parts=2)
    elif how == "ros1":
        path = tmp_path / "a.bag"
        store = get_typestore(Stores.ROS1_NOETIC)
        with Writer1(path) as writer:
            connection = writer.add_connection("/n", "std_msgs/msg/UInt32", typestore=store)
            for number, time in enumerate(times):
                writer.write(connection, START + time, struct.pack("<I", number))
        found = [(message.time, int.from_bytes(message.data[4:], "little")) for message in Bag(path).messages()]
        assert found == sorted((START + time, number) for number, time in enumerate(times))
        return
    elif how == "sqlite":
        path = bag_files.write_rosbag2(tmp_path / "bag", rows, SQLITE, CompressionMode.NONE)
    else:
        path = bag_files.write_ours(tmp_path / "bag", rows)
    assert read(Bag(path)) == wanted


def test_only_sources_whose_time_it_is_are_open():
    opened = []

    def source(number):
        def messages():
            opened.append(number)
            for step in range(10):
                yield BagMessage("/t", "k", number * 10 + step, b"", None)

        return number * 10, messages

    seen = []
    for message in in_time_order([source(number) for number in reversed(range(100))]):
        seen.append(message.time)
        assert max(opened) <= message.time // 10 + 1
    assert seen == list(range(1000))


def test_no_more_sources_are_open_than_may_be():
    """Although all overlap."""
    open_now, most = set(), 0

    def source(number):
        def messages():
            nonlocal most
            open_now.add(number)
            most = max(most, len(open_now))
            for time in (number, number + 500):
                yield BagMessage("/t", "k", time, b"", None)
            open_now.remove(number)

        return 0, messages

    found = [message.time for message in in_time_order([source(number) for number in range(100)], most_open=3)]
    assert len(found) == 200
    assert set(found) == {*range(100), *range(500, 600)}
    assert most == 3


@pytest.mark.parametrize("chunks", [True, False], ids=["chunks", "none"])
def test_memory_does_not_grow_with_the_bag(tmp_path, chunks):
    """Half a MB a message, 60 MB in all, and then without an index."""
    data = np.random.default_rng(0).bytes(500_000)
    rows = [("/joint_states", START + number, data) for number in range(120)]
    path = tmp_path / "a.mcap"
    if chunks:
        path = storage(bag_files.write_ours(tmp_path / "bag", rows, flush_every=2, compression="none"))
    else:
        unchunked(path, rows)
    for cut in (0, 100):
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - cut)
        tracemalloc.start()
        assert sum(1 for _ in Bag(path).messages()) == 120
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 10e6
