"""The evaluation: its rule, its yardsticks, its file, and that a planner sees images only."""

from __future__ import annotations

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from jepa_ros_simulation.controllers import NoOp, Oracle, RandomWalk
from jepa_ros_simulation.dog import DogSim
from jepa_ros_simulation.evaluate import main, run_episode, summary
from jepa_ros_simulation.rooms import Room
from jepa_ros_simulation.tasks import sample_tasks
from jepa_ros_simulation.walker import Walker

EVALUATE = typer.Typer()
EVALUATE.command()(main)


@pytest.fixture(scope="module")
def walker():
    found = Walker(DogSim(Room(0)))
    yield found
    found.sim.close()


@pytest.fixture(scope="module")
def task():
    return sample_tasks(Room(0), 1, 7)[0][0]


def row(success, distance=0.1, fell=False):
    end = {"final_distance_m": distance, "final_yaw_error_rad": 0.0}
    return {"success": success, **end, "fell": fell, "touched": False}


def test_a_summary_counts():
    found = summary([row(True), row(True), row(False, 0.9, fell=True), row(True)])
    assert (found["success_rate"], found["episodes"], found["falls"], found["touches"]) == (0.75, 4, 1, 0)
    assert found["median_distance_m"] == pytest.approx(0.1)
    assert found["ci95"][0] < 0.75 < found["ci95"][1]


def test_who_knows_the_pose_arrives_and_who_rests_does_not(walker, task):
    arrived = run_episode(walker, Oracle(), task, 0)
    assert arrived["success"]
    assert arrived["final_distance_m"] < 0.25
    assert len(arrived["poses"]) == 51
    assert len(arrived["actions"]) == 50
    np.testing.assert_allclose(arrived["poses"][0], task.start, atol=2e-3)
    rested = run_episode(walker, NoOp(), task, 0)
    assert not rested["success"]
    assert rested["final_distance_m"] > 0.5
    assert not np.any(rested["actions"])


def test_an_episode_is_the_same_when_run_again(walker, task):
    one, two = (run_episode(walker, RandomWalk(3), task, 5) for _ in range(2))
    assert one["actions"] == two["actions"]
    assert one["poses"] == two["poses"]


def test_given_goals_are_driven_and_invalid_ones_are_not_counted(tmp_path, tiny_bundle, task):
    wall = {"start": list(task.start), "goal": [2.95, 0.0, 0.0]}
    goals = tmp_path / "goals.json"
    goals.write_text(json.dumps([wall, {"start": list(task.start), "goal": list(task.goal)}]))
    options = ["--goals", goals, "--bundle", tiny_bundle, "--json", tmp_path / "out.json", "--no-baselines"]
    done = CliRunner().invoke(EVALUATE, [*map(str, options), "--workers", "1"])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["invalid"] == [{"episode": 0, "reason": "goal is in collision"}]
    assert found["episodes"] == len(found["rows"]) == 1
    assert found["rows"][0]["episode"] == 1
    assert set(found) >= {"success_rate", "ci95", "episodes", "baselines", "rows", "rule", "plan_ms"}
    assert len(found["rows"][0]["plan_ms"]) == 50


@pytest.mark.parametrize(
    ("text", "says"),
    [("[{}]", "entry 0, field start"), ("{", "goals file"), ('[{"start": [0, 0], "goal": [1, 1, 1]}]', "field start")],
)
def test_a_goals_file_that_is_none(tmp_path, text, says):
    goals = tmp_path / "goals.json"
    goals.write_text(text)
    done = CliRunner().invoke(EVALUATE, ["--goals", str(goals)])
    assert done.exit_code == 1
    assert says in " ".join(done.output.split())


def test_a_bundle_that_is_refused_says_so(tmp_path, tiny_bundle, task):
    (tiny_bundle / "encoder.onnx").write_bytes(b"changed")
    goals = tmp_path / "goals.json"
    goals.write_text(json.dumps([{"start": list(task.start), "goal": list(task.goal)}]))
    done = CliRunner().invoke(
        EVALUATE, ["--goals", str(goals), "--bundle", str(tiny_bundle), "--no-baselines", "--workers", "1"]
    )
    assert done.exit_code == 1
    assert "sha256" in done.output.replace("\n", " ")
