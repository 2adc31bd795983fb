"""The arithmetic of jepa-bench plan, on plans whose times and energies are written by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_ros.planning.config import PlannerConfig
from jepa_ros_benchmarks.plan_figures import (
    Label,
    Run,
    Series,
    iteration_ends,
    own_reference,
    predictor_calls,
    relative_energy,
    row_of,
    seconds_to,
    time_to_reference,
    times_ms,
    with_ratios,
)
from jepa_ros_benchmarks.plan_report import energy_over_time, line_looks


def run(energies, seconds=None, each=0.1):
    ends = each * np.arange(1, len(energies) + 1)
    return Run(np.zeros((2, 1), np.float32), seconds or ends[-1], ends, np.array(energies, np.float64))


def series(*runs, references=None, judged=None):
    ones = [1.0] * len(runs)
    return Series(list(runs), judged or ones, references or ones)


def test_the_time_to_a_reference_is_the_first_that_is_as_low():
    assert seconds_to(2.0, run([5.0, 2.0, 1.0])) == pytest.approx(0.2)
    assert seconds_to(0.5, run([5.0, 2.0, 1.0])) == np.inf
    assert seconds_to(1.0, run([1.0 + 5e-7])) == pytest.approx(0.1), "rounding is forgiven"
    assert seconds_to(1.0, run([1.0 + 5e-6])) == np.inf
    assert seconds_to(-1.0, run([-1.0 + 5e-7])) == pytest.approx(0.1), "below zero, as with rewards, too"


def test_a_plan_that_never_gets_there_counts_as_infinite():
    soon, late, never = run([0.9]), run([3.0, 2.0, 0.9]), run([3.0])
    ms, share = time_to_reference(series(soon, late, never))
    assert (ms, share) == (pytest.approx(300.0), pytest.approx(2 / 3))
    ms, share = time_to_reference(series(soon, never, never))
    assert (ms, share) == (None, pytest.approx(1 / 3))
    assert time_to_reference(series(soon, never))[0] is None, "half of them is not a median"


def test_the_published_search_is_held_to_what_it_reaches():
    assert own_reference(1.0, run([3.0, 1.0001])) == pytest.approx(1.0001)
    assert own_reference(1.0, run([3.0, 0.5])) == 1.0


@pytest.mark.parametrize(
    ("marks", "iterations", "ends"),
    [
        ([0.0, 1.0, 2.0], 3, [1.0, 2.0, 3.0]),  # asked before each
        ([0.0, 1.5], 4, [1.5, 1.5, 3.0, 3.0]),  # two a call
        ([0.0], 3, [3.0, 3.0, 3.0]),  # all at once
        ([], 2, [3.0, 3.0]),  # never asked
        ([0.0, 1.0], 5, [1.0, 1.0, 3.0, 3.0, 3.0]),  # three a call, then two: the third is taken to be late
        ([0.0, 1.0, 2.0], 2, [1.0, 3.0]),  # asked once more, and stopped
        ([0.0], 0, []),
    ],
)
def test_when_iterations_ended(marks, iterations, ends):
    np.testing.assert_allclose(iteration_ends(marks, 3.0, iterations), ends)


@given(st.integers(1, 40), st.integers(1, 40))
def test_iterations_end_in_order_and_the_last_with_the_plan(calls, iterations):
    ends = iteration_ends([float(i) for i in range(calls)], float(calls), iterations)
    assert len(ends) == iterations
    assert (np.diff(ends) >= 0).all()
    assert ends[-1] == calls


def test_what_a_plan_calls():
    config = PlannerConfig(samples=10, elites=4, horizon=3, iterations=5, descents=2)
    assert predictor_calls("cem", config, 5) == 10 * 3 * 5
    assert predictor_calls("icem", config, 2) == 10 * 3 * 2
    # a backward counts two, and the last iteration takes none
    assert predictor_calls("gradient", config, 5) == 10 * 3 * (5 + 2 * 4)
    assert predictor_calls("hybrid", config, 7) == 10 * 3 * 5 + 4 * 3 * (2 + 2 * 1)
    assert predictor_calls("hybrid", config, 3) == 10 * 3 * 3, "cut short before it descends"


def test_percentiles():
    runs = [run([1.0], seconds=ms * 1e-3) for ms in (5.0, 1.0, 3.0, 2.0, 4.0)]
    assert times_ms(runs) == pytest.approx({"p50_ms": 3.0, "p99_ms": 5.0, "min_ms": 1.0})


def test_an_energy_relative_to_references_that_are_not_above_zero_says_nothing():
    assert relative_energy(series(run([1.0]), run([1.0]), judged=[2.0, 4.0], references=[1.0, 1.0])) == 3.0
    assert relative_energy(series(run([1.0]), judged=[2.0], references=[-1.0])) is None


def row(engine, seconds, threads, energies=(0.5,)):
    label = Label("cem", engine, "cpu", "fp32", threads)
    return row_of("x", label, PlannerConfig(), series(run(list(energies), seconds=seconds, each=seconds)))


def test_ratios_are_against_the_best_threads():
    rows = [row("numpy", 0.1, 1), row("torch", 0.4, 1), row("torch", 0.2, 2), row("torch, published", 0.8, 1)]
    with_ratios(rows, "torch", "torch, published")
    assert [r["ratio_to_torch"] for r in rows] == pytest.approx([2.0, 0.5, 1.0, 1.0])
    assert [r["speedup_to_reference"] for r in rows] == pytest.approx([8.0, 2.0, 4.0, 1.0])


def test_where_the_settings_are_the_published_ones_those_rows_are_the_baseline():
    rows = [row("numpy", 0.1, 1), row("torch, published", 0.8, 1), row("torch, published", 0.4, 2)]
    with_ratios(rows, "torch", "torch, published")
    assert [r["ratio_to_torch"] for r in rows] == pytest.approx([4.0, 0.5, 1.0])


def test_without_pytorch_there_is_no_ratio():
    rows = [row("numpy", 0.1, 1, energies=(2.0,))]
    with_ratios(rows, "torch", "torch, published")
    assert rows[0]["ratio_to_torch"] is None
    assert rows[0]["ms_to_reference_energy"] is None
    assert {"unit", "planner", "provider", "precision", "p50_ms", "p99_ms", "energy", "predictor_calls"} <= set(rows[0])


def test_a_curve_is_the_best_so_far_over_its_reference():
    found = series(run([4.0, 2.0]), run([4.0, 2.0]), run([4.0, 2.0]), references=[2.0, 2.0, 2.0])
    low, middle, high = energy_over_time(found, np.array([0.05, 0.15, 0.25]))
    for curve in (low, middle, high):
        np.testing.assert_allclose(curve, [np.inf, 2.0, 1.0])


def test_no_two_lines_of_a_plot_look_alike():
    looks = line_looks(43)
    assert len({str(look) for look in looks}) == 43
    assert [look["linestyle"] for look in looks[:10]] == ["-"] * 10
    axes = pytest.importorskip("matplotlib.figure").Figure().subplots()
    for look in looks:  # matplotlib checks dashes as it takes them
        axes.step([0, 1], [0, 1], **look)
