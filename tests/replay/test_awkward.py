"""Each awkward sister has its own trouble, and no other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.reader import make_reader

from jepa_ros.messages import image_view, seconds
from jepa_ros_replay.awkward import COMPRESSED, SISTERS, make_awkward
from jepa_ros_replay.bags import Bag, BagError, find_bags
from jepa_ros_replay.typestores import known_definition
from jepa_ros_replay.writer import BagWriter

from . import bag_files
from .bag_files import IMAGE, JOINTS, START, STEP, Row

COUNT = 300
CAMERA = "/camera/image_raw"


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return bag_files.rows(COUNT)


@pytest.fixture(scope="module")
def sisters(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("awkward")
    return make_awkward(bag_files.write_ours(folder / "good", rows), folder / "sisters", seed=3)


def read(path: Path) -> list[Row]:
    return [(message.topic, message.time, message.data) for message in Bag(path).messages()]


def frames(path: Path, topic: str = CAMERA) -> list[Any]:
    bag = Bag(path)
    return [bag.deserialize(message) for message in bag.messages([topic])]


def number_of(content: Any) -> int:
    return round((seconds(content.header.stamp) - START * 1e-9) / (STEP * 1e-9))


def test_there_is_one_bag_of_each_and_two_that_overlap(sisters):
    assert tuple(sisters) == SISTERS
    assert {name: len(paths) for name, paths in sisters.items()} == {**dict.fromkeys(SISTERS, 1), "overlapping": 2}
    everything = [path for paths in sisters.values() for path in paths]
    assert find_bags([sisters["dropped"][0].parent]) == sorted(everything)
    for path in everything:
        bag = Bag(path)
        for message in bag.messages():
            bag.deserialize(message)
        assert bool(bag.faults) == (path.name == "truncated")


def test_joint_states_are_missing(sisters, rows):
    (path,) = sisters["missing_topic"]
    assert JOINTS not in Bag(path).topics.values()
    assert read(path) == [row for row in rows if row[0] != "/joint_states"]


@pytest.mark.parametrize("begin", [START, 0], ids=["today", "from zero"])
def test_the_clock_goes_back_by_30_seconds_in_the_middle(tmp_path, rows, begin):
    shifted = [(topic, time - START + begin, data) for topic, time, data in rows]
    good = bag_files.write_ours(tmp_path / "good", shifted)
    (path,) = make_awkward(good, tmp_path / "out", only=["clock_back"])["clock_back"]
    bag, jump = Bag(path), 30_000_000_000
    stamps = {message.time - begin: number_of(bag.deserialize(message)) * STEP for message in bag.messages()}
    assert all(abs(stamp - time) < STEP for time, stamp in stamps.items()), "headers jump as log times do"
    with (path / "clock_back.mcap").open("rb") as file:
        written = [found.log_time - begin for _, _, found in make_reader(file).iter_messages(log_time_order=False)]
    half = (COUNT - 1) // 2 + 1
    early, late = (0, jump) if begin else (jump, 0)
    assert written[:half] == [number * STEP + early for number in range(half)]
    assert written[half:] == [number * STEP - late for number in range(half, COUNT)]
    assert bag.end_ns - bag.begin_ns > 29e9


def test_30_percent_of_the_frames_are_dropped_the_same_each_time(sisters, rows, tmp_path):
    (path,) = sisters["dropped"]
    found = read(path)
    others = [row for row in rows if row[0] != CAMERA]
    assert [row for row in found if row[0] != CAMERA] == others
    assert set(found) <= set(rows)
    assert 55 <= len(found) - len(others) <= 85
    good = path.parent.parent / "good"
    assert read(make_awkward(good, tmp_path / "a", seed=3, only=["dropped"])["dropped"][0]) == found
    assert read(make_awkward(good, tmp_path / "b", seed=4, only=["dropped"])["dropped"][0]) != found


def test_encodings_alternate_and_show_the_same(sisters, rows):
    (path,) = sisters["mixed_encodings"]
    good, mixed = frames(path.parent.parent / "good"), frames(path)
    assert [frame.encoding for frame in mixed[:5]] == ["rgb8", "bgr8", "mono8", "rgba8", "rgb8"]
    for before, after in zip(good, mixed, strict=True):
        assert str(after.header) == str(before.header)
        assert len(after.data) == after.step * after.height
        if after.encoding != "mono8":
            assert np.array_equal(image_view(after), image_view(before))
        else:
            grey = image_view(before) @ np.array([0.299, 0.587, 0.114])
            assert np.abs(image_view(after)[..., 0] - grey).max() < 1.5
    assert [row for row in read(path) if row[0] != CAMERA] == [row for row in rows if row[0] != CAMERA]


def test_jpeg_takes_the_place_of_raw_images(tmp_path):
    """Of a smooth picture, so that what comes out can be compared."""
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    rows = bag_files.rows(6)
    good = Bag(bag_files.write_ours(tmp_path / "good", rows))
    changed = []
    for message in good.messages():
        content = good.deserialize(message)
        if message.kind == IMAGE:
            content.height = content.width = 64
            content.step, content.data = 192, np.repeat(smooth.reshape(-1), 3)
        changed.append((message.topic, message.time, good.serialize(content, message.kind)))
    made = make_awkward(bag_files.write_ours(tmp_path / "smooth", changed), tmp_path / "out", only=["compressed"])
    (path,) = made["compressed"]
    bag = Bag(path)
    assert IMAGE not in bag.topics.values()
    assert bag.topics[f"{CAMERA}/compressed"] == COMPRESSED
    (first, second) = frames(path, f"{CAMERA}/compressed")
    assert first.format == "jpeg"
    assert [number_of(frame) for frame in (first, second)] == [0, 3]
    assert np.abs(image_view(first)[..., 1].astype(int) - smooth).max() < 12


def test_the_truncated_one_is_cut_at_60_percent(sisters, rows):
    (path,) = sisters["truncated"]
    (file,) = path.iterdir()
    whole = (path.parent.parent / "good" / "good.mcap").stat().st_size
    assert 0.3 < file.stat().st_size / whole < 0.9
    found = read(path)
    assert found == rows[: len(found)]
    assert any(fault.offset is not None for fault in Bag(path).faults)


def test_the_overlapping_ones_share_a_fifth_of_the_time(sisters, rows):
    first, second = sisters["overlapping"]
    assert read(first) == rows[: round(COUNT * 0.6)]
    assert read(second) == rows[round(COUNT * 0.4) :]


def test_what_has_no_sisters(tmp_path):
    good = bag_files.write_ours(tmp_path / "good", bag_files.rows(3))
    with pytest.raises(BagError, match="fish: no such sister of a bag; there are missing_topic"):
        make_awkward(good, tmp_path / "out", only=["fish"])
    make_awkward(good, tmp_path / "out", only=["dropped"])
    with pytest.raises(BagError, match="exists already"):
        make_awkward(good, tmp_path / "out", only=["dropped"])
    blind = BagWriter(tmp_path / "blind")
    blind.add_topic("/joint_states", JOINTS, known_definition(JOINTS))
    blind.close()
    with pytest.raises(BagError, match="must hold camera images"):
        make_awkward(tmp_path / "blind", tmp_path / "out")


def test_the_command(tmp_path):
    good = bag_files.write_ours(tmp_path / "good", bag_files.rows(30))
    line = [sys.executable, "-m", "jepa_ros_replay.awkward", str(good), "--out", str(tmp_path / "out")]
    done = subprocess.run([*line, "--only", "overlapping"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "out" / "overlapping" / part) for part in ("first", "second")]
    done = subprocess.run([*line, "--only", "fish"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "awkward: fish: no such sister" in done.stdout
