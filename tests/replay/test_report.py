"""The report of a replay: it says what is wrong first, shows what there is, and needs nothing beside it."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from jepa_ros_replay.figures import _thin, png
from jepa_ros_replay.report import complaints, finite_or_none, write_report
from jepa_ros_replay.result import PlanRow, SafetyRow

from .results import BEGAN, empty_result, full_result

SECTIONS = (
    "Latency", "Surprise", "Open-loop prediction", "Energy to the goal", "Planned and recorded commands",
    "Planned and recorded actions", "Safety events", "Coverage",
)  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write_report(tmp_path_factory.mktemp("report") / "walk", full_result()).read_text(encoding="utf-8")


def sections(text):
    """Heading → what stands under it."""
    parts = re.split(r"<h2>(.*?)</h2>", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_head_says_what_was_replayed_with_what(page):
    head = page.partition("<h2>")[0]
    for fact in ("walk &lt;1&gt;.mcap", "go2-room0 (abababababab)", "10.0 s", "5.0 × real time", "49 taken of 150"):
        assert fact in head, fact
    assert full_result().plan_sha256[:12] in head
    assert "west from 0.0 s" in head


def test_the_head_says_in_words_what_is_wrong(page):
    head = page.partition("<h2>")[0]
    for sentence in (
        "the chunk at byte 1234 is damaged (byte 1234 of walk &lt;1&gt;.mcap)",
        "/imu was silent for 1.5 s from 6.0 s on",
        "2 frames refused: encoding bayer_rggb8 is not known",
        "2 camera frames missing by count",
        "3 camera frames came more than one frame period after the stamp",
    ):
        assert sentence in head, sentence


def test_every_section_is_there_in_order_and_has_its_plot(page):
    found = sections(page)
    assert tuple(found) == SECTIONS
    for title in SECTIONS:
        assert title == "Safety events" or 'src="data:image/png;base64,' in found[title], title


def test_the_tables_hold_the_figures(page):
    found = sections(page)
    assert "<td>encode</td><td>2." in found["Latency"]
    assert "<td>8</td><td>0.5</td><td>1.25</td><td>0.40</td><td>41</td>" in found["Open-loop prediction"]
    assert "<td>FL_hip</td><td>0.2500</td>" in found["Planned and recorded commands"]
    assert (
        "<td>3.50</td><td>warning</td><td>plan_stale</td><td>the plan was 0.6 s old &amp; no other came</td>"
        in (found["Safety events"])
    )
    assert "<td>surprise</td>" in found["Surprise"]


def test_the_frames_where_the_world_disobeyed_the_model_are_shown(page):
    shown = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    assert shown == ["4.0 s, surprise 1.70", "2.0 s, surprise 1.20"]


def test_the_page_needs_no_network_and_no_other_file(page):
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert "://" not in page


def test_the_summary_is_the_results(tmp_path):
    result = full_result()
    write_report(tmp_path / "walk", result)
    assert json.loads((tmp_path / "walk" / "summary.json").read_text()) == json.loads(json.dumps(result.summary()))


def test_a_result_with_nothing_in_it_has_a_report(tmp_path):
    found = sections(write_report(tmp_path / "still", empty_result()).read_text(encoding="utf-8"))
    assert tuple(found) == SECTIONS
    assert all("none in this replay" in text and "<img" not in text for text in found.values())
    text = (tmp_path / "still" / "report.html").read_text(encoding="utf-8")
    assert "Nothing is wrong with this bag" in text
    assert "the ROS nodes" in text


@pytest.mark.parametrize(
    "kept",
    [
        {"plans": []}, {"commands": []}, {"recorded": []}, {"commands": [], "recorded": [], "joint_names": ()},
        {"recorded_applied": []}, {"safety": []}, {"open_loop": []}, {"views": []}, {"gaps": [], "topics": {}},
        {"goals": []}, {"action_names": (), "joint_names": (), "commands": [], "recorded": []},
    ],
    ids=str,
)  # fmt: skip
def test_any_part_may_be_missing(tmp_path, kept):
    assert write_report(tmp_path / "walk", replace(full_result(), **kept)).is_file()


def test_plans_without_latents_actions_and_numbers(tmp_path):
    """As through ROS: only times are known."""
    nan = float("nan")
    plans = [PlanRow(BEGAN + i, nan, nan, 0, nan, (nan,) * 4, "", None, None) for i in range(3)]
    text = write_report(tmp_path / "walk", replace(full_result(), plans=plans)).read_text(encoding="utf-8")
    assert "none in this replay" in sections(text)["Surprise"]
    assert json.loads((tmp_path / "walk" / "summary.json").read_text())["surprise"]["p50"] is None


def test_numbers_that_json_does_not_know_become_null(tmp_path):
    result = replace(full_result(), open_loop=[(1, float("nan"), float("inf"), 3)])
    write_report(tmp_path / "walk", result)
    text = (tmp_path / "walk" / "summary.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["open_loop"][0]["model"] is None
    assert finite_or_none({"a": (1.0, float("-inf"))}) == {"a": [1.0, None]}


def test_a_storm_of_events_does_not_flood_the_page(tmp_path):
    storm = [SafetyRow(BEGAN + 0.001 * i, "error", "tilt", "fell") for i in range(1000)]
    text = write_report(tmp_path / "walk", replace(full_result(), safety=storm)).read_text(encoding="utf-8")
    assert text.count("<td>tilt</td>") == 200
    assert "… and 800 more" in text


def test_thinning_loses_no_peak():
    values = np.zeros(100_000)
    values[54_321], values[12_345] = 7.0, -3.0
    times, kept = _thin(np.arange(100_000.0), values)
    assert len(kept) <= 4000
    assert (kept.max(), kept.min()) == (7.0, -3.0)
    assert times[kept.argmax()] == 54_321
    assert (np.diff(times) > 0).all()


def test_a_large_view_is_made_small_enough_for_the_page(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (960, 1280, 3), dtype=np.uint8)
    small = write_report(tmp_path / "small", replace(full_result(), views=[])).stat().st_size
    large = write_report(tmp_path / "large", replace(full_result(), views=[(BEGAN, noise, 2.0)])).stat().st_size
    assert large - small < len(png(noise)) / 4


def test_one_frame_is_no_plural():
    result = replace(full_result(), dropped=1, late=0, images_refused={})
    assert "1 camera frame missing by count" in complaints(result)
