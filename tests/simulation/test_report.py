"""Reports say what was recorded: figures, marks and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from jepa_ros_simulation.dog import DogSim
from jepa_ros_simulation.film import write_film
from jepa_ros_simulation.records import GoalRecord, percentiles_ms
from jepa_ros_simulation.report import summarise, write_report
from jepa_ros_simulation.rooms import Room


def record(number: int, end: tuple[float, float, float]) -> GoalRecord:
    view = np.full((16, 16, 3), 99, np.uint8)
    found = GoalRecord(number, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), view, view, view, True, "arrived <here>", 4.0)
    found.poses = [(0.0, 0.0, 0.0, 0.0), (4.0, *end)]
    found.plans = [(0.1, 2.0, 0.5, 3.0), (0.3, 1.0, 0.6, 3.0)]
    found.stages = [(0.01, 0.001, 0.004, 0.05, 0.06), (0.01, 0.001, 0.004, 0.07, 0.08)]
    found.commands = [(t, *np.zeros(12)) for t in (0.0, 0.1)]
    return found


CONTROL = {"command_hz": 100.0, "ticks": 1000, "missed_ticks": 3}


def test_summary_scores_by_truth_not_by_what_the_robot_says() -> None:
    summary = summarise([record(1, (0.9, 0.1, 0.1)), record(2, (0.5, 0.0, 0.0))], CONTROL, {"stale plan": 2})
    assert (summary["goals"], summary["reached"], summary["reported_reached"]) == (2, 1, 2)
    assert summary["plan_ms"]["p50"] == pytest.approx(60.0)
    assert summary["deadline_miss_rate"] == pytest.approx(0.003)
    assert summary["safety_events"] == {"stale plan": 2}
    assert [row["at_goal"] for row in summary["rows"]] == [True, False]


def test_no_plans_no_latency() -> None:
    empty = record(1, (0.0, 0.0, 0.0))
    empty.stages = []
    assert np.isnan(percentiles_ms([empty])["p50"])


def test_report_stands_alone_and_escapes(tmp_path: Path) -> None:
    records = [record(1, (0.9, 0.1, 0.1))]
    path = write_report(tmp_path, records, Room(0), summarise(records, CONTROL, {}), {"bundle": "b<1>"})
    page = path.read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "arrived &lt;here&gt;" in page
    assert "b&lt;1&gt;" in page
    assert "http" not in page.split("</style>")[1]
    assert json.loads((tmp_path / "summary.json").read_text())["reached"] == 1


def test_film_shows_each_recorded_tenth_of_a_second(tmp_path: Path) -> None:
    sim = DogSim(Room(0))
    found = record(1, (0.9, 0.1, 0.1))
    joints = sim.joint_state().position
    found.body = [(t, *sim.base(), *joints) for t in (0.0, 0.05, 0.1, 0.2)]
    path = write_film(tmp_path / "drive.mp4", [found], Room(0))
    video = cv2.VideoCapture(str(path))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 3
    grabbed, frame = video.read()
    assert grabbed
    assert frame.shape == (360, 660, 3)
    assert frame.std() > 10
