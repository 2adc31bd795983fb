"""Every kind of bag comes out as it went in, and no damage raises, hangs or invents a message."""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
import struct
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from mcap.writer import CompressionType
from mcap.writer import Writer as McapLibrary
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from rosbags.typesys import Stores, get_typestore

from jepa_ros_replay.bags import Bag, BagError, BagMessage, find_bags
from jepa_ros_replay.time_order import in_time_order
from jepa_ros_replay.typestores import known_definition

from . import bag_files
from .bag_files import ACTION, IMAGE, JOINTS, KINDS, START, STEP, Row

MCAP, SQLITE = StoragePlugin.MCAP, StoragePlugin.SQLITE3
VARIANTS = [
    (MCAP, CompressionMode.NONE),
    (MCAP, CompressionMode.FILE),
    (MCAP, CompressionMode.MESSAGE),
    (MCAP, CompressionMode.STORAGE),
    (SQLITE, CompressionMode.NONE),
    (SQLITE, CompressionMode.FILE),
    (SQLITE, CompressionMode.MESSAGE),
]
IDS = [f"{plugin.name}-{mode.name}" for plugin, mode in VARIANTS]


def read(bag: Bag, topics: Sequence[str] | None = None) -> list[Row]:
    return [(message.topic, message.time, message.data) for message in bag.messages(topics)]


def storage(folder: Path) -> Path:
    (file,) = [path for path in folder.iterdir() if path.name != "metadata.yaml"]
    return file


# ---- whole bags


@pytest.mark.parametrize("whole", [True, False], ids=["folder", "without metadata"])
@pytest.mark.parametrize(("plugin", "mode"), VARIANTS, ids=IDS)
def test_what_rosbags_wrote_is_read_back(tmp_path, plugin, mode, whole):
    rows = bag_files.rows()
    path = bag_files.write_rosbag2(tmp_path / "bag", rows, plugin, mode)
    if not whole:
        (path / "metadata.yaml").unlink()
    bag = Bag(path)
    assert bag.topics == KINDS
    assert (bag.begin_ns, bag.end_ns) == (START, START + 59 * STEP)
    for _ in range(2):
        assert read(bag) == rows
    assert read(bag, ["/joint_states"]) == [row for row in rows if row[0] == "/joint_states"]
    assert [fault.path for fault in bag.faults] == ([] if whole else [str(path / "metadata.yaml")])
    assert read(Bag(storage(path) if whole else next(path.iterdir()))) == rows


@pytest.mark.parametrize(("plugin", "mode"), VARIANTS, ids=IDS)
def test_split_bags(tmp_path, plugin, mode):
    rows = bag_files.rows(70)
    path = bag_files.write_split(tmp_path / "bag", rows, plugin, mode)
    assert len(list(path.iterdir())) == 4
    bag = Bag(path)
    assert read(bag) == rows
    assert bag.faults == []
    (path / "metadata.yaml").unlink()
    assert read(Bag(path)) == rows


@pytest.mark.parametrize("compression", ["zstd", "lz4", "none"])
def test_our_own_writers(tmp_path, compression):
    rows = bag_files.rows()
    bag = Bag(bag_files.write_ours(tmp_path / "bag", rows, compression=compression))
    assert read(bag) == rows
    assert bag.faults == []


@pytest.mark.parametrize("compression", ["", "LZ4", "BZ2"])
def test_ros1(tmp_path, compression):
    bag = Bag(bag_files.write_rosbag1(tmp_path / "old.bag", compression=compression))
    assert bag.topics == {"/camera/image_raw": IMAGE, "/joint_states": JOINTS}
    messages = list(bag.messages())
    assert [message.time for message in messages] == [START + number * STEP for number in range(60)]
    assert bag.faults == []
    for number, message in enumerate(messages[:4]):
        sent = bag_files.message(message.kind, number)
        got = bag.deserialize(message)
        assert got.header == sent.header
        for field in ("data", "width") if message.kind == IMAGE else ("name", "position", "velocity"):
            assert np.array_equal(getattr(got, field), getattr(sent, field))


