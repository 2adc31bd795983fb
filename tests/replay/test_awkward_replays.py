"""The sample recording and its awkward sisters: a right report or a clear sentence, never a traceback, never a hang."""

from __future__ import annotations

from pathlib import Path

import pytest

from jepa_ros_replay.awkward import make_awkward
from jepa_ros_replay.bags import Bag
from jepa_ros_replay.engine import ReplaySettings, replay
from jepa_ros_replay.report import write_report
from jepa_ros_replay.result import ReplayResult

SAMPLE = Path(__file__).resolve().parents[2] / "bags" / "go2_room0"
SETTINGS = ReplaySettings(goal=f"{SAMPLE}@10s")


@pytest.fixture(scope="module")
def sisters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    return make_awkward(SAMPLE, tmp_path_factory.mktemp("awkward"))


def replayed(bag: Path, bundle: Path, out: Path) -> ReplayResult:
    """A replay whose report could be written."""
    found = replay(bag, bundle, SETTINGS)
    assert write_report(out, found).stat().st_size > 10_000
    return found


def whats(found: ReplayResult) -> str:
    return " ".join(fault.what for fault in found.faults)


def test_the_sample_is_whole_small_and_has_all_that_replay_and_training_need(tmp_path, tiny_bundle):
    assert sum(path.stat().st_size for path in SAMPLE.iterdir()) < 5e6
    found = replayed(SAMPLE, tiny_bundle, tmp_path)
    assert found.faults == []
    assert found.gaps == []
    assert set(found.topics) == {
        "camera", "camera_info", "joint_states", "imu", "applied_action", "joint_commands", "goal", "odometry",
    }  # fmt: skip
    assert (found.dropped, found.late, dict(found.images_refused)) == (0, 0, {})
    assert found.commands
    assert found.recorded
    assert len(found.plans) > 80


def test_its_own_goals_are_driven_to_without_being_asked(tiny_bundle):
    assert len(replay(SAMPLE, tiny_bundle).goals) == 3


def test_missing_topic(sisters, tmp_path, tiny_bundle):
    (bag,) = sisters["missing_topic"]
    found = replayed(bag, tiny_bundle, tmp_path)
    assert "there is no joint_states in it" in whats(found)
    assert found.commands == []
    assert len(found.plans) > 80


def test_clock_back(sisters, tmp_path, tiny_bundle):
    (bag,) = sisters["clock_back"]
    assert "the clock went back" in whats(replayed(bag, tiny_bundle, tmp_path))


def test_dropped(sisters, tmp_path, tiny_bundle):
    (bag,) = sisters["dropped"]
    found = replayed(bag, tiny_bundle, tmp_path)
    assert found.frames + found.dropped == pytest.approx(180, abs=3)
    assert 35 < found.dropped < 75


def test_mixed_encodings(sisters, tmp_path, tiny_bundle):
    (bag,) = sisters["mixed_encodings"]
    found = replayed(bag, tiny_bundle, tmp_path)
    assert not found.images_refused
    assert len(found.plans) > 80


def test_compressed(sisters, tmp_path, tiny_bundle):
    (bag,) = sisters["compressed"]
    found = replayed(bag, tiny_bundle, tmp_path)
    assert found.topics["camera"].endswith("/compressed")
    assert len(found.plans) > 80


def test_truncated(sisters, tmp_path, tiny_bundle):
    (bag,) = sisters["truncated"]
    found = replayed(bag, tiny_bundle, tmp_path)
    assert any(fault.offset for fault in found.faults)
    assert 20 < len(found.plans) < 80


def test_overlapping(sisters, tmp_path, tiny_bundle):
    bags = sisters["overlapping"]
    assert len(bags) == 2
    spans = [(Bag(bag).begin_ns, Bag(bag).end_ns) for bag in bags]
    assert max(begin for begin, _ in spans) < min(end for _, end in spans)
    for number, bag in enumerate(bags):
        assert len(replayed(bag, tiny_bundle, tmp_path / str(number)).plans) > 20
