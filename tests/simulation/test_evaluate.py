"""The evaluation: its rule, its yardsticks, its file, and that a planner sees images only."""

from __future__ import annotations

import json
import multiprocessing
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from jepa_ros.bundle.loader import sha256
from jepa_ros.planning.recorded import read_plans
from jepa_ros_simulation.controllers import NoOp, Oracle, PlannerProcess, RandomWalk
from jepa_ros_simulation.dog import DogSim
from jepa_ros_simulation.evaluate import main, run_episode, summary
from jepa_ros_simulation.rooms import Room
from jepa_ros_simulation.tasks import Task, sample_tasks
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
    assert found["manifest_sha256"] == sha256(tiny_bundle / "manifest.yaml")
    assert found["tasks"] == {"source": "file", "file": str(goals), "sha256": sha256(goals)}
    assert found["planner"] == {}


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


def test_an_evaluation_says_what_it_measured(tmp_path, tiny_bundle):
    line = ["--episodes", "1", "--seed", "3", "--planner", '{"samples": 16}', "--no-baselines", "--workers", "1"]
    line += [
        "--bundle",
        str(tiny_bundle),
        "--json",
        str(tmp_path / "out.json"),
        "--save-plans",
        str(tmp_path / "plans"),
    ]
    done = CliRunner().invoke(EVALUATE, line)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["manifest_sha256"] == sha256(tiny_bundle / "manifest.yaml")
    assert found["tasks"] == {"source": "drawn", "seed": 3}
    assert found["planner"] == {"samples": 16}
    plans = read_plans(tmp_path / "plans" / "plans_00000.npz")
    assert len(plans) == 50
    # A plan takes effect a step after its image.
    np.testing.assert_allclose(plans.actions[:-1, 0], found["rows"][0]["actions"][1:], atol=1e-4)
    assert {"success_rate", "ci95", "episodes", "baselines", "rows", "bundle", "room", "seed"} <= set(found)


def test_a_folder_that_is_no_bundle_is_refused_before_any_drive(tmp_path):
    done = CliRunner().invoke(EVALUATE, ["--bundle", str(tmp_path / "none"), "--episodes", "1"])
    assert done.exit_code == 1
    assert "is this a bundle?" in " ".join(done.output.split())


class ScriptedWalker:
    """A dog that does no more than take down what it is told, by the tick.

    Args:
        pose_at: seconds driven → pose.
        touches_at: the ticks, counted from 1, after which it touches something.
    """

    tick_s = 0.02

    def __init__(self, pose_at=lambda seconds: (0.0, 0.0, 0.0), touches_at=()):
        self.driven = []
        self.sim = SimpleNamespace(
            pose=lambda: pose_at(len(self.driven) * self.tick_s),
            render=lambda: np.zeros((16, 16, 3), np.uint8),
            status=lambda: SimpleNamespace(fallen=False, collision=len(self.driven) in touches_at),
        )

    def goal_view(self, x, y, yaw):
        return np.full((16, 16, 3), 200, np.uint8)

    def start(self, x, y, yaw):
        self.driven.clear()

    def drive(self, action, seconds):
        assert seconds == self.tick_s
        self.driven.append(tuple(float(a) for a in action))


class Counting:
    """Chooses (k, 0, 0) at its k-th look."""

    def begin(self, goal_image, goal, episode):
        self.looks = 0

    def act(self, image, pose):
        self.looks += 1
        return np.array([float(self.looks), 0.0, 0.0])


HERE = Task((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))


def test_an_action_takes_effect_one_step_after_the_image_it_was_chosen_from():
    walker = ScriptedWalker()
    found = run_episode(walker, Counting(), HERE, 0)
    # Row k holds what is driven from image k on; what image k led to is in row k + 1.
    assert [action[0] for action in found["actions"]] == [float(step) for step in range(50)]
    assert walker.driven == [(float(step), 0.0, 0.0) for step in range(50) for _ in range(10)]


@pytest.mark.parametrize(
    ("away", "success"),
    [
        ((0.0, 8.99), True),  # until just before the last second
        ((8.99, 9.01), False),  # at its first tick
        ((9.49, 9.51), False),  # for one tick within it, between two images
        ((9.99, 10.01), False),  # at the very end
        ((10.01, 11.0), True),
    ],
)
def test_success_is_to_be_at_the_goal_throughout_the_last_second(away, success):
    walker = ScriptedWalker(lambda seconds: (0.26 if away[0] <= seconds <= away[1] else 0.0, 0.0, 0.0))
    assert run_episode(walker, NoOp(), HERE, 0)["success"] is success


@pytest.mark.parametrize(("pose", "success"), [((0.24, 0.0, 0.25), True), ((0.0, 0.0, 0.27), False)])
def test_success_is_within_a_quarter_of_a_metre_and_fifteen_degrees(pose, success):
    assert run_episode(ScriptedWalker(lambda _: pose), NoOp(), HERE, 0)["success"] is success


@pytest.mark.parametrize(("ticks", "touched"), [((), False), ((123,), True), ((1,), True), ((500,), True)])
def test_a_touch_of_a_single_tick_counts(ticks, touched):
    assert run_episode(ScriptedWalker(touches_at=ticks), NoOp(), HERE, 0)["touched"] is touched


class RecordingPipe:
    """A pipe that takes down what goes to the planner's process."""

    def __init__(self, pipe):
        self.sent, self._pipe = [], pipe
        self.recv, self.close = pipe.recv, pipe.close

    def send(self, message):
        self.sent.append(message)
        self._pipe.send(message)


def test_the_planner_is_handed_images_and_nothing_else(tiny_bundle, monkeypatch):
    """Neither the true pose nor the goal's crosses the pipe, and nothing of the task is given to the process."""
    given = []
    context = multiprocessing.get_context("spawn")
    make = context.Process

    def process(**options):
        given.append(options["args"])
        return make(**options)

    monkeypatch.setattr(type(context), "Process", staticmethod(process))
    with PlannerProcess(tiny_bundle, 5, {}) as planned:
        pipe = planned._pipe = RecordingPipe(planned._pipe)
        walker = ScriptedWalker(lambda seconds: (0.123 + seconds, 0.456, 0.789))
        run_episode(walker, planned, Task((0.1, 0.2, 0.3), (1.1, 1.2, 1.3)), 4)
    assert [arguments[1:] for arguments in given] == [(tiny_bundle, 5, {}, None)]
    assert len(pipe.sent) == 51
    assert [number for number, _ in pipe.sent] == [4, *[None] * 50]
    for message in pipe.sent:
        assert type(message) is tuple
        assert len(message) == 2
        assert type(message[1]) is np.ndarray
        assert (message[1].dtype, message[1].shape) == (np.uint8, (16, 16, 3))
    assert (pipe.sent[0][1] == 200).all(), "the first is the goal's view"
