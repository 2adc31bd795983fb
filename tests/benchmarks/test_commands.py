"""Figures of a command stream: made-up times with a known error."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: run `make setup`")

from jepa_ros_benchmarks.commands import bare_loop, figures


def test_a_late_command_is_the_worst_error_and_a_steady_stream_has_none():
    steady = np.arange(1001) * 0.002
    found = figures(steady, 500.0, 0.0)
    assert found["rate_hz"] == pytest.approx(500.0)
    assert found["error_max_ms"] == pytest.approx(0.0, abs=1e-9)
    late = steady.copy()
    late[500:] += 0.025
    found = figures(late, 500.0, 0.011)
    assert found["error_max_ms"] == pytest.approx(25.0)
    assert found["error_p99_ms"] == pytest.approx(0.0, abs=1e-9)
    assert (found["over_20_ms"], found["longest_machine_stall_ms"]) == (1, 11.0)
    assert found["rate_hz"] == pytest.approx(1000 / 2.025)


def test_the_bare_loop_runs_and_is_counted():
    found = bare_loop(200.0, 0.5)
    assert 2 < found["commands"] <= 102
    assert found["error_max_ms"] >= found["error_p99_ms"] >= found["error_p50_ms"] >= 0
