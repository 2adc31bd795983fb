"""Poses of V-JEPA 2-AC: x, y, z, the Euler angles roll, pitch and yaw about fixed axes, and how closed the gripper is.

Fixed axes x, y, z in this order: R = Rz(yaw) Ry(pitch) Rx(roll), what scipy calls "xyz".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LOCK = 1e-6  # cos(pitch) under which roll and yaw turn about the same axis
_ARC_TANGENT = tuple((-1) ** k / (2 * k + 1) for k in range(1, 8))  # of t²ᵏ in arctan(t) / t − 1


def move(pose: Tensor, action: Tensor) -> Tensor:
    """The pose after an action, both `[..., 7]` in m, rad and shares of closing.

    Positions add, the gripper adds and stays in 0 to 1, rotations multiply: R(action) R(pose), the turn being about the
    base's axes. So the original's planner does (`compute_new_pose`), and so its data loader makes actions of poses.
    """
    turned = angles(rotation(action[..., 3:6]) @ rotation(pose[..., 3:6]))
    gripper = (pose[..., 6:] + action[..., 6:]).clamp(0.0, 1.0)
    return torch.cat([pose[..., :3] + action[..., :3], turned, gripper], -1)


def rotation(angle: Tensor) -> Tensor:
    """Roll, pitch, yaw `[..., 3]` → rotation matrices `[..., 3, 3]`."""
    (sr, sp, sy), (cr, cp, cy) = angle.sin().unbind(-1), angle.cos().unbind(-1)
    rows = (
        torch.stack((cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr), -1),
        torch.stack((sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr), -1),
        torch.stack((-sp, cp * sr, cp * cr), -1),
    )
    return torch.stack(rows, -2)


def angles(matrix: Tensor) -> Tensor:
    """Rotation matrices `[..., 3, 3]` → roll and yaw in (−π, π], pitch in [−π/2, π/2], `[..., 3]`.

    Where pitch is ±π/2 only yaw ∓ roll is known; yaw is then 0, as in scipy.
    """
    level = matrix[..., 0, 0] ** 2 + matrix[..., 1, 0] ** 2
    locked = level < _LOCK**2
    # What is not chosen still has a gradient: both sides must be finite everywhere.
    cos_pitch = torch.where(locked, 1.0, level).sqrt()
    sines = (
        torch.where(locked, -matrix[..., 1, 2], matrix[..., 2, 1]),
        -matrix[..., 2, 0],
        torch.where(locked, 0.0, matrix[..., 1, 0]),
    )
    cosines = (
        torch.where(locked, matrix[..., 1, 1], matrix[..., 2, 2]),
        torch.where(locked, 0.0, cos_pitch),
        torch.where(locked, 1.0, matrix[..., 0, 0]),
    )
    return angle_of(torch.stack(sines, -1), torch.stack(cosines, -1))


def angle_of(y: Tensor, x: Tensor) -> Tensor:
    """atan2, of operators that ONNX Runtime has for CUDA: with `Atan`, which it has not, a plan is not recorded there.

    The angle to the nearer axis is halved twice, which leaves at most π/16, where eight terms of the series of the arc
    tangent are exact to 4e-13. A y of −0 counts as 0.
    """
    steep = y.abs() > x.abs()
    over, under = torch.where(steep, -x, y), torch.where(steep, y, x)
    tangent = over / torch.where(under == 0, 1.0, under)
    for _ in range(2):
        tangent = tangent / (1 + (1 + tangent * tangent).sqrt())
    square = tangent * tangent
    series = square * _ARC_TANGENT[-1]
    for coefficient in reversed(_ARC_TANGENT[:-1]):
        series = (series + coefficient) * square
    side = torch.where(y < 0, -1.0, 1.0)
    quarters = torch.where(steep, side, torch.where(x < 0, 2 * side, 0.0)).to(y.dtype)
    return math.pi / 2 * quarters + 4 * tangent * (1 + series)
