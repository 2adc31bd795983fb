"""What was written is there, however the writer ends: closed, killed, or out of room."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import Reader

from jepa_ros_replay.bags import Bag, BagError
from jepa_ros_replay.typestores import known_definition
from jepa_ros_replay.writer import CHUNK_BYTES, BagWriter

from . import bag_files
from .bag_files import JOINTS, KINDS, START, STEP, Row

ROOT = Path(__file__).resolve().parents[2]


def read(path: Path) -> tuple[list[Row], Bag]:
    bag = Bag(path)
    return [(message.topic, message.time, message.data) for message in bag.messages()], bag


@pytest.mark.parametrize("compression", ["zstd", "lz4", "none"])
def test_what_is_written_is_read_by_us_and_by_rosbags(tmp_path, compression):
    rows = bag_files.rows(90, side=100)
    writer = BagWriter(tmp_path / "deep" / "bag", compression)
    for topic, kind in KINDS.items():
        writer.add_topic(topic, kind, known_definition(kind))
    for row in rows:
        writer.write(*row)
    writer.close()
    writer.close()
    assert writer.messages == 90
    found, bag = read(writer.path)
    assert found == rows
    assert bag.faults == []
    with AnyReader([writer.path]) as reader:  # which checks the hash of every definition
        assert [(c.topic, t, bytes(d)) for c, t, d in reader.messages()] == rows
        assert {c.topic: c.msgtype for c in reader.connections} == KINDS


def test_the_metadata_are_those_of_rosbag2(tmp_path):
    path = bag_files.write_ours(tmp_path / "bag", bag_files.rows(30))
    about = yaml.safe_load((path / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert about["storage_identifier"] == "mcap"
    assert about["relative_file_paths"] == ["bag.mcap"]
    assert about["message_count"] == 30
    assert about["compression_mode"] == ""
    assert about["starting_time"] == {"nanoseconds_since_epoch": START}
    assert about["duration"] == {"nanoseconds": 29 * STEP}
    topics = {entry["topic_metadata"]["name"]: entry["message_count"] for entry in about["topics_with_message_count"]}
    assert topics == dict.fromkeys(KINDS, 10)
    with Reader(path / "bag.mcap") as reader:
        assert reader.message_count == 30


def test_chunks_are_compressed_and_small(tmp_path):
    data = bytes(200_000)
    writer = BagWriter(tmp_path / "bag")
    writer.add_topic("/joint_states", JOINTS, known_definition(JOINTS))
    for number in range(100):
        writer.write("/joint_states", number, data)
        assert writer.messages - writer._file.stored < 2 + CHUNK_BYTES // len(data)
    writer.close()
    assert writer.size < 100_000
    assert writer.size == (tmp_path / "bag" / "bag.mcap").stat().st_size
    offsets = {message.offset for message in Bag(tmp_path / "bag").messages()}
    assert len(offsets) == 25


def test_an_empty_bag_is_a_bag(tmp_path):
    writer = BagWriter(tmp_path / "bag")
    writer.add_topic("/joint_states", JOINTS, known_definition(JOINTS))
    writer.close()
    found, bag = read(tmp_path / "bag")
    assert found == []
    assert bag.topics == {"/joint_states": JOINTS}
    assert bag.begin_ns is None
    assert bag.faults == []


def test_what_a_writer_refuses(tmp_path):
    writer = BagWriter(tmp_path / "bag")
    writer.add_topic("/joint_states", JOINTS, known_definition(JOINTS))
    with pytest.raises(BagError, match="topic /joint_states was added before"):
        writer.add_topic("/joint_states", JOINTS, known_definition(JOINTS))
    with pytest.raises(BagError, match="does not define a/msg/B"):
        writer.add_topic("/b", "a/msg/B", "float64[ x")
    with pytest.raises(BagError, match="topic /imu was not added"):
        writer.write("/imu", 0, b"")
    with pytest.raises(BagError, match="exists already; give another path"):
        BagWriter(tmp_path / "bag")
    with pytest.raises(BagError, match="one of zstd, lz4, none, not 'zip'"):
        BagWriter(tmp_path / "other", "zip")
    (tmp_path / "file").touch()
    with pytest.raises(BagError, match="cannot be made: Not a directory"):
        BagWriter(tmp_path / "file" / "bag")
    writer.close()
    with pytest.raises(BagError, match="is closed"):
        writer.write("/joint_states", 0, b"")
    with pytest.raises(BagError, match="not in ROS 2 Jazzy or jepa_ros_msgs"):
        known_definition("a/msg/B")


HEAD = f"""
import sys, time
import numpy as np
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.replay import bag_files
from jepa_ros_replay.writer import BagWriter
from jepa_ros_replay.records import BagError
from jepa_ros_replay.typestores import known_definition
writer = BagWriter(Path(sys.argv[1]))
for topic, kind in bag_files.KINDS.items():
    writer.add_topic(topic, kind, known_definition(kind))
