"""What the simulated feet feel."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros_simulation.dog import DogSim
from jepa_ros_simulation.rooms import Room


def test_standing_feet_carry_the_dogs_weight_and_those_in_the_air_nothing():
    sim = DogSim(Room(0))
    sim.reset(posture="stand")
    sim.step(1.0)
    forces = sim.foot_forces()
    assert forces.shape == (len(sim.robot.feet),)
    assert forces.sum() == pytest.approx(9.81 * sim.model.body_subtreemass[1], rel=0.02)
    assert forces.min() > 20.0
    sim.data.qpos[2] += 0.5
    sim.step(0.004)
    np.testing.assert_array_equal(sim.foot_forces(), 0.0)


def test_forces_are_in_the_order_of_the_robots_feet():
    sim = DogSim(Room(0))
    sim.reset(posture="stand")
    hip = sim.robot.joint_names.index("RL_calf_joint")
    sim.step(0.5)
    sim.data.ctrl[sim._motor[hip]] = -2.6  # that leg is drawn up
    sim.step(0.3)
    forces = sim.foot_forces()
    assert sim.robot.feet[int(forces.argmin())] == "RL_foot"
    assert forces.min() == 0.0
