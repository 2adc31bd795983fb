"""Many bags: each bag's folder, what is kept, what fails, and the processes they run in."""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from jepa_ros.errors import JepaRosError
from jepa_ros_replay import batch, jobs, workers
from jepa_ros_replay.bags import BagError
from jepa_ros_replay.batch import jobs_for, run_batch
from jepa_ros_replay.engine import ReplaySettings
from jepa_ros_replay.jobs import Row, is_report, kept_row, run_job, unique_names

from .stand_in import replay

FILES = {"report.html", "summary.json", "annotated.mcap", "replay_state.json"}


def one_by_one(jobs, replay, workers, on_progress):
    """In this process, so that tests do not wait for others to start."""
    for job in jobs:
        yield run_job(job, replay, lambda part, name=job.folder.name: on_progress(name, part))


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(batch, "run_local", one_by_one)


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "manifest.yaml").write_text("name: a bundle")
    return folder


def make_bags(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"a bag")
    return [folder / name for name in names]


def calls(folder):
    path = folder / "calls.txt"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


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


def test_paths_are_absolute_for_workers_that_stand_elsewhere(bundle, tmp_path, monkeypatch):
    make_bags(tmp_path, "walk.mcap", "goal.png", "west")
    monkeypatch.chdir(tmp_path)
    made = {}
    for goal in ("goal.png", "walk.mcap@3", "west", "nothere.png"):
        (found,) = jobs_for([Path("walk.mcap")], Path("bundle"), Path("out"), ReplaySettings(goal=goal))
        assert found.bag.is_absolute()
        assert found.bundle.is_absolute()
        assert found.folder == tmp_path / "out" / "walk"
        made[goal] = found.settings.goal
    assert made["goal.png"] == str(tmp_path / "goal.png")
    assert made["walk.mcap@3"] == f"{tmp_path / 'walk.mcap'}@3"
    assert (made["west"], made["nothere.png"]) == ("west", "nothere.png"), "a name stays a name"


def test_a_report_inside_its_bag_is_refused(bundle, tmp_path):
    make_bags(tmp_path / "drive", "metadata.yaml")
    for out in (tmp_path, tmp_path / "drive" / "reports"):
        with pytest.raises(BagError, match="would lie inside the bag"):
            jobs_for([tmp_path / "drive"], bundle, out, ReplaySettings())


def test_no_bag_is_refused(bundle, tmp_path):
    with pytest.raises(BagError, match="no bag to replay"):
        run_batch([], bundle, tmp_path / "out")


def test_reports_among_the_bags_are_passed_over(job, tmp_path):
    run_job(job, replay)
    annotated = job.folder / "annotated.mcap"
    assert is_report(annotated)
    assert is_report(job.folder)
    assert not is_report(job.bag)
    assert [found.bag for found in jobs_for([annotated, job.bag], job.bundle, tmp_path, ReplaySettings())] == [job.bag]
    with pytest.raises(BagError, match="are reports of earlier replays"):
        jobs_for([annotated], job.bundle, tmp_path, ReplaySettings())


def test_a_bag_that_fails_does_not_cost_the_others(here, bundle, tmp_path):
    bags = make_bags(tmp_path / "bags", "a.mcap", "bug.mcap", "nocamera.mcap", "z.mcap")
    rows = run_batch(bags, bundle, tmp_path / "out", replay=replay)
    assert [row.name for row in rows] == ["a", "bug", "nocamera", "z"]
    assert [bool(row.error) for row in rows] == [False, True, True, False]
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [row["name"] for row in found["rows"]] == ["a", "bug", "nocamera", "z"]
    assert found["rows"][2]["error"] == f"bag {bags[2]}: holds no camera images"
    assert found["rows"][3]["summary"]["bag"] == str(bags[3])


def test_the_totals_are_sums(here, bundle, tmp_path):
    bags = make_bags(tmp_path / "bags", "a.mcap", "b.mcap", "nocamera.mcap")
    run_batch(bags, bundle, tmp_path / "out", replay=replay)
    found = json.loads((tmp_path / "out" / "summary.json").read_text())["totals"]
    assert (found["bags"], found["failed"], found["kept"]) == (3, 1, 0)
    assert (found["seconds"], found["wall_s"], found["realtime_factor"]) == (20.0, 4.0, 5.0)
    assert (found["frames"], found["plans"], found["frames_late"], found["frames_refused"]) == (300, 98, 6, 4)
    assert (found["faults"], found["gaps"]) == (2, 2)
    assert found["safety_events"] == {"plan_stale": 2, "damped_on_request": 2}
    assert found["surprise"]["p50"] == pytest.approx(0.55, abs=0.05)


def test_all_failed_has_totals_too(here, bundle, tmp_path):
    run_batch(make_bags(tmp_path / "bags", "nocamera.mcap"), bundle, tmp_path / "out", replay=replay)
    found = json.loads((tmp_path / "out" / "summary.json").read_text())["totals"]
    assert (found["failed"], found["realtime_factor"], found["surprise"]["p50"]) == (1, None, None)


def test_a_second_run_does_only_what_is_new_or_failed(here, bundle, tmp_path):
    bags = make_bags(tmp_path / "bags", "a.mcap", "nocamera.mcap")
    run_batch(bags, bundle, tmp_path / "out", replay=replay)
    bags += make_bags(tmp_path / "bags", "b.mcap")
    rows = run_batch(bags, bundle, tmp_path / "out", replay=replay)
    assert calls(tmp_path / "bags") == ["a.mcap", "nocamera.mcap", "nocamera.mcap", "b.mcap"]
    assert [(row.name, row.kept) for row in rows] == [("a", True), ("nocamera", False), ("b", False)]
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["totals"]["kept"] == 1


