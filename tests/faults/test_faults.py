"""A few faults, once each, on real nodes: what becomes of the walk, not how fast (this machine may be busy)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: run `make setup`")

from .processes import ROOT

pytestmark = [pytest.mark.dds, pytest.mark.slow]
FAULTS = ("world_model_killed", "joint_nan", "parameters_out_of_range")


def faults(*arguments: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    command = [sys.executable, "-m", "tests.faults", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)


def test_a_dead_planner_a_nan_and_a_wrong_parameter(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    chosen = [word for fault in FAULTS for word in ("--only", fault)]
    # A machine that is held up for a moment damps the dog, as it should: then once more.
    for _ in range(2):
        done = faults("--runs", "1", "--json", str(out), "--no-timing", *chosen, seconds=140)
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads(out.read_text())
    assert written["complete"]
    rows = {row["fault"]: row for row in written["rows"]}
    assert set(rows) == set(FAULTS)
    for row in rows.values():
        assert (row["runs"], row["recovered"], row["failed"]) == (1, 1, [])
        assert (row["falls"], row["unsafe_commands"], row["false_stops"]) == (0, 0, 0)
    assert "plan_stale" in rows["world_model_killed"]["detected"]["as"]
    assert rows["world_model_killed"]["ended_in"] == {"stop": 1}
    assert "joint_state_not_finite" in rows["joint_nan"]["detected"]["as"]
    assert rows["joint_nan"]["ended_in"] == {"damp": 1}
    assert rows["parameters_out_of_range"]["ended_in"] == {"walk": 1}


def test_a_fault_that_does_not_exist_is_refused() -> None:
    done = faults("--only", "earthquake", seconds=60)
    assert done.returncode == 2
    assert "no fault is named earthquake" in done.stdout


def test_every_fault_is_listed_with_what_is_expected() -> None:
    done = faults("--list", seconds=60)
    assert done.returncode == 0
    assert "world_model_killed: stop; plan_stale" in done.stdout
    assert len(done.stdout.splitlines()) > 50
