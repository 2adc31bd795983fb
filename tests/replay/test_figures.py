"""What is drawn: marks, lines and panels, looked up in the figures themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex

from jepa_ros_replay import figures
from jepa_ros_replay.figures import SEVERITY_COLOURS
from jepa_ros_replay.result import STAGES

from .results import JOINTS, empty_result, full_result

OVER_TIME = (figures.surprise, figures.energy, figures.commands, figures.actions, figures.coverage)
ALL = (*OVER_TIME, figures.latency, figures.open_loop)


def lines(axes):
    """Label → (x, y)."""
    return {line.get_label(): (np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in axes.lines}


def visible(figure):
    return [axes for axes in figure.axes if axes.get_visible()]


@pytest.mark.parametrize("draw", ALL, ids=lambda draw: draw.__name__)
def test_there_is_no_figure_of_nothing(draw):
    assert draw(empty_result()) is None


@pytest.mark.parametrize("draw", OVER_TIME, ids=lambda draw: draw.__name__)
def test_safety_events_stand_on_every_time_axis(draw):
    for axes in visible(draw(full_result())):
        marks = {
            to_hex(found.get_color()[0]): sorted(segment[0][0] for segment in found.get_segments())
            for found in axes.collections
            if hasattr(found, "get_segments")
        }
        assert marks[to_hex(SEVERITY_COLOURS["warning"])] == pytest.approx([3.5])
        assert marks[to_hex(SEVERITY_COLOURS["info"])] == pytest.approx([1.0])


@pytest.mark.parametrize("draw", [figures.surprise, figures.energy, figures.coverage], ids=lambda draw: draw.__name__)
def test_the_time_axis_is_the_whole_bags(draw):
    for axes in draw(full_result()).axes:
        assert axes.get_xlim() == (0, 10)


def test_surprise_has_its_line_at_one_and_marks_the_shown_frames():
    (axes,) = figures.surprise(full_result()).axes
    found = lines(axes)
    assert list(found["99th percentile of the bundle's calibration"][1]) == [1, 1]
    assert [list(values) for values in found["shown below"]] == [pytest.approx([4.0, 2.0]), [1.7, 1.2]]
    curve = axes.lines[0]
    assert len(curve.get_xdata()) == 48, "the first frame has no surprise"


def test_energy_is_that_of_frames_and_plans_with_the_goals_beginning():
    (axes,) = figures.energy(replace(full_result(), goals=[(full_result().began + 2, "west")])).axes
    found = lines(axes)
    assert found["of the frame"][1][0] == 3.0
    assert found["of the plan"][1][0] == 2.5
    assert [0, 1] in [list(y) for x, y in found.values() if list(x) == pytest.approx([2.0, 2.0])]


def test_open_loop_error_stands_beside_that_of_copying():
    (axes,) = figures.open_loop(full_result()).axes
    found = lines(axes)
    assert [list(values) for values in found["model"]] == [[1, 8], [0.1, 0.5]]
    assert [list(values) for values in found["copying the last latent"]] == [[1, 8], [0.4, 1.25]]


def test_latency_has_a_box_for_each_stage():
    (axes,) = figures.latency(full_result()).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == list(STAGES)
    assert axes.get_yscale() == "log"


def test_a_stage_that_took_no_time_has_a_box_too():
    """Through ROS there is no time of preparing; a logarithm would hide the rest."""
    result = full_result()
    plans = [replace(row, stage_ms=(0.1, 0.0, 2.0, 20.0)) for row in result.plans]
    (axes,) = figures.latency(replace(result, plans=plans)).axes
    assert axes.get_yscale() == "linear"


def test_commands_have_a_panel_for_each_joint_with_both_targets():
    panels = visible(figures.commands(full_result()))
    assert [axes.get_title() for axes in panels] == list(JOINTS)
    for axes in panels:
        found = lines(axes)
        assert set(found["shadow"][1]) == {0.5}
        assert set(found["recorded"][1]) == {0.25}


def test_actions_have_a_panel_for_each_with_plan_shadow_and_record():
    panels = visible(figures.actions(full_result()))
    assert [axes.get_title() for axes in panels] == ["vx", "vy", "wz"]
    for i, axes in enumerate(panels):
        found = lines(axes)
        assert list(found["planned"][1]) == [float(row.actions[0, i]) for row in full_result().plans]
        assert set(found["shadow"][1]) == {0.0}
        assert set(found["recorded"][1]) == {1.0}


def test_columns_without_names_are_numbered():
    panels = visible(figures.commands(replace(full_result(), joint_names=())))
    assert [axes.get_title() for axes in panels] == [f"number {i}" for i in range(4)]


def test_coverage_has_a_bar_for_each_topic_with_its_gaps():
    (axes,) = figures.coverage(full_result()).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["/camera/image_raw", "/imu"]
    bars = [found for found in axes.collections if not hasattr(found, "get_segments")]
    spans = [[tuple(path.vertices[:, 0].round(3)[[0, 2]]) for path in bar.get_paths()] for bar in bars]
    assert [(6.0, 7.5)] in spans
    assert spans.count([(0.0, 10.0)]) == 2


def test_a_topic_outside_every_role_shows_its_gap():
    (axes,) = figures.coverage(replace(full_result(), topics={})).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["/imu"]
