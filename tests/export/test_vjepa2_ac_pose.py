"""Poses against rotation matrices made another way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from jepa_ros_export.vjepa2_ac_pose import angle_of, angles, move, rotation

pytestmark = pytest.mark.families


def about(axis: int, angle: float) -> np.ndarray:
    """A rotation matrix by Rodrigues' formula."""
    cross = np.zeros((3, 3))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    cross[second, first], cross[first, second] = 1.0, -1.0
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def fixed_axes(angle: np.ndarray) -> np.ndarray:
    return about(2, angle[2]) @ about(1, angle[1]) @ about(0, angle[0])


def test_a_pose_moves_as_the_originals_planner_moves_it():
    rng = np.random.default_rng(0)
    pose, action = rng.uniform(-1.4, 1.4, (2, 64, 7))
    pose[:, 3] = rng.uniform(-3.1, 3.1, 64)
    moved = move(torch.from_numpy(pose), torch.from_numpy(action)).numpy()
    np.testing.assert_allclose(moved[:, :3], pose[:, :3] + action[:, :3])
    np.testing.assert_allclose(moved[:, 6], np.clip(pose[:, 6] + action[:, 6], 0, 1))
    for before, by, after in zip(pose, action, moved, strict=True):
        np.testing.assert_allclose(fixed_axes(after[3:6]), fixed_axes(by[3:6]) @ fixed_axes(before[3:6]), atol=1e-9)
        assert abs(after[4]) <= math.pi / 2
        assert np.abs(after[[3, 5]]).max() <= math.pi


def test_the_turn_is_about_the_bases_axes():
    """A gripper that points down (roll π / 2) and turns about the base's z: yaw changes, and pitch does not."""
    pose = torch.tensor([0.0, 0, 0, math.pi / 2, 0, 0, 0])
    moved = move(pose, torch.tensor([0.0, 0, 0, 0, 0, 0.3, 0]))
    np.testing.assert_allclose(moved[3:6], [math.pi / 2, 0, 0.3], atol=1e-6)


@pytest.mark.parametrize("pitch", [math.pi / 2, -math.pi / 2])
def test_straight_up_and_down_have_an_answer_and_a_gradient(pitch):
    pose = torch.tensor([0.1, 0.2, 0.3, 0.4, pitch, 0.0, 0.5], dtype=torch.float64, requires_grad=True)
    moved = move(pose, torch.zeros(7, dtype=torch.float64))
    np.testing.assert_allclose(moved[3:6].detach(), [0.4, pitch, 0.0], atol=1e-9)
    moved.sum().backward()
    assert torch.isfinite(pose.grad).all()


def test_exactly_straight_up_has_an_answer_and_a_gradient():
    matrix = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]], requires_grad=True)
    found = angles(matrix)
    np.testing.assert_allclose(found.detach(), [0, math.pi / 2, 0], atol=1e-7)
    found.sum().backward()
    assert torch.isfinite(matrix.grad).all()


def test_half_a_turn_is_plus_pi_whatever_the_sign_of_zero():
    for zero in (0.0, -0.0):
        matrix = torch.tensor([[-1.0, 0, 0], [zero, -1, 0], [0, 0, 1]])
        assert angles(matrix)[2] == pytest.approx(math.pi)


def test_rotations_and_angles_undo_each_other():
    angle = torch.tensor([[0.1, -0.2, 0.3], [-3.0, 1.5, 2.0]], dtype=torch.float64)
    np.testing.assert_allclose(angles(rotation(angle)), angle, atol=1e-12)


def test_the_angle_is_atan2s_with_its_gradient_all_around():
    around = torch.linspace(-math.pi, math.pi, 721, dtype=torch.float64)[1:]
    size = torch.logspace(-6, 6, 720, dtype=torch.float64)
    y, x = around.sin() * size, around.cos() * size
    on_axes = torch.tensor([[0.0, 1], [1, 0], [-1, 0], [0.0, -1], [1, 1], [-1, -1], [1, -1], [-1, 1]]).double()
    y, x = torch.cat([y, on_axes[:, 0]]).requires_grad_(), torch.cat([x, on_axes[:, 1]]).requires_grad_()
    found, told = angle_of(y, x), torch.atan2(y, x)
    np.testing.assert_allclose(found.detach(), told.detach(), rtol=0, atol=3e-12)
    ours, theirs = (torch.autograd.grad(angle.sum(), (y, x)) for angle in (found, told))
    for mine, torchs in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine * size.max(), torchs * size.max(), rtol=1e-9, atol=1e-6)


def test_no_direction_has_an_angle_and_a_gradient():
    y = torch.zeros(1, requires_grad=True)
    angle = angle_of(y, torch.zeros(1))
    angle.backward()
    assert float(angle) == 0.0
    assert torch.isfinite(y.grad).all()
