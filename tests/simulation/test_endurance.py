"""Walking as it is: a few seconds of what `python -m jepa_ros_simulation.endurance` does for half an hour."""

from __future__ import annotations

import pytest

from jepa_ros_simulation.endurance import Endurance, show


@pytest.mark.parametrize("rate_hz", [100.0, 250.0])
def test_ordinary_walking_is_never_stopped(rate_hz: float):
    run = Endurance(rate_hz, seed=3)
    run.stand_up_and_walk()
    states = {run.tick().decision.state for _ in range(round(8.0 * rate_hz))}
    assert states == {"walk"}
    assert run.safety.counts == {}
    assert run.falls == 0
    assert run.walked_s == pytest.approx(8.0, abs=0.2)
    rows = {name: (largest, limit) for name, largest, limit, _ in run.peaks.rows()}
    assert all(largest < limit for largest, limit in rows.values())
    for name in ("target_speed", "joint_speed", "joint_acceleration", "tilt", "tilt_rate", "motor temperature"):
        assert rows[name][0] > 0.02 * rows[name][1], name  # it was measured at all
    assert len(show(run, 0, 0)) == 2


def test_a_fault_is_seen_and_the_walk_begun_again():
    run = Endurance(100.0, seed=3)
    run.stand_up_and_walk()
    run.safety.on_commanders(run.now, 0)
    run.safety.trip(run.now, "test", "a fault")
    assert run.tick().decision.state == "damp"
    run.start_again()
    assert run.tick().decision.state == "walk"
