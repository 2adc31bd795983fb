"""`jepa-bench` as one calls it."""

from __future__ import annotations

import json
import sys

import pytest
from typer.testing import CliRunner

from jepa_ros_benchmarks import cli, plan


def test_every_command_has_help():
    for name in cli.COMMANDS:
        found = CliRunner().invoke(cli.application([name]), [name, "--help"])
        assert found.exit_code == 0, name
        assert "Needs" not in found.output


def test_a_command_whose_packages_are_missing_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "jepa_ros_simulation.dog", None)
    for name in [name for name in sys.modules if name.startswith("jepa_ros_benchmarks.realtime")]:
        monkeypatch.delitem(sys.modules, name)
    found = CliRunner().invoke(cli.application(["realtime"]), ["realtime"])
    assert found.exit_code == 1
    assert "needs jepa_ros_simulation.dog" in found.output


@pytest.fixture
def passive(monkeypatch, tmp_path):
    """As after the re-execution, with a cache of its own."""
    for name, value in plan.PASSIVE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def call(*arguments):
    return CliRunner().invoke(cli.application(["plan"]), ["plan", *map(str, arguments)])


@pytest.mark.usefixtures("passive")
def test_a_bundle_is_measured(tiny_bundle, tmp_path, monkeypatch):
    """One of another family has no modules in PyTorch; its rows are this package's alone."""
    monkeypatch.setattr(plan, "drivable", lambda _: False)
    out, picture = tmp_path / "rows.json", tmp_path / "plot.png"
    found = call(tiny_bundle, "--planner", "cem,mppi", "--repeats", 3, "--threads", 1, "--json", out, "--plot", picture)
    assert found.exit_code == 0, found.output
    rows = json.loads(out.read_text())
    assert {row["planner"] for row in rows} == {"cem", "mppi"}
    for row in rows:
        assert row["unit"] == "bundle" or row["unit"] == tiny_bundle.name
        assert row["plans"] == 3
        assert row["predictor_calls"] == 32 * 4 * 2
        assert 0 < row["min_ms"] <= row["p50_ms"] <= row["p99_ms"]
        assert row["energy"] >= 0.999 * row["reference_energy"] or row["reached_reference"] > 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "left out" in found.output
    assert "sigreg_jepa" in found.output.replace("\n", " ")


@pytest.mark.usefixtures("passive")
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--unit", "lewm"], "choose one"),
        (["--provider", "abacus"], "abacus"),
        (["--set", "icem"], "PLANNER.NAME=VALUE"),
    ],
)
def test_wrong_usage(tiny_bundle, options, says):
    found = call(tiny_bundle, *options)
    assert found.exit_code == 1
    assert says in found.output


def test_waiting_threads_are_made_passive_before_pytorch_is_there(tiny_bundle, monkeypatch):
    called = []
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)

    def execve(program, line, environment):
        called.append((line, environment))
        raise SystemExit(0)

    monkeypatch.setattr(plan.os, "execve", execve)
    monkeypatch.setattr(sys, "argv", ["jepa-bench", "plan", str(tiny_bundle)])
    call(tiny_bundle)
    line, environment = called[0]
    assert line[1:] == ["-m", "jepa_ros_benchmarks.cli", "plan", str(tiny_bundle)]
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert environment["GOMP_SPINCOUNT"] == "0"
