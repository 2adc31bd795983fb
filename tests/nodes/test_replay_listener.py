"""Plans and latencies of the same frame belong together, in whichever order they are read."""

from __future__ import annotations

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from jepa_ros_msgs.msg import ActionChunk, StageLatency

from jepa_ros_nodes.polling import PolledSubscriptions
from jepa_ros_nodes.replay_listener import ReplayListener
from jepa_ros_replay.result import ReplayResult

pytestmark = pytest.mark.dds


def plan_at(second: int) -> ActionChunk:
    values = [float(second), 0.0, 0.0, 1.0, 0.0, 0.0]
    return ActionChunk(steps=2, names=["vx", "vy", "yaw"], values=values, energy=0.5, observed=Time(sec=second))


def latency_at(second: int) -> StageLatency:
    found = StageLatency(iterations=3)
    found.header.stamp = Time(sec=second)
    return found


@pytest.mark.parametrize("late", [False, True], ids=["plan first", "latency first"])
def test_a_plan_belongs_to_its_frame(rig, tmp_path, late):
    """Read the other way round, a plan was counted to no frame: 29 plans of 30, and another hash."""
    result = ReplayResult(
        bag=tmp_path, bundle="tiny", bundle_sha256="", robot="go2_sim", through="ros",
        action_names=("vx", "vy", "yaw"), topics={},
    )  # fmt: skip
    listener = ReplayListener(PolledSubscriptions(rig.probe), result)
    for second in (1, 2, 3):
        calls = [(listener._on_plan, plan_at(second)), (listener._on_latency, latency_at(second))]
        if second == 2:  # a frame without a plan
            calls = calls[1:]
        for call, message in reversed(calls) if late else calls:
            call(message)
    assert [row.t for row in result.plans] == [1.0, 2.0, 3.0]
    first, second, third = (row.actions for row in result.plans)
    np.testing.assert_array_equal(first, [[1, 0, 0], [1, 0, 0]])
    assert second is None
    np.testing.assert_array_equal(third, [[3, 0, 0], [1, 0, 0]])
    assert [row.plan_energy for row in result.plans] == pytest.approx([0.5, float("nan"), 0.5], nan_ok=True)
    assert result.summary()["plans"] == 2
