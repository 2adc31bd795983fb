"""Direct joint motion from plan to command: cubic at the rate of the commands, within every limit."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.control import JointController
from jepa_ros.types import JointState, PlanChunk

from .safety_rig import GO2, tilted

STILL = np.zeros(12)


def commands(rate_hz: float, seconds: float, size: float) -> tuple[np.ndarray, list[float]]:
    """Positions `[ticks, 12]` sent along a plan of random joint angles about the stance, a step of 0.2 s each; and when
    an action was told to be applied."""
    rng, names = np.random.default_rng(0), GO2.joint_names
    controller = JointController(GO2, names, rate_hz, step_s=0.2)
    values = np.clip(GO2.stance("stand") + rng.uniform(-size, size, (60, 12)), GO2.lower, GO2.upper)
    now, position, sent, applied = 10.0, GO2.stance("sit"), [], []
    while len(sent) < seconds * rate_hz:
        now += 1 / rate_hz
        controller.on_joint_state(now, JointState(position, STILL, STILL))
        controller.on_imu(now, tilted(0.0))
        controller.on_plan(now, now, PlanChunk(names, 14.0, 0.2, values, now, now + 0.5, b"goal"))
        done = controller.tick(now, now)
        state = done.decision.state
        if state in ("passive", "stand"):
            controller.safety.request("stand" if state == "passive" else "walk")
        if done.command is not None:
            position = done.command.position.copy()
            if state == "walk" and now > 14.0:
                sent.append(position)
        if done.applied is not None:
            applied.append(now)
    assert state == "walk"
    assert controller.safety.counts == {}
    return np.array(sent), applied


@pytest.mark.parametrize("rate_hz", [50.0, 100.0, 500.0])
@pytest.mark.parametrize("size", [0.05, 1.5])
def test_neither_position_nor_speed_jumps(rate_hz: float, size: float):
    sent, _ = commands(rate_hz, 3.0, size)
    speed = np.diff(sent, axis=0) * rate_hz
    limits = GO2.safety.motions.direct
    assert (sent >= GO2.lower).all()
    assert (sent <= GO2.upper).all()
    assert np.abs(speed).max() <= limits.target_speed.limit + 1e-6
    assert np.abs(np.diff(speed, axis=0)).max() * rate_hz <= limits.target_acceleration.limit + 1e-3


def test_a_plan_within_the_limits_is_followed_along_its_cubics_at_every_tick():
    sent, applied = commands(500.0, 2.0, 0.05)
    assert np.abs(np.diff(sent, axis=0)).max(axis=1).min() < 1e-4  # it comes to rest at each action, between cubics
    moving = np.abs(np.diff(sent, axis=0)).max(axis=1) > 0
    assert moving.mean() > 0.97  # not ten ticks of the same
    assert np.diff(applied).max() == pytest.approx(0.02, abs=1e-6)  # told at 50 Hz
