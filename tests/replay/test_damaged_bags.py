"""No damage to a bag raises, hangs or invents a message; what it costs is told."""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
from pathlib import Path

import pytest
import zstandard
from rosbags.rosbag2 import CompressionMode

from jepa_ros_replay.bags import Bag, BagError

from . import bag_files
from .bag_files import KINDS, MCAP, SQLITE, Row, read, storage, unchunked


def check_prefix(path: Path, rows: list[Row], size: int) -> int:
    """What is left of a bag that was cut to `size` bytes is its beginning, and the rest is accounted for."""
    bag = Bag(path)
    found = read(bag)
    assert found == rows[: len(found)]
    if len(found) < len(rows):
        assert [fault for fault in bag.faults if fault.path == str(path) and fault.offset is not None], size
    for fault in bag.faults:
        assert fault.offset is None or fault.offset >= 0
        assert len(fault.what) > 10
    return len(found)


CUT = {
    "ours": lambda path, rows: storage(bag_files.write_ours(path, rows, flush_every=6)),
    "ours, plain": lambda path, rows: storage(bag_files.write_ours(path, rows, flush_every=6, compression="none")),
    "unchunked": lambda path, rows: unchunked(path.with_suffix(".mcap"), rows),
    "rosbags": lambda path, rows: storage(bag_files.write_rosbag2(path, rows, MCAP, CompressionMode.STORAGE)),
    "packed": lambda path, rows: storage(bag_files.write_rosbag2(path, rows, MCAP, CompressionMode.FILE)),
    "sqlite": lambda path, rows: storage(bag_files.write_rosbag2(path, rows, SQLITE, CompressionMode.NONE)),
    "packed sqlite": lambda path, rows: storage(bag_files.write_rosbag2(path, rows, SQLITE, CompressionMode.FILE)),
}


