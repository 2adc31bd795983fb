"""Rooms: the same from the same seed, different from another, and right about what is free."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros_simulation.rooms import HALF_SIDE_M, Furniture, Room


def test_a_seed_is_a_room() -> None:
    assert Room(3).furniture == Room(3).furniture
    assert Room(3).furniture != Room(4).furniture
    assert len(Room(3).furniture) == 14


@pytest.mark.parametrize("seed", range(4))
def test_no_two_pieces_overlap(seed: int) -> None:
    pieces = Room(seed).furniture
    for i, one in enumerate(pieces):
        for other in pieces[:i]:
            assert np.hypot(one.x - other.x, one.y - other.y) > max(one.half[:2]) + max(other.half[:2])


def test_distance_to_a_turned_box() -> None:
    box = Furniture("box", 1.0, 0.0, (0.5, 0.1, 0.3), np.pi / 2, (1.0, 0.0, 0.0))
    points = np.array([[1.0, 0.0], [1.0, 0.7], [1.3, 0.0], [1.4, 0.9]])
    assert box.distance(points) == pytest.approx([0.0, 0.2, 0.2, 0.5])


def test_clearance_counts_walls() -> None:
    room = Room(0)
    assert room.clearance(np.array([[HALF_SIDE_M + 0.1, 0.0]]))[0] < 0
    assert not room.free(HALF_SIDE_M - 0.3, 0.0)


def test_a_way_through_furniture_is_not_clear() -> None:
    room = Room(0)
    piece = room.furniture[-1]
    ends = [(piece.x - 0.8, piece.y), (piece.x + 0.8, piece.y)]
    assert not room.clear(*ends)
    pose = room.sample_pose(np.random.default_rng(0))
    assert room.free(*pose[:2])
    assert room.clear(pose[:2], pose[:2])
