"""`jepa-replay` as people type it: what it prints, what it leaves, how it exits."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from jepa_ros import share
from jepa_ros.errors import JepaRosError
from jepa_ros_replay import cli
from jepa_ros_replay.jobs import Row

from .made_bag import rows, write
from .results import full_result

APP = typer.Typer()
APP.command()(cli.command)


def invoke(*arguments):
    found = CliRunner().invoke(APP, [str(argument) for argument in arguments], env={"COLUMNS": "160"})
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", "", found.output).split())


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What the command asks of the batch, whose rows are made up."""
    seen = {}

    def run_batch(bags, bundle, out, settings, **options):
        seen.update(bags=bags, bundle=bundle, out=out, settings=settings, **options)
        return [
            Row("failed" if "bad" in bag.name else bag.stem, str(bag), error="no [camera] images")
            if "bad" in bag.name
            else Row(
                bag.stem, str(bag), kept="old" in bag.name, summary=json.loads(json.dumps(full_result(bag).summary()))
            )
            for bag in bags
        ]

    monkeypatch.setattr(cli, "run_batch", run_batch)
    monkeypatch.chdir(tmp_path)
    for name in ("walk.mcap", "bad.mcap", "old.mcap"):
        (tmp_path / name).write_bytes(b"")
    return seen


def test_the_defaults(asked):
    code, _ = invoke("walk.mcap")
    assert code == 0
    assert asked["bags"] == [Path("walk.mcap")]
    assert (asked["bundle"], asked["out"]) == (share.default_bundle(), Path("runs/replay"))
    assert (asked["workers"], asked["engine"], asked["force"]) == (None, "local", False)
    settings = asked["settings"]
    assert (settings.robot, settings.seed, settings.threads, settings.goal, settings.remaps) == ("go2", 0, 1, "", ())


def test_every_option_arrives(asked, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "manifest.yaml").write_text("")
    words = "walk.mcap --bundle mine --out there --goal west --remap imu:=/my/imu --remap camera/image_raw:=/front"
    code, _ = invoke(*words.split(), "--robot", "b1", "--seed", 7, "--workers", 3, "--engine", "ray", "--force")
    assert code == 0
    assert (asked["bundle"], asked["out"]) == (Path("mine"), Path("there"))
    assert (asked["workers"], asked["engine"], asked["force"]) == (3, "ray", True)
    settings = asked["settings"]
    assert (settings.robot, settings.seed, settings.goal) == ("b1", 7, "west")
    assert settings.remaps == (("imu", "/my/imu"), ("camera/image_raw", "/front"))


def test_plans_of_a_stronger_planner(asked):
    words = ("--save-plans", "--planner", '{"samples": 300, "name": "cem"}')
    assert invoke("walk.mcap", *words)[0] == 0
    assert asked["settings"].save_plans
    assert asked["settings"].planner == (("name", "cem"), ("samples", 300))


def test_a_goal_from_a_bag(asked):
    assert invoke("walk.mcap", "--goal-from", "drives/other@12.5s")[0] == 0
    assert asked["settings"].goal == "drives/other@12.5s"


def test_the_last_lines_are_a_table_with_a_row_a_bag(asked):
    code, text = invoke("walk.mcap", "old.mcap")
    assert code == 0
    assert "1 of 2 had been replayed before and were kept" in text
    head, _, table = text.partition("summary: runs/replay/summary.json")
    assert "reports: runs/replay/*/report.html" in head
    for column in cli._COLUMNS:
        assert column in table
    result = full_result("walk.mcap")
    found = result.summary()
    for cell in (
        "walk", "10.0", "5 ", "49", f"{found['surprise']['p50']:.3g} / {found['surprise']['p99']:.3g}",
        "0.5 / 1.25 at 8", result.plan_sha256[:12],
    ):  # fmt: skip
        assert cell in table, cell


def test_a_bag_that_failed_makes_exit_code_1_and_says_why(asked):
    code, text = invoke("walk.mcap", "bad.mcap")
    assert code == 1
    assert "failed: no [camera] images" in text
    assert text.count("failed") >= 2, "in its row too"