def test_ros1_types_become_those_of_ros2(tmp_path):
    """Also where these have other fields, and where ROS 2 knows no such type."""
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import get_types_from_msg

    store = get_typestore(Stores.ROS1_NOETIC)
    store.register(get_types_from_msg("Header header\nfloat32 odd\n", "my_msgs/msg/Odd"))
    types = store.types
    head = types["std_msgs/msg/Header"](
        seq=7, stamp=types["builtin_interfaces/msg/Time"](sec=3, nanosec=4), frame_id="f"
    )
    region = types["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    numbers = {"D": np.arange(5.0), "K": np.arange(9.0), "R": np.arange(9.0), "P": np.arange(12.0)}
    lens = types["sensor_msgs/msg/CameraInfo"](
        header=head, height=2, width=3, distortion_model="m", **numbers, binning_x=0, binning_y=0, roi=region
    )
    log = types["rosgraph_msgs/msg/Log"](
        header=head, level=2, name="n", msg="m", file="f", function="g", line=1, topics=[]
    )  # fmt: skip
    with Writer(tmp_path / "a.bag") as writer:
        for number, made in enumerate((lens, log, types["my_msgs/msg/Odd"](header=head, odd=0.5))):
            connection = writer.add_connection(f"/t{number}", made.__msgtype__, typestore=store)
            writer.write(connection, number, store.serialize_ros1(made, made.__msgtype__))
    bag = Bag(tmp_path / "a.bag")
    found = [bag.deserialize(message) for message in bag.messages()]
    assert bag.faults == []
    assert found[0].k.tolist() == list(range(9))
    assert found[0].header.stamp.sec == 3
    assert (found[1].name, found[1].line) == ("n", 1)
    assert (found[2].odd, found[2].header.frame_id) == (0.5, "f")


def test_messages_are_decoded_with_the_definition_in_the_bag(tmp_path):
    """Here an older JointState that nobody else has."""
    path = tmp_path / "a.mcap"
    text = known_definition(JOINTS).replace("float64[] effort", "float64[] torque")
    with path.open("wb") as file:
        writer = McapLibrary(file)
        writer.start(profile="ros2")
        schema = writer.register_schema(JOINTS, "ros2msg", text.encode())
        channel = writer.register_channel("/joint_states", "cdr", schema)
        data = bag_files.rows(2)[1][2]
        writer.add_message(channel, 1, data, 1)
        writer.finish()
    bag = Bag(path)
    (message,) = bag.messages()
    assert bag.deserialize(message).torque.tolist() == [0.0] * 3


@pytest.mark.parametrize("schema", [b"", b"float64[ nonsense", b"int8 x"], ids=["none", "nonsense", "another's"])
def test_messages_without_a_usable_definition_are_decoded_with_the_known_one(tmp_path, schema):
    path = tmp_path / "a.mcap"
    with path.open("wb") as file:
        writer = McapLibrary(file)
        writer.start(profile="ros2")
        id_ = writer.register_schema(ACTION, "ros2msg" if schema else "", schema)
        channel = writer.register_channel("/applied_action", "cdr", id_)
        writer.add_message(channel, 1, bag_files.rows(3)[2][2], 1)
        writer.finish()
    bag = Bag(path)
    (message,) = bag.messages()
    if schema != b"int8 x":
        assert bag.deserialize(message).names == ["vx", "vy", "wz"]
    else:
        with pytest.raises(BagError, match="/applied_action at byte"):
            bag.deserialize(message)


def test_a_message_that_cannot_be_decoded_is_named(tmp_path):
    rows = bag_files.rows(3)
    bag = Bag(bag_files.write_ours(tmp_path / "bag", [(rows[1][0], rows[1][1], rows[1][2][:20]), rows[2]]))
    broken, whole = bag.messages()
    with pytest.raises(BagError, match=r"the message on /joint_states at byte \d+, log time \d+ ns, cannot be decoded"):
        bag.deserialize(broken)
    assert bag.deserialize(whole).names == ["vx", "vy", "wz"]
    for data in (b"", b"\x00", b"junk of no kind", whole.data[:-1], whole.data * 2):
        with pytest.raises(BagError):
            bag.deserialize(BagMessage("/t", ACTION, 0, data, None))
    with pytest.raises(BagError, match="no usable definition of a/msg/B"):
        bag.deserialize(BagMessage("/t", "a/msg/B", 0, whole.data, None))


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
        from rosbags.rosbag1 import Writer

        path = tmp_path / "a.bag"
        store = get_typestore(Stores.ROS1_NOETIC)
        with Writer(path) as writer:
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
    def source(number):
        return 0, lambda: iter([BagMessage("/t", "k", time, b"", None) for time in (number, number + 500)])

    found = [message.time for message in in_time_order([source(number) for number in range(100)], most_open=3)]
    assert len(found) == 200
    assert set(found) == {*range(100), *range(500, 600)}


def test_memory_does_not_grow_with_the_bag(tmp_path):
    """Half a MB a message, 60 MB in all, and then without an index."""
    data = np.random.default_rng(0).bytes(500_000)
    rows = [("/joint_states", START + number, data) for number in range(120)]
    path = storage(bag_files.write_ours(tmp_path / "bag", rows, flush_every=2, compression="none"))
    for cut in (0, 100):
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - cut)
        tracemalloc.start()
        assert sum(1 for _ in Bag(path).messages()) == 120
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 10e6