def test_force_does_everything_again(here, bundle, tmp_path):
    bags = make_bags(tmp_path / "bags", "a.mcap")
    for force in (False, False, True):
        run_batch(bags, bundle, tmp_path / "out", force=force, replay=replay)
    assert calls(tmp_path / "bags") == ["a.mcap", "a.mcap"]


def test_progress_is_shown_over_the_bags_and_within_them():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with batch._shown(console, bags=3, kept=1) as (on_progress, on_row):
        on_progress("walk", 0.5)
        on_progress("run", 0.25)
        on_row(Row("walk", "walk.mcap"))
    last = console.file.getvalue().rpartition("bags")[2]  # as it stands at the end
    assert "2/3" in last
    assert "run" in last
    assert "25/100" in last
    assert "walk" not in last, "its bar went when it was done"


@pytest.fixture
def stand_in(monkeypatch):
    """The stand-in under a name by which other processes can import it."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # for Ray's, which are no children of this process
    yield importlib.import_module("stand_in").replay
    sys.modules.pop("stand_in", None)


@pytest.mark.slow
def test_bags_are_replayed_in_processes_of_their_own(stand_in, bundle, tmp_path):
    bags = make_bags(tmp_path / "bags", "a.mcap", "b.mcap", "c.mcap", "nocamera.mcap")
    told = []
    made = jobs_for(bags, bundle, tmp_path / "out", ReplaySettings(seed=3))
    rows = list(workers.run_local(made, stand_in, 2, lambda name, part: told.append((name, part))))
    assert {row.name: bool(row.error) for row in rows} == {"a": False, "b": False, "c": False, "nocamera": True}
    pids = {line.split()[1] for line in (tmp_path / "bags" / "calls.txt").read_text().splitlines()}
    assert str(os.getpid()) not in pids
    assert len(pids) <= 2
    assert ("a", 0.5) in told
    assert all(kept_row(job) is not None for job in made[:3])


@pytest.mark.slow
def test_a_process_that_dies_costs_its_own_bag_only(stand_in, bundle, tmp_path):
    bags = make_bags(tmp_path / "bags", "a.mcap", "killer.mcap", "z.mcap")
    rows = run_batch(bags, bundle, tmp_path / "out", workers=2, replay=stand_in)
    assert [(row.name, row.error) for row in rows] == [
        ("a", ""), ("killer", "the process that replayed it died (out of memory?)"), ("z", ""),
    ]  # fmt: skip


def test_as_many_workers_as_cores():
    assert 1 <= workers.cores() <= (os.cpu_count() or 1)


def test_ray_that_is_not_installed_is_a_sentence(monkeypatch, job):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(JepaRosError, match=r"engine ray: Ray is not installed here; run pip install 'jepa_ros\[ray\]'"):
        list(workers.run_ray([job], replay, None, lambda *_: None))


class MadeUpRay:
    """As much of Ray as is used: tasks run when they are waited for."""

    class exceptions:  # noqa: N801
        RayError = type("RayError", (Exception,), {})

    def __init__(self):
        self.most, self.running, self.started, self.stopped = 0, 0, False, False

    def is_initialized(self):
        return self.started

    def init(self, **_):
        self.started = True

    def shutdown(self):
        self.stopped = True

    def remote(self, **options):
        assert options == {"num_cpus": 1}

        def submit(*arguments):
            self.running += 1
            self.most = max(self.most, self.running)
            return arguments

        return lambda function: SimpleNamespace(remote=lambda *given: submit(function, *given))

    def wait(self, references, num_returns):
        return references[:num_returns], references[num_returns:]

    def get(self, reference):
        self.running -= 1
        function, *arguments = reference
        if "killer" in arguments[0].bag.name:
            raise self.exceptions.RayError("a worker died\nout of memory")
        return function(*arguments)


def test_ray_runs_every_bag_and_no_more_at_a_time_than_asked(monkeypatch, bundle, tmp_path):
    ray = MadeUpRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    bags = make_bags(tmp_path / "bags", "a.mcap", "killer.mcap", "nocamera.mcap", "z.mcap")
    rows = run_batch(bags, bundle, tmp_path / "out", workers=2, engine="ray", replay=replay)
    assert [bool(row.error) for row in rows] == [False, True, True, False]
    assert rows[1].error == "Ray could not finish it: out of memory"
    assert ray.most == 2
    assert ray.stopped


def test_a_ray_that_runs_already_is_left_running(monkeypatch, job):
    ray = MadeUpRay()
    ray.started = True
    monkeypatch.setitem(sys.modules, "ray", ray)
    assert [row.name for row in workers.run_ray([job], replay, None, lambda *_: None)] == ["walk"]
    assert not ray.stopped


@pytest.mark.slow
def test_the_real_ray(stand_in, bundle, tmp_path):
    pytest.importorskip("ray")
    bags = make_bags(tmp_path / "bags", "a.mcap", "nocamera.mcap")
    rows = run_batch(bags, bundle, tmp_path / "out", workers=2, engine="ray", replay=stand_in)
    assert [bool(row.error) for row in rows] == [False, True]