"""


def start(code: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HEAD + code, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_after_kill_9_everything_up_to_the_last_chunk_is_there(tmp_path):
    """The chunks are ended by their size; what was told to be on the disk before the kill is."""
    code = """
number = 0
while True:
    for row in bag_files.rows(30, first=number, side=200):
        writer.write(*row)
        number += 1
        print(writer._file.stored, flush=True)
"""
    process = start(code, tmp_path / "bag")
    try:
        told = 0
        while told < 200:
            told = int(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
        process.wait()
    told = max(told, *map(int, rest.split()), 0) if rest.split() else told
    assert not (tmp_path / "bag" / "metadata.yaml").exists()
    found, bag = read(tmp_path / "bag")
    assert len(found) >= told >= 200
    assert found == bag_files.rows(len(found), side=200)
    assert any("it is missing: the recorder was killed" in fault.what for fault in bag.faults)
    assert any(fault.offset is not None for fault in bag.faults)


def test_a_second_is_the_most_that_a_kill_takes(tmp_path):
    """Messages too few to fill a chunk, and then none at all."""
    code = """
for row in bag_files.rows(10):
    writer.write(*row)
time.sleep(1.1)
writer.write(*bag_files.rows(1, first=10)[0])
print("written", flush=True)
writer.write(*bag_files.rows(1, first=11)[0])
time.sleep(0.6)
writer.flush(1.0)
print("too soon", writer._file.stored, flush=True)
time.sleep(0.6)
writer.flush(1.0)
print("flushed", writer._file.stored, flush=True)
time.sleep(60)
"""
    process = start(code, tmp_path / "bag")
    try:
        assert process.stdout.readline() == "written\n"
        assert len(read(tmp_path / "bag")[0]) == 11
        assert process.stdout.readline() == "too soon 11\n"
        assert process.stdout.readline() == "flushed 12\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert read(tmp_path / "bag")[0] == bag_files.rows(12)


FILL = """
try:
    for number in range(1000):
        writer.write("/joint_states", number, np.random.default_rng(number).bytes(20_000))
    print("never full")
except BagError as error:
    print(error)
try:
    writer.write("/joint_states", 0, b"")
except BagError as error:
    print(error)
writer.close()
"""


def check_full(process: subprocess.Popen[str], path: Path) -> None:
    output, errors = process.communicate(timeout=60)
    assert errors == ""
    full, closed, *rest = output.splitlines()
    assert rest == []
    told = re.fullmatch(
        rf"bag {path}: the disk is full; (\d+) of (\d+) messages \((\d+\.\d) MB\) are saved and readable", full
    )
    assert told, full
    assert closed == f"bag {path}: is closed, nothing more can be written"
    assert 0 < int(told[1]) < int(told[2]) < 1000
    found, bag = read(path)
    assert len(found) == int(told[1])
    for number, (_, at, data) in enumerate(found):
        assert (at, data) == (number, np.random.default_rng(number).bytes(20_000))
    assert bag.faults


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("may not mount a small file system here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_ends_the_bag_with_one_sentence(small_disk):
    check_full(start(FILL, small_disk / "bag"), small_disk / "bag")


def test_a_limit_on_the_size_of_files_does_too(tmp_path):
    limit = "\nimport resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))\n"
    check_full(start(limit + FILL, tmp_path / "bag"), tmp_path / "bag")


def test_no_room_for_the_index_costs_no_message(small_disk):
    code = """
for row in bag_files.rows(30):
    writer.write(*row)
writer.flush()
with open(sys.argv[1] + "/filler", "wb", buffering=0) as file:
    try:
        while file.write(bytes(4096)):
            pass
    except OSError:
        pass
writer.write(*bag_files.rows(1, first=30, side=100)[0])
try:
    writer.close()
except BagError as error:
    print(error)
"""
    process = start(code, small_disk / "bag")
    output, errors = process.communicate(timeout=60)
    assert errors == ""
    assert "the disk is full; 30 of 31 messages" in output
    assert read(small_disk / "bag")[0][:30] == bag_files.rows(30)


def test_writing_is_fast_enough_for_a_camera(tmp_path):
    """640×480 at 30 Hz are 28 MB/s."""
    rng = np.random.default_rng(0)
    frame = np.kron(rng.integers(0, 256, (48, 64, 3), np.uint8), np.ones((10, 10, 1), np.uint8)).tobytes()
    writer = BagWriter(tmp_path / "bag")
    writer.add_topic("/joint_states", JOINTS, known_definition(JOINTS))
    began = time.process_time()
    for number in range(60):
        writer.write("/joint_states", number, frame)
    writer.close()
    assert time.process_time() - began < 1.0
