"""Two replays side by side: what counts as a regression, and what is said of several bags."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from jepa_ros_replay.bags import BagError
from jepa_ros_replay.compare import compare, sign_test
from jepa_ros_replay.summaries import read_summaries

from .results import empty_result, full_result


def summary(bag="walk.mcap", **changes):
    found = copy.deepcopy(full_result(bag).summary())
    for key, value in changes.items():
        found[key] = value
    return found


def horizons(*errors, copied=1.0):
    return [{"steps": i + 1, "model": e, "copy_last": copied, "windows": 9} for i, e in enumerate(errors)]


def surprise(p50, p99=0.9):
    return {"p50": p50, "p99": p99, "max": p99, "above_1": 0.0}


def figure(comparison, name):
    return next(found for found in comparison.figures if found.name == name)


def test_a_replay_compared_with_itself_is_the_same():
    found = compare(summary(), summary())
    assert not found.regression
    assert {row.verdict for row in found.figures} == {"same"}
    assert {row.ratio for row in found.figures if row.old} == {1.0}
    assert found.same_plans == 1
    assert found.bags == ("walk.mcap",)
    assert found.verdict.startswith("No regression (1 bag, threshold 10%)")


@pytest.mark.parametrize(
    ("new", "regression", "verdict"),
    [(0.45, False, "better"), (0.5, False, "same"), (0.549, False, "same"), (0.56, True, "worse")],
)
def test_an_open_loop_error_counts_from_the_threshold_on(new, regression, verdict):
    found = compare(summary(open_loop=horizons(0.2, 0.5)), summary(open_loop=horizons(0.2, new)))
    row = figure(found, "open-loop error at 2 steps")
    assert (found.regression, row.verdict, row.ratio) == (regression, verdict, pytest.approx(new / 0.5))
    assert (found.verdict.startswith("Regression") and "at 2 steps 0.5 → 0.56, × 1.12" in found.verdict) == regression


def test_the_threshold_is_the_callers():
    old, new = summary(surprise=surprise(0.5)), summary(surprise=surprise(0.6))
    assert compare(old, new).regression
    assert not compare(old, new, threshold=0.25).regression
    assert compare(old, summary(surprise=surprise(0.5001)), threshold=0).regression


@pytest.mark.parametrize("threshold", [-0.1, float("nan"), float("inf")])
def test_a_threshold_must_be_a_number(threshold):
    with pytest.raises(BagError, match="threshold"):
        compare(summary(), summary(), threshold)


def test_swapping_the_two_swaps_better_and_worse():
    old, new = summary(open_loop=horizons(0.2, 0.5)), summary(open_loop=horizons(0.24, 0.4))
    there = {row.name: row.verdict for row in compare(old, new).figures}
    back = {row.name: row.verdict for row in compare(new, old).figures}
    assert {there["open-loop error at 1 step"], there["open-loop error at 2 steps"]} == {
        "worse",
        "better",
    }
    swapped = {"better": "worse", "worse": "better", "same": "same"}
    assert back == {name: swapped[verdict] for name, verdict in there.items()}


def test_slower_stages_and_the_tail_of_surprise_are_told_but_are_no_regression():
    slow = {"plan": {"p50": 40.0, "p99": 90.0, "max": 99.0}}
    old = summary(stage_ms={"plan": {"p50": 20.0, "p99": 30.0, "max": 31.0}}, surprise=surprise(0.5, 0.9))
    found = compare(old, summary(stage_ms=slow, surprise=surprise(0.5, 1.9), frames_late=50, frames_refused={"a": 90}))
    for name in ("plan p50, ms", "plan p99, ms", "surprise p99", "late frames", "refused frames"):
        assert figure(found, name).verdict == "worse", name
    assert figure(found, "refused frames").new == 90
    assert not found.regression


def test_a_safety_event_of_a_new_kind_is_a_regression():
    old = summary(safety_events={"plan_stale": 2})
    assert not compare(old, summary(safety_events={"plan_stale": 2})).regression
    found = compare(old, summary(safety_events={"plan_stale": 2, "tilt": 1}))
    assert found.regression
    assert found.new_events == (("walk.mcap", "tilt", 1),)
    assert "new safety event tilt × 1 in walk.mcap" in found.verdict


def test_more_events_of_a_known_kind_are_worse_but_no_regression():
    found = compare(summary(safety_events={"plan_stale": 2}), summary(safety_events={"plan_stale": 6}))
    assert figure(found, "safety events").verdict == "worse"
    assert not found.regression


def test_an_event_that_another_bag_had_is_new_for_this_one():
    old = [summary("a.mcap", safety_events={"tilt": 1}), summary("b.mcap", safety_events={})]
    new = [summary("a.mcap", safety_events={}), summary("b.mcap", safety_events={"tilt": 1})]
    assert compare(old, new).new_events == (("b.mcap", "tilt", 1),)


def test_another_encoder_with_larger_latents_is_not_worse():
    """The same share of what copying costs, in latents ten times as large."""
    found = compare(summary(open_loop=horizons(0.3, copied=1.0)), summary(open_loop=horizons(30.0, copied=100.0)))
    assert figure(found, "open-loop error at 1 step").ratio == pytest.approx(1.0)


def test_a_horizon_on_one_side_only_is_named_and_not_judged():
    found = compare(summary(open_loop=horizons(0.2)), summary(open_loop=horizons(0.2, 9.0)))
    assert not found.regression
    assert found.missing == ("open-loop error at 2 steps",)
    assert "open-loop error at 2 steps" in found.verdict


def test_without_a_quality_figure_nothing_is_claimed():
    found = compare(empty_result("a").summary(), empty_result("a").summary())
    assert not found.regression
    assert found.verdict.startswith("No quality figure")
    assert found.same_plans == 0, "no plan is not the same plan"


def test_where_nothing_moved_the_error_is_taken_as_it_is():
    found = compare(summary(open_loop=horizons(0.1, copied=0.0)), summary(open_loop=horizons(0.9, copied=0.0)))
    row = figure(found, "open-loop error at 1 step")
    assert (row.old, row.new, row.verdict) == (0.1, 0.9, "worse")


def test_a_still_bag_among_others_counts_too():
    old = [summary("a", open_loop=horizons(0.5)), *(summary(b, open_loop=horizons(0.05, copied=0.0)) for b in "bc")]
    new = [summary("a", open_loop=horizons(0.5)), *(summary(b, open_loop=horizons(0.15, copied=0.0)) for b in "bc")]
    row = figure(compare(old, new), "open-loop error at 1 step")
    assert (row.old, row.new) == (pytest.approx(0.6), pytest.approx(0.8))
    assert row.sign_p == 0.5, "one tie, two worse"
    assert all(np.isfinite(row.interval))


def test_from_zero_there_is_no_ratio():
    found = compare(summary(surprise=surprise(0.0)), summary(surprise=surprise(0.2)))
    row = figure(found, "surprise p50")
    assert (row.ratio, row.verdict, found.regression) == (None, "worse", True)
    assert "surprise p50 0 → 0.2" in found.verdict


def many(count, worse, noise=0.02, seed=0):
    rng = np.random.default_rng(seed)
    return [
        summary(f"{i}.mcap", open_loop=horizons(float(worse * (0.5 + noise * rng.standard_normal()))))
        for i in range(count)
    ]


def test_over_several_bags_the_change_has_an_interval_and_a_p():
    found = compare(many(10, 1.0), many(10, 1.3, seed=1))
    row = figure(found, "open-loop error at 1 step")
    assert row.bags == 10
    low, high = row.interval
    assert 1.2 < low < row.ratio < high < 1.4
    assert row.sign_p == pytest.approx(2 / 2**10)
    assert "95 % interval" in found.verdict
    assert "sign test p = 0.002" in found.verdict
    assert "10 bags" in found.verdict


def test_a_change_by_chance_has_an_interval_around_one():
    row = figure(compare(many(12, 1.0), many(12, 1.0, seed=1)), "open-loop error at 1 step")
    assert row.interval[0] < 1 < row.interval[1]
    assert row.sign_p > 0.05


def test_one_bag_has_neither_interval_nor_p():
    row = figure(compare(summary(), summary()), "surprise p50")
    assert (row.interval, row.sign_p) == (None, None)


def test_two_runs_say_the_same():
    assert compare(many(5, 1.0), many(5, 1.1, seed=1)) == compare(many(5, 1.0), many(5, 1.1, seed=1))


@pytest.mark.parametrize(
    ("differences", "p"),
    [([1] * 5, 2 / 32), ([1, -1], 1.0), ([0, 0], 1.0), ([1, 1, 1, -1], 10 / 16), ([-1] * 5, 2 / 32)],
)
def test_the_sign_test_is_exact(differences, p):
    assert sign_test(np.array(differences, dtype=float)) == pytest.approx(p)


def test_the_sign_test_takes_thousands_of_bags():
    assert 0 <= sign_test(np.ones(3000)) < 1e-300


def test_bags_are_matched_by_name_wherever_they_lie():
    found = compare([summary("/mnt/old/a.mcap"), summary("/mnt/old/b.mcap")], [summary("b.mcap"), summary("c.mcap")])
    assert (found.bags, found.only_old, found.only_new) == (("b.mcap",), ("a.mcap",), ("c.mcap",))
    assert "only in the old: a.mcap" in found.verdict
    assert "only in the new: c.mcap" in found.verdict


def test_bags_of_one_name_are_told_apart_by_their_folders():
    old = [summary("x/monday/recording"), summary("x/tuesday/recording")]
    new = [summary("y/tuesday/recording"), summary("y/monday/recording")]
    assert compare(old, new).bags == ("monday/recording", "tuesday/recording")


def test_no_bag_in_common_is_refused():
    with pytest.raises(BagError, match=r"no bag in common: a.mcap there, b.mcap here"):
        compare(summary("a.mcap"), summary("b.mcap"))


def test_a_bag_twice_on_one_side_is_refused():
    with pytest.raises(BagError, match="twice"):
        compare([summary(), summary()], summary())


def test_nothing_is_refused():
    with pytest.raises(BagError, match="nothing to compare"):
        compare([], summary())


@pytest.mark.parametrize(
    "key", ["bag", "surprise", "open_loop", "stage_ms", "safety_events", "frames_late", "frames_refused"]
)
def test_a_missing_key_is_named(key, tmp_path):
    found = summary()
    del found[key]
    with pytest.raises(BagError, match=rf"the new summary: is no summary of a replay: the key '{key}' is missing"):
        compare(summary(), found)
    path = tmp_path / "old.json"
    path.write_text(json.dumps(found))
    with pytest.raises(BagError, match=rf"old.json: is no summary of a replay: the key '{key}' is missing"):
        read_summaries(path)


def test_a_missing_key_further_in_is_named_with_its_way():
    found = summary(open_loop=[{"steps": 1, "copy_last": 1.0}])
    with pytest.raises(BagError, match=r"'open_loop.0.model' is missing"):
        compare(found, found)


def test_a_key_of_another_type_is_named():
    with pytest.raises(BagError, match=r"'frames_late' does not fit: Input should be a valid integer"):
        compare(summary(frames_late="many"), summary())


def test_a_summary_of_many_bags_is_read_without_those_that_failed(tmp_path):
    path = tmp_path / "summary.json"
    rows = [{"summary": summary("a.mcap")}, {"summary": None, "error": "no camera"}, {"summary": summary("b.mcap")}]
    path.write_text(json.dumps({"totals": {}, "rows": rows}))
    assert [row["bag"] for row in read_summaries(path)] == ["a.mcap", "b.mcap"]


def test_one_summary_is_read_as_a_list_of_one(tmp_path):
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(summary()))
    assert read_summaries(path) == [json.loads(json.dumps(summary()))]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "is not JSON"),
        ("[]", "is no summary"),
        ('{"rows": 3}', "'rows' is not a list"),
        ('{"rows": []}', "not one bag"),
        ('{"rows": [{"summary": null}]}', "not one bag"),
        ('{"rows": [{"summary": 3}]}', "is no summary of a replay"),
    ],
)
def test_a_file_that_is_no_summary_is_refused_by_its_name(text, what, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(BagError, match=rf"x.json: .*{what}"):
        read_summaries(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BagError, match=r"x.json: cannot be read: No such file"):
        read_summaries(tmp_path / "x.json")


def test_a_comparison_is_json():
    found = json.loads(json.dumps(compare(many(3, 1.0), many(3, 1.3)).to_dict(), allow_nan=False))
    assert found["regression"] is True
    assert found["figures"][0]["name"] == "surprise p50"
