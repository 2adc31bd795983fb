"""Every kind of bag comes out as it went in; what is none is refused in one sentence."""

from __future__ import annotations

import re
import shutil
import sqlite3

import numpy as np
import pytest
from rosbags.rosbag2 import CompressionMode

from jepa_ros_replay.bags import Bag, BagError, find_bags

from . import bag_files
from .bag_files import IMAGE, JOINTS, KINDS, MCAP, SQLITE, START, STEP, read, storage

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


@pytest.mark.parametrize(("plugin", "mode"), VARIANTS, ids=IDS)
def test_bags_without_a_message(tmp_path, plugin, mode):
    bag = Bag(bag_files.write_rosbag2(tmp_path / "bag", [], plugin, mode))
    assert read(bag) == []
    assert bag.topics == KINDS
    assert (bag.begin_ns, bag.end_ns) == (None, None)
    assert bag.faults == []


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
    shutil.copytree(whole, tmp_path / ".trash" / "whole")
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
