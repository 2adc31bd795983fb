"""Rotary embedding against its formula, channel by channel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from jepa_ros_export.rope import Rope3D, grid_positions

pytestmark = pytest.mark.families


def test_a_pair_of_channels_turns_by_position_times_its_frequency():
    """RoFormer's formula channel by channel, with V-JEPA 2's slip: channel c has frequency c mod (part / 2)."""
    head, part = 14, 4  # two channels are left as they are
    positions = grid_positions(steps=2, height=2, width=3, conditions=1)
    x = torch.randn(len(positions), head)
    turned = Rope3D(positions, head)(x).numpy()
    for row, place in enumerate(positions.tolist()):
        expected = x[row].tolist()
        for channel in range(3 * part):
            within = channel % part
            angle = place[channel // part] * 10000 ** (-(within % (part // 2)) / (part // 2))
            other = -x[row, channel + 1] if channel % 2 == 0 else x[row, channel - 1]
            expected[channel] = float(x[row, channel] * math.cos(angle) + other * math.sin(angle))
        np.testing.assert_allclose(turned[row], expected, atol=1e-6)


def test_tokens_of_a_step_are_its_conditions_and_then_its_rows():
    positions = grid_positions(steps=2, height=1, width=2, conditions=1).tolist()
    assert positions == [[0, 0, 0], [0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 0, 0], [1, 0, 1]]
