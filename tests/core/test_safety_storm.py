"""The storm of inputs on the safety filter: nothing unsafe comes out, nothing is raised, and it is a storm indeed."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.safety import SafetyFilter
from jepa_ros.types import JointCommand, JointState

from .safety_referee import Referee
from .safety_rig import GO2
from .safety_storm import storm


def test_whatever_comes_in_what_goes_out_is_safe():
    """`python -m tests.core.safety_storm --inputs 1000000` is the same, fifty times as long."""
    result = storm(20_000, seed=0)
    assert result.inputs >= 20_000
    assert result.exceptions == []
    assert result.not_finite == []
    assert result.outside == []
    assert set(result.commands) >= {"passive", "stand_up", "stand", "walk", "stopping", "damp"}
    methods = {name for name in dir(SafetyFilter) if callable(getattr(SafetyFilter, name)) and name[0] != "_"}
    assert set(result.calls) | {"ages"} == methods
    assert len(result.reasons) > 20


STAND = GO2.stance("stand")
STILL = JointState(STAND, np.zeros(12), np.zeros(12))


def command(position: np.ndarray, kp: float = 60.0, kd: float = 5.0) -> JointCommand:
    return JointCommand(position, np.zeros(12), np.zeros(12), np.full(12, kp), np.full(12, kd))


@pytest.mark.parametrize(
    ("state", "sent", "says"),
    [
        ("stand", command(GO2.upper + 0.01, kp=1.0), "range"),
        ("stand", command(STAND + 0.7), "effort"),
        ("stand", command(STAND, kp=61.0), "kp"),
        ("stand", command(STAND, kd=6.0), "kd"),
        ("damp", command(STAND), "kp while damped"),
        ("damp", command(STAND, kp=0.0, kd=0.0), "damping"),
        ("passive", command(STAND), "passive sends"),
    ],
)
def test_the_referee_sees_what_is_unsafe(state: str, sent: JointCommand, says: str):
    referee = Referee(GO2, walks=False)
    referee.judge(1.0, state, False, sent, STILL)
    assert any(says in sentence for sentence in referee.outside)


@pytest.mark.parametrize(
    ("second", "third", "says"), [(0.3, 0.3, "step"), (0.05, 0.05, "too fast"), (0.0, 0.01, "speed")]
)
def test_the_referee_sees_what_moves_too_fast(second: float, third: float, says: str):
    referee = Referee(GO2, walks=False)
    for number, offset in enumerate((0.0, second, third)):
        referee.judge(1.0 + 0.01 * number, "stand", False, command(STAND + offset, kp=10.0), None)
    assert any(says in sentence for sentence in referee.outside)
