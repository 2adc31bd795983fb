"""Many bags: what is kept, what fails, and the processes they run in."""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from jepa_ros.errors import JepaRosError
from jepa_ros_replay import batch, workers
from jepa_ros_replay.bags import BagError
from jepa_ros_replay.batch import jobs_for, run_batch
from jepa_ros_replay.engine import ReplaySettings
from jepa_ros_replay.jobs import Row, is_report, kept_row, run_job

from .stand_in import make_bags, make_bundle, replay


def one_by_one(jobs, replay, workers, on_progress):
    """In this process, so that tests do not wait for others to start."""
    for job in jobs:
        yield run_job(job, replay, lambda part, name=job.folder.name: on_progress(name, part))


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(batch, "run_local", one_by_one)


@pytest.fixture
def bundle(tmp_path):
    return make_bundle(tmp_path / "bundle")


def calls(folder):
    path = folder / "calls.txt"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def job(tmp_path, bundle):
    (bag,) = make_bags(tmp_path / "bags", "walk.mcap")
    (found,) = jobs_for([bag], bundle, tmp_path / "out", ReplaySettings())
    return found


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