def test_a_result_without_figures_has_its_row():
    empty = {
        "seconds": 0.0,
        "realtime_factor": None,
        "plans": 0,
        "surprise": {"p50": None, "p99": None},
        "open_loop": [],
    }
    cells = cli._cells({**empty, "safety_events": {}, "faults": [], "plan_sha256": "e3b0"})
    assert cells == ("0.0", "–", "0", "– / –", "–", "0", "0", "–")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("", "Missing argument"),
        ("nothere.mcap", "nothere.mcap"),
        ("walk.mcap --bundle nothere", "bundle nothere: no such folder"),
        ("walk.mcap --remap imu=/imu", "must be FROM:=TO"),
        ("walk.mcap --remap :=/imu", "must be FROM:=TO"),
        ("walk.mcap --goal-from drives/other", "must be a bag and a time in it"),
        ("walk.mcap --goal west --goal-from x@1s", "not both"),
        ("walk.mcap --engine slurm", "slurm"),
        ("walk.mcap --workers 0", "workers"),
        ("walk.mcap --planner {", "'{': not JSON"),
        ("walk.mcap --planner [1]", "must be names and values"),
        ("walk.mcap --json out.json", "only --compare"),
        ("walk.mcap --compare", "not 1"),
        ("a.json b.json --compare", "a.json: cannot be read"),
        ("a.json b.json --compare --threshold -1", "threshold"),
        ("--nosuchoption walk.mcap", "No such option"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_a_sentence(asked, words, why):
    code, text = invoke(*words.split())
    assert code == 2
    assert why in text
    assert not asked


def test_what_the_batch_refuses_is_exit_code_2(asked, monkeypatch):
    def refuse(*_, **__):
        raise JepaRosError("engine ray: Ray is not installed here")

    monkeypatch.setattr(cli, "run_batch", refuse)
    assert invoke("walk.mcap", "--engine", "ray") == (2, "jepa-replay: engine ray: Ray is not installed here")


@pytest.fixture
def summaries(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write_one(name, worse=1.0, bags=("walk.mcap",)):
        found = [{"summary": full_result(bag, worse=worse).summary()} for bag in bags]
        (tmp_path / name).write_text(json.dumps({"rows": found}))

    return write_one


def test_comparing_the_same_is_exit_code_0(summaries):
    summaries("a.json")
    code, text = invoke("--compare", "a.json", "a.json")
    assert code == 0
    assert "surprise p50" in text
    assert "plans are the same bit for bit in 1 of 1 bags" in text
    assert "No regression" in text


def test_a_regression_is_exit_code_1_and_the_last_line(summaries, tmp_path):
    summaries("a.json")
    summaries("b.json", worse=1.3)
    code, text = invoke("--compare", "a.json", "b.json", "--json", "found.json")
    assert code == 1
    assert "Regression (1 bag, threshold 10%)" in text
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["regression"] is True
    assert text.endswith(found["verdict"])
    assert invoke("--compare", "a.json", "b.json", "--threshold", "0.5")[0] == 0


def test_several_bags_have_columns_of_how_sure_it_is(summaries):
    summaries("a.json", bags=("x.mcap", "y.mcap"))
    _, text = invoke("--compare", "a.json", "a.json")
    for column in ("95 % interval", "sign test p", "bags"):
        assert column in text
    summaries("b.json")
    assert "sign test p" not in invoke("--compare", "b.json", "b.json")[1]


def test_no_bag_in_common_is_exit_code_2(summaries):
    summaries("a.json")
    summaries("b.json", bags=("other.mcap",))
    code, text = invoke("--compare", "a.json", "b.json")
    assert (code, "no bag in common" in text) == (2, True)


def test_the_default_bundle_is_the_checkouts():
    assert share.default_bundle() == Path(__file__).resolve().parents[2] / "bundles" / "default"


def test_the_default_bundle_of_a_workspace_and_of_an_environment(tmp_path, monkeypatch):
    monkeypatch.setattr(share, "_CHECKOUT", tmp_path / "nothing")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    with pytest.raises(JepaRosError, match="not installed"):
        share.default_bundle()
    for prefix in ("environment", "workspace"):
        (tmp_path / prefix / "share" / "jepa_ros" / "launch").mkdir(parents=True)
        (tmp_path / prefix / "share" / "jepa_ros" / "package.xml").write_text("")
    assert share.default_bundle() == tmp_path / "environment" / "share" / "jepa_ros" / "bundles" / "default"
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join(["/nothing", str(tmp_path / "workspace")]))
    assert share.default_bundle() == tmp_path / "workspace" / "share" / "jepa_ros" / "bundles" / "default"


@pytest.mark.slow
def test_a_real_bag_through_a_real_bundle_twice(tmp_path, tiny_bundle):
    """In processes of its own; the second time nothing is left to do."""
    write(tmp_path / "drive", rows(2.0))
    cv2.imwrite(str(tmp_path / "goal.png"), np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    (tmp_path / "broken.mcap").write_bytes(b"no bag")
    line = [sys.executable, "-m", "jepa_ros_replay.cli", ".", "--out", "out", "--goal", "goal.png"]
    line += ["--bundle", str(tiny_bundle)]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "broken: " in done.stdout
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    drive = next(row for row in found["rows"] if row["name"] == "drive")
    assert drive["error"] == ""
    assert drive["summary"]["plans"] == 10
    assert drive["summary"]["plan_sha256"][:12] in done.stdout
    (tmp_path / "broken.mcap").unlink()
    again = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "1 of 1 had been replayed before and were kept" in again.stdout
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["rows"][0]["kept"] is True