# ---- damaged bags


def check_prefix(path: Path, rows: list[Row], size: int) -> int:
    """What is left of a bag that was cut to `size` bytes is its beginning, and the rest is accounted for."""
    bag = Bag(path)
    found = read(bag)
    assert found == rows[: len(found)]
    if len(found) < len(rows):
        assert [fault for fault in bag.faults if fault.path == str(path) and fault.offset is not None], size
    for fault in bag.faults:
        assert fault.offset is None or 0 <= fault.offset
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
        try:
            bag = Bag(broken)
        except BagError as error:
            assert place < 16, f"byte {place}: {error}"
            continue
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
        assert read(bag) == rows[:18] + rows[24:]
        assert offsets[3] in [fault.offset for fault in bag.faults]


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
    with pytest.raises(BagError, match="none of the files that its metadata.yaml names"):
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


@pytest.mark.parametrize("name", ["a.mcap", "a.db3", "a.bag", "a.mcap.zstd", "a.db3.zstd", "a.bag.active", "a.txt"])
def test_a_text_file_is_no_bag(tmp_path, name):
    path = tmp_path / name
    path.write_text("a letter to a friend, which is no bag")
    with pytest.raises(BagError, match=re.escape(str(path))) as raised:
        Bag(path)
    assert "\n" not in str(raised.value)


def test_what_is_not_there_is_no_bag(tmp_path):
    with pytest.raises(BagError, match="no such file or folder"):
        Bag(tmp_path / "none")
    with pytest.raises(BagError, match=r"neither a readable metadata.yaml nor a .mcap or .db3 file"):
        Bag(tmp_path)
    with sqlite3.connect(tmp_path / "a.db3") as database:
        database.execute("CREATE TABLE cats (name TEXT)")
    with pytest.raises(BagError, match="without a rosbag2 in it"):
        Bag(tmp_path / "a.db3")


def test_messages_that_are_not_cdr_are_left_out_and_told(tmp_path):
    path = tmp_path / "a.mcap"
    with path.open("wb") as file:
        writer = McapLibrary(file)
        writer.start()
        schema = writer.register_schema("thing", "jsonschema", b"{}")
        channel = writer.register_channel("/thing", "json", schema)
        writer.add_message(channel, 1, b"{}", 1)
        writer.finish()
    bag = Bag(path)
    assert read(bag) == []
    assert [fault.what for fault in bag.faults] == ["topic /thing is left out: it is encoded as json, not as cdr"]


# ---- finding bags


def test_bags_are_found_in_folders_each_once(tmp_path):
    rows = bag_files.rows(6)
    whole = bag_files.write_rosbag2(tmp_path / "b" / "whole", rows, MCAP, CompressionMode.NONE)
    killed = bag_files.write_rosbag2(tmp_path / "a" / "killed", rows, SQLITE, CompressionMode.NONE)
    (killed / "metadata.yaml").unlink()
    split = bag_files.write_split(tmp_path / "split", rows, MCAP, CompressionMode.FILE)
    (split / "metadata.yaml").unlink()
    loose = tmp_path / "loose"
    loose.mkdir()
    for name in ("x.mcap", "y.mcap"):
        shutil.copy(storage(whole), loose / name)
    bag_files.write_rosbag1(tmp_path / "b" / "old.bag", 4)
    (tmp_path / "notes.txt").write_text("not a bag")
    everything = [killed, tmp_path / "b" / "old.bag", whole, loose / "x.mcap", loose / "y.mcap", split]
    assert find_bags([tmp_path]) == everything
    assert find_bags([whole, tmp_path, whole / ".." / "whole"]) == everything
    assert find_bags([loose / "y.mcap", whole]) == [whole, loose / "y.mcap"]
    assert find_bags([killed]) == [killed]
    assert all(len(read(Bag(path))) in (4, 6) for path in everything)


def test_a_path_without_a_bag_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").touch()
    for path, why in (("none", "no such file"), ("empty", "no bag is there"), ("a.txt", "no bag is there")):
        with pytest.raises(BagError, match=why) as raised:
            find_bags([tmp_path / path])
        assert str(tmp_path / path) in str(raised.value)