@pytest.mark.parametrize("how", CUT)
def test_a_bag_that_is_cut_anywhere_gives_what_came_before(tmp_path, how):
    rows = bag_files.rows(48)
    source = CUT[how](tmp_path / "bag", rows)
    content = source.read_bytes()
    cut = tmp_path / f"cut{''.join(source.suffixes)}"
    places = {*range(0, len(content), len(content) // 30), *range(20), *range(len(content) - 40, len(content))}
    given = []
    for size in sorted(places):
        cut.write_bytes(content[:size])
        given.append(check_prefix(cut, rows, size))
    if how.startswith("packed"):  # zstd gives whole blocks of 128 KiB, and here there is one
        return
    assert given == sorted(given)
    assert len(set(given)) >= (2 if how == "rosbags" else 5), "not all or nothing"
    assert given[-1] >= (40 if how == "sqlite" else 48), "the index alone is no loss"


@pytest.mark.parametrize("compression", ["", "LZ4", "BZ2"])
def test_a_cut_ros1_bag(tmp_path, compression):
    content = bag_files.write_rosbag1(tmp_path / "a.bag", 40, compression).read_bytes()
    whole = read(Bag(tmp_path / "a.bag"))
    cut = tmp_path / "cut.bag"
    for size in {*range(0, len(content), len(content) // 40), *range(len(content) - 20, len(content))}:
        cut.write_bytes(content[:size])
        found = check_prefix(cut, whole, size)
    assert found in (0, 40)


@pytest.mark.parametrize("how", ["ours", "ours, plain", "unchunked", "sqlite"])
def test_a_flipped_byte_costs_little_and_is_told(tmp_path, how):
    rows = bag_files.rows(48)
    source = CUT[how](tmp_path / "bag", rows)
    content = bytearray(source.read_bytes())
    broken = tmp_path / f"broken{source.suffix}"
    rng = random.Random(0)
    for _ in range(150):
        place = rng.randrange(len(content))
        content[place] ^= 0xFF
        broken.write_bytes(content)
        content[place] ^= 0xFF
        if place < 16:  # in the magic number, by which a bag is known
            continue
        bag = Bag(broken)
        found = read(bag)
        assert len(found) <= len(rows)
        if how.startswith("ours"):  # whose checksums find it
            assert [row for row in found if row not in rows] == []
            assert len(found) == len(rows) or any(fault.offset is not None for fault in bag.faults)
            assert len(found) >= len(rows) - 6


def test_a_broken_chunk_costs_its_own_messages_only(tmp_path):
    rows = bag_files.rows(48)
    path = storage(bag_files.write_ours(tmp_path / "bag", rows, flush_every=6))
    content = bytearray(path.read_bytes())
    offsets = sorted({message.offset for message in Bag(path).messages()})
    assert len(offsets) == 8
    content[(offsets[3] + offsets[4]) // 2] ^= 0xFF
    for size in (len(content), len(content) - 20):  # with its index and without
        path.write_bytes(content[:size])
        bag = Bag(path)
        for _ in range(2):
            assert read(bag) == rows[:18] + rows[24:]
            assert [fault.offset for fault in bag.faults].count(offsets[3]) == 1


def test_a_broken_record_between_chunks_is_skipped(tmp_path):
    rows = bag_files.rows(48)
    path = storage(bag_files.write_ours(tmp_path / "bag", rows, flush_every=6))
    content = bytearray(path.read_bytes())
    offsets = sorted({message.offset for message in Bag(path).messages()})
    content[offsets[3]] = 0x46  # of a kind that there is not
    path.write_bytes(content[:-20])
    bag = Bag(path)
    assert read(bag) == rows[:18] + rows[24:]
    assert offsets[3] in [fault.offset for fault in bag.faults]


def test_messages_whose_topic_was_in_a_broken_chunk_are_told(tmp_path):
    """Without the index there is nothing else that names it; with the index there is."""
    rows = bag_files.rows(48)
    path = storage(bag_files.write_ours(tmp_path / "bag", rows, flush_every=6))
    content = bytearray(path.read_bytes())
    offsets = sorted({message.offset for message in Bag(path).messages()})
    content[offsets[0] + 2000] ^= 0xFF
    path.write_bytes(content)
    assert read(Bag(path)) == rows[6:]
    path.write_bytes(content[: offsets[-1]])
    bag = Bag(path)
    assert read(bag) == []
    assert bag.topics == {}
    told = [fault for fault in bag.faults if "its topic was in a damaged part" in fault.what]
    assert [fault.offset for fault in told] == offsets[1:2] * 3


def test_a_packed_bag_is_read_as_far_as_it_can_be_unpacked(tmp_path):
    """More than one of zstd's blocks of 128 KiB."""
    rows = bag_files.rows(120, side=100)
    source = storage(bag_files.write_split(tmp_path / "bag", rows, SQLITE, CompressionMode.FILE, parts=1))
    content = bytearray(source.read_bytes())
    source.write_bytes(content[: len(content) // 2])
    found = read(Bag(source))
    assert found == rows[: len(found)]
    assert 30 < len(found) < 100
    plain = storage(bag_files.write_ours(tmp_path / "ours", rows)).read_bytes()
    content = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(plain))
    content[len(content) // 2] ^= 0xFF
    packed = tmp_path / "a.mcap.zst"
    packed.write_bytes(content)
    bag = Bag(packed)
    assert any("the compression is damaged" in fault.what for fault in bag.faults)
    assert len(read(bag)) > 80


def test_a_bag_that_was_being_packed_is_not_read_twice(tmp_path):
    rows = bag_files.rows(30)
    path = bag_files.write_rosbag2(tmp_path / "bag", rows, MCAP, CompressionMode.NONE)
    (path / "metadata.yaml").unlink()
    (path / "bag.mcap.zstd").write_bytes(zstandard.compress((path / "bag.mcap").read_bytes()))
    assert read(Bag(path)) == rows


def test_a_ros1_bag_of_a_recorder_that_was_killed(tmp_path):
    content = bag_files.write_rosbag1(tmp_path / "a.bag").read_bytes()
    whole = read(Bag(tmp_path / "a.bag"))
    active = tmp_path / "a.bag.active"
    active.write_bytes(re.sub(rb"index_pos=.{8}", b"index_pos=" + bytes(8), content, count=1, flags=re.DOTALL)[:-1000])
    bag = Bag(active)
    assert read(bag) == whole
    assert bag.faults


@pytest.mark.parametrize("plugin", [MCAP, SQLITE])
def test_a_packed_message_that_is_damaged_costs_only_itself(tmp_path, plugin):
    rows = bag_files.rows(30)
    packed = [(topic, time, zstandard.compress(data)) for topic, time, data in rows]
    packed[7] = (packed[7][0], packed[7][1], packed[7][2][:-5])
    packed[8] = (packed[8][0], packed[8][1], packed[8][2][:6] + b"not what was written")
    bag = Bag(bag_files.write_rosbag2(tmp_path / "bag", packed, plugin, CompressionMode.NONE))
    assert read(bag) == rows[:7] + rows[9:]
    assert len(bag.faults) == 2
    assert all("a message on /" in fault.what for fault in bag.faults)


def test_a_damaged_index_is_done_without(tmp_path):
    rows = bag_files.rows(48)
    path = storage(bag_files.write_ours(tmp_path / "bag", rows, flush_every=6))
    content = bytearray(path.read_bytes())
    content[-200] ^= 0xFF
    path.write_bytes(content)
    bag = Bag(path)
    assert read(bag) == rows
    assert "index is damaged" in bag.faults[0].what


def test_rows_after_a_damaged_page_are_read(tmp_path):
    rows = bag_files.rows(400)
    path = storage(bag_files.write_rosbag2(tmp_path / "bag", rows, SQLITE, CompressionMode.NONE))
    content = bytearray(path.read_bytes())
    places = [found.start() for found in re.finditer(re.escape(rows[200][2][-60:]), bytes(content))]
    page = places[0] // 4096 * 4096
    content[page : page + 4096] = b"\xff" * 4096
    path.write_bytes(content)
    bag = Bag(path)
    found = read(bag)
    assert [row for row in found if row not in rows] == []
    assert 340 <= len(found) < 400
    assert rows[0] in found
    assert rows[-1] in found
    assert any("damaged" in fault.what for fault in bag.faults)


def test_what_a_killed_recorder_left_in_the_log_of_sqlite_is_read(tmp_path):
    rows = bag_files.rows(30)
    bag_files.write_rosbag2(tmp_path / "bag", rows[:20], SQLITE, CompressionMode.NONE)
    source = storage(tmp_path / "bag")
    database = sqlite3.connect(source)
    database.execute("PRAGMA journal_mode=WAL")
    for topic, time, data in rows[20:]:
        id_ = list(KINDS).index(topic) + 1
        database.execute("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)", (id_, time, data))
    database.commit()
    copy = tmp_path / "killed"
    copy.mkdir()
    for path in source.parent.glob("*.db3*"):
        shutil.copy(path, copy / path.name)
    database.close()
    assert (copy / f"{source.name}-wal").stat().st_size > 0
    assert read(Bag(copy)) == rows


def test_a_missing_part_of_a_split_bag_is_told(tmp_path):
    rows = bag_files.rows(60)
    path = bag_files.write_split(tmp_path / "bag", rows, MCAP, CompressionMode.NONE)
    (path / "bag_1.mcap").unlink()
    bag = Bag(path)
    assert read(bag) == rows[:20] + rows[40:]
    assert [(fault.path, fault.what) for fault in bag.faults] == [
        (str(path / "bag_1.mcap"), "it is missing, although metadata.yaml names it")
    ]
    for part in (0, 2):
        (path / f"bag_{part}.mcap").unlink()
    with pytest.raises(BagError, match=r"none of the files that its metadata.yaml names"):
        Bag(path)


@pytest.mark.parametrize("text", ["", "{", "a: 1", "rosbag2_bagfile_information: 3", "\x00\x01"])
def test_a_damaged_metadata_file_is_done_without(tmp_path, text):
    rows = bag_files.rows(30)
    path = bag_files.write_rosbag2(tmp_path / "bag", rows, MCAP, CompressionMode.NONE)
    (path / "metadata.yaml").write_text(text)
    bag = Bag(path)
    assert read(bag) == rows
    assert [fault.path for fault in bag.faults] == [str(path / "metadata.yaml")]


@pytest.mark.parametrize("name", ["a.mcap", "a.db3", "a.bag"])
def test_an_empty_file_is_a_bag_that_was_cut_at_its_beginning(tmp_path, name):
    (tmp_path / name).touch()
    bag = Bag(tmp_path / name)
    assert read(bag) == []
    assert bag.topics == {}
    assert bag.begin_ns is None
    assert [fault.offset for fault in bag.faults] == [0]
