"""One bag of a batch: its folder, its name, when an earlier report still stands, and how it fails."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jepa_ros.errors import JepaRosError
from jepa_ros.planning.recorded import RecordedPlans, read_plans
from jepa_ros_replay import jobs
from jepa_ros_replay.batch import jobs_for
from jepa_ros_replay.engine import ReplaySettings
from jepa_ros_replay.jobs import kept_row, run_job, unique_names

from .stand_in import make_bags, make_bundle, replay

FILES = {"report.html", "summary.json", "annotated.mcap", "replay_state.json"}


@pytest.fixture
def bundle(tmp_path):
    return make_bundle(tmp_path / "bundle")


@pytest.fixture
def job(tmp_path, bundle):
    (bag,) = make_bags(tmp_path / "bags", "walk.mcap")
    (found,) = jobs_for([bag], bundle, tmp_path / "out", ReplaySettings())
    return found


def test_a_bag_gets_a_folder_with_report_summary_annotations_and_state(job):
    row = run_job(job, replay)
    assert {path.name for path in job.folder.iterdir()} == FILES
    assert (row.name, row.error, row.kept) == ("walk", "", False)
    assert row.summary == json.loads((job.folder / "summary.json").read_text())
    assert row.summary["bag"] == row.bag == str(job.bag)


def test_recorded_plans_lie_beside_the_report(job):
    rows = np.zeros((2, 5), np.float32)
    plans = RecordedPlans(rows, rows, np.zeros((2, 4, 3)), np.zeros((2, 4, 5)), np.zeros(2), "ab")

    def recording(bag, bundle, settings, progress):
        return replace(replay(bag, bundle, settings, progress), recorded_plans=plans)

    run_job(job, recording)
    assert {path.name for path in job.folder.iterdir()} == FILES | {"plans.npz"}
    assert len(read_plans(job.folder / "plans.npz")) == 2
    run_job(job, replay)
    assert not (job.folder / "plans.npz").exists(), "of an earlier replay"


def test_a_finished_bag_is_kept(job):
    row = run_job(job, replay)
    assert kept_row(job) == replace(row, kept=True)


def touch(job):
    os.utime(job.bag, ns=(1, 1))


def grow(job):
    stat = job.bag.stat()
    job.bag.write_bytes(b"a longer bag")
    os.utime(job.bag, ns=(stat.st_atime_ns, stat.st_mtime_ns))


CHANGES = {
    "the bag's time": touch,
    "the bag's size": grow,
    "the bag is gone": lambda job: job.bag.unlink(),
    "the bundle": lambda job: (job.bundle / "manifest.yaml").write_text("name: another"),
    "no bundle": lambda job: (job.bundle / "manifest.yaml").unlink(),
    "no state": lambda job: (job.folder / "replay_state.json").unlink(),
    "half a state": lambda job: (job.folder / "replay_state.json").write_text("{"),
    "no summary": lambda job: (job.folder / "summary.json").unlink(),
    "half a summary": lambda job: (job.folder / "summary.json").write_text("{"),
    "no report": lambda job: (job.folder / "report.html").unlink(),
    "no annotations": lambda job: (job.folder / "annotated.mcap").unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_not_kept(job, change):
    run_job(job, replay)
    CHANGES[change](job)
    assert kept_row(job) is None


@pytest.mark.parametrize(
    "settings",
    [{"seed": 1}, {"goal": "west"}, {"robot": "other"}, {"remaps": (("imu", "/x"),)}, {"control_rate": 50.0}],
    ids=str,
)
def test_other_settings_are_another_replay(job, settings):
    run_job(job, replay)
    assert kept_row(replace(job, settings=replace(job.settings, **settings))) is None


def test_another_version_of_the_software_is_another_replay(job, monkeypatch):
    run_job(job, replay)
    monkeypatch.setattr(jobs, "version", lambda name: "99.0")
    assert kept_row(job) is None


@pytest.mark.parametrize("goal", ["goal.png", "other.mcap@2.5s"])
def test_another_goal_in_a_file_of_the_same_name_is_another_replay(job, tmp_path, goal):
    file = tmp_path / goal.partition("@")[0]
    file.write_bytes(b"an image")
    job = replace(job, settings=replace(job.settings, goal=str(tmp_path / goal)))
    run_job(job, replay)
    assert kept_row(job) is not None
    file.write_bytes(b"another image")
    assert kept_row(job) is None


def test_a_folder_is_as_old_as_each_file_in_it(bundle, tmp_path):
    make_bags(tmp_path / "drive", "metadata.yaml", "drive_0.mcap")
    (job,) = jobs_for([tmp_path / "drive"], bundle, tmp_path / "out", ReplaySettings())
    run_job(job, replay)
    assert kept_row(job) is not None
    make_bags(tmp_path / "drive", "drive_1.mcap")
    assert kept_row(job) is None


def test_a_failure_is_a_sentence_and_leaves_no_earlier_report(job):
    run_job(job, replay)
    row = run_job(job, lambda *_: (_ for _ in ()).throw(JepaRosError("bag x: holds no camera images")))
    assert (row.error, row.summary) == ("bag x: holds no camera images", None)
    assert list(job.folder.iterdir()) == []


def test_a_fault_of_ours_leaves_its_traceback(job):
    row = run_job(replace(job, bag=make_bags(job.bag.parent, "bug.mcap")[0]), replay)
    assert row.error == f"unexpected ZeroDivisionError (a fault of ours); see {job.folder / 'error.txt'}"
    assert "ZeroDivisionError: a fault of ours" in (job.folder / "error.txt").read_text()
    assert {path.name for path in job.folder.iterdir()} == {"error.txt"}


def test_a_report_that_could_not_be_finished_has_no_state(job, monkeypatch):
    def full_disc(path, result):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(jobs, "write_annotated", full_disc)
    row = run_job(job, replay)
    assert row.error == f"{job.folder / 'annotated.mcap'}: No space left on device"
    assert kept_row(job) is None


def test_an_interrupt_is_not_taken_for_a_failure(job):
    with pytest.raises(KeyboardInterrupt):
        run_job(job, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))


def test_names_are_the_bags_own_and_unique(tmp_path):
    (tmp_path / "a" / "recording.v2").mkdir(parents=True)
    (tmp_path / "b" / "recording.v2").mkdir(parents=True)
    files = ["x/walk.mcap", "x/walk.db3", "y/run.mcap.zstd", "y/trot.mcap", "z/Trot.mcap", "z/.mcap"]
    for name in files:
        make_bags(tmp_path / Path(name).parent, Path(name).name)
    bags = [tmp_path / "a" / "recording.v2", tmp_path / "b" / "recording.v2", *(tmp_path / name for name in files)]
    names = unique_names(bags)
    assert names[:4] == ["a_recording.v2", "b_recording.v2", "walk.mcap", "walk.db3"]
    assert names[4] == "run"
    assert len({name.casefold() for name in names}) == len(bags), "also where case does not count"
    assert all(name and "/" not in name for name in names)


def test_a_bag_given_twice_still_gets_two_names(tmp_path):
    (bag,) = make_bags(tmp_path, "walk.mcap")
    assert len(set(unique_names([bag, bag]))) == 2
