"""The command: every plan is accounted for, and lateness is time after the deadline."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from jepa_ros_benchmarks.cli import application


def test_every_deadline_is_reported(tmp_path):
    out = tmp_path / "rows.json"
    result = CliRunner().invoke(
        application(["deadline"]), ["deadline", "--plans", "12", "--longest-ms", "40", "--json", str(out)]
    )
    assert result.exit_code == 0, result.output
    rows = json.loads(out.read_text())
    assert len(rows) == 12
    assert all(0 <= row["given_ms"] <= 40 and row["late_ms"] >= -40 for row in rows)
    assert {row["stopped"] for row in rows} <= {"deadline", "iterations"}
    assert "late plans" in result.output
