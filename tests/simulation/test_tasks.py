"""Tasks: what is posed, what counts as reached, and how sure a rate is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_ros.errors import JepaRosError
from jepa_ros_simulation.rooms import Room
from jepa_ros_simulation.tasks import errors_to, reached, read_tasks, sample_tasks, wilson, wrap


@given(st.floats(-50, 50))
def test_wrap_keeps_the_direction(angle: float) -> None:
    wrapped = wrap(angle)
    assert -np.pi < wrapped <= np.pi + 1e-9
    assert np.cos(wrapped) == pytest.approx(np.cos(angle), abs=1e-6)
    assert np.sin(wrapped) == pytest.approx(np.sin(angle), abs=1e-6)


def test_sampled_tasks_are_sound() -> None:
    room = Room(0)
    tasks, rejected = sample_tasks(room, 60, seed=7)
    assert 0.0 < rejected < 1.0
    distances = [errors_to(task.goal, task.start)[0] for task in tasks]
    turns = [errors_to(task.goal, task.start)[1] for task in tasks]
    assert min(distances) >= 0.6
    assert max(distances) <= 1.5
    assert max(turns) <= np.radians(60) + 1e-9
    assert all(room.clear(task.start[:2], task.goal[:2]) for task in tasks)
    assert sample_tasks(room, 60, seed=7)[0] == tasks


def test_reached_needs_the_whole_last_second() -> None:
    goal = (1.0, 1.0, np.pi)
    near, far, turned = (1.2, 1.0, -np.pi + 0.1), (1.3, 1.0, np.pi), (1.0, 1.0, np.pi - 0.3)
    assert reached(goal, [near, near])
    assert not reached(goal, [near, far])
    assert not reached(goal, [near, turned])


def test_wilson_known_value() -> None:
    # 85 of 100: Wilson's interval by hand, as in Brown, Cai and DasGupta 2001
    assert wilson(85, 100) == pytest.approx((0.7672, 0.9069), abs=1e-3)
    assert wilson(0, 0) == (0.0, 1.0)


def test_read_tasks_marks_what_would_have_been_rejected(tmp_path: Path) -> None:
    room = Room(0)
    free = list(sample_tasks(room, 1, 0)[0][0].start)
    path = tmp_path / "goals.json"
    path.write_text(json.dumps([{"start": free, "goal": free}, {"start": free, "goal": [2.99, 0, 0]}]))
    tasks = read_tasks(path, room)
    assert tasks[0].invalid is None
    assert tasks[1].invalid == "goal is in collision"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"a": 1}', "list"),
        ('[{"start": [0, 0]}]', "start"),
        ('[{"start": [0,0,0], "goal": [0,0,"x"]}]', "goal"),
        ("[", "Expecting"),
    ],
)
def test_a_bad_goals_file_names_the_field(tmp_path: Path, text: str, field: str) -> None:
    path = tmp_path / "goals.json"
    path.write_text(text)
    with pytest.raises(JepaRosError, match=field):
        read_tasks(path, Room(0))
