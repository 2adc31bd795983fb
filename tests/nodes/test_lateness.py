"""Decisions of the past are not sent: held up on their way, or made of what was measured before a standstill."""

from __future__ import annotations

import pytest

from jepa_ros_nodes.lateness import Lateness

FRESH, OLD = 0.004, 0.06


@pytest.mark.parametrize(
    ("gap", "measured_ago", "took", "late"),
    [
        (0.01, FRESH, 0.002, False),
        (0.01, FRESH, 0.026, True),  # held up between the decision and its sending
        (0.01, OLD, 0.002, False),  # measurements alone that are old are the filter's affair
        (0.05, FRESH, 0.002, False),  # it stood still, and knows what came meanwhile
        (0.05, OLD, 0.002, True),  # it stood still, and does not
    ],
)
def test_a_tick(gap: float, measured_ago: float, took: float, late: bool):
    found = Lateness(0.025)
    found.begin(10.0, lambda _: OLD)  # the first has stood still for nobody
    assert not found.is_late(10.001)
    found.begin(10.0 + gap, lambda _: measured_ago)
    assert found.is_late(10.0 + gap + took) is late
    found.begin(10.01 + gap, lambda _: OLD)  # and the next is judged anew
    assert not found.is_late(10.012 + gap)
