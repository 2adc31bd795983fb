"""The simulated dog: stands, walks where it is told, sees, and says when it has fallen."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.types import JointCommand
from jepa_ros_simulation.collect import explore
from jepa_ros_simulation.dog import DogSim
from jepa_ros_simulation.rooms import Room
from jepa_ros_simulation.tasks import errors_to
from jepa_ros_simulation.walker import Walker


@pytest.fixture(scope="module")
def walker() -> Walker:
    return Walker(DogSim(Room(0)))


def test_standing_reads_gravity_and_the_named_stance(walker: Walker) -> None:
    sim = walker.sim
    sim.reset(posture="stand")
    sim.step(1.0)
    assert sim.imu().gravity_direction() == pytest.approx([0, 0, -1], abs=0.05)
    assert sim.imu().linear_acceleration[2] == pytest.approx(9.81, abs=0.3)
    assert sim.joint_state().position == pytest.approx(sim.robot.stance("stand"), abs=0.12)
    assert not sim.status().fallen
    assert not sim.status().collision


def test_walks_forward_and_turns_left(walker: Walker) -> None:
    walker.start(-1.0, -1.0, 0.0)
    walker.drive(np.array([0.4, 0.0, 0.0]), 3.0)
    assert errors_to((-1.0, -1.0, 0.0), walker.sim.pose())[0] == pytest.approx(0.93, abs=0.25)
    walker.start(-1.0, -1.0, 0.0)
    walker.drive(np.array([0.0, 0.0, 0.9]), 2.0)
    assert walker.sim.pose()[2] > 0.9


def test_place_keeps_height_and_joints(walker: Walker) -> None:
    sim = walker.sim
    walker.start(-1.0, -1.0, 0.0)
    before, height = sim.joint_state().position, sim.base()[2]
    sim.place(0.5, -0.3, 1.0)
    assert sim.pose() == pytest.approx((0.5, -0.3, 1.0), abs=1e-6)
    assert sim.joint_state().position == pytest.approx(before)
    assert sim.base()[2] == pytest.approx(height)


def test_damping_sinks_and_limp_motors_hold_nothing(walker: Walker) -> None:
    sim = walker.sim
    sim.reset(posture="stand")
    zero = np.zeros(12)
    sim.apply(JointCommand(zero, zero, zero, zero, np.full(12, 3.0)))
    sim.step(2.0)
    assert sim.base()[2] < 0.2


def test_the_same_pose_gives_the_same_view_and_another_pose_another(walker: Walker) -> None:
    view = walker.goal_view(-1.0, -1.0, 0.5)
    assert view.shape == (128, 128, 3)
    assert view.dtype == np.uint8
    assert np.array_equal(view, walker.goal_view(-1.0, -1.0, 0.5))
    assert np.abs(view.astype(int) - walker.goal_view(-1.0, -1.0, 1.5)).mean() > 5


def test_exploring_writes_aligned_rows_and_stays_clear(walker: Walker) -> None:
    run = explore(walker, Room(0), 20, np.random.default_rng(1))
    assert run["images"].shape == (20, 64, 64, 3)
    assert run["actions"].shape == run["poses"].shape == (20, 3)
    assert not run["actions"][0].any()
    assert np.abs(run["actions"]).max() <= 0.9
    assert Room(0).clearance(run["poses"][:, :2].astype(float)).min() > 0.1
