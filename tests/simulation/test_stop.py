"""A planner dies in mid-gait: the real policy, the real physics, and the numbers the dog must keep."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.motion import make_motion
from jepa_ros.safety import SafetyFilter
from jepa_ros_simulation.dog import DogSim
from jepa_ros_simulation.rooms import Room

TICK_S = 0.02
VALID_S = 0.3


class Drive:
    """What joint_command does at 50 Hz, on simulated time."""

    def __init__(self, sim: DogSim) -> None:
        self.sim, self.filter = sim, SafetyFilter(sim.robot)
        self.motion = make_motion(sim.robot, ("vx", "vy", "wz"))
        self.now, self.walked = 0.0, False
        self.action = self.applied = np.zeros(3)
        self.tilt = 0.0
        sim.reset(posture="sit")

    def tick(self) -> str:
        joints, imu, safety = self.sim.joint_state(), self.sim.imu(), self.filter
        safety.on_joint_state(self.now, joints)
        safety.on_imu(self.now, imu)
        safety.on_camera(self.now)
        decision = safety.update(self.now)
        raw = None
        self.applied = np.zeros(3)
        if decision.use_policy:
            if not self.walked:
                self.motion.reset(joints)
            self.applied = safety.limit_action(self.now, decision, self.action)
            raw = self.motion.targets(self.applied, joints, imu)
        self.walked = decision.use_policy
        command = safety.command(self.now, decision, raw, joints, imu)
        if command is not None:
            self.sim.apply(command)
        self.sim.step(TICK_S)
        self.now += TICK_S
        self.tilt = max(self.tilt, self.sim.tilt())
        return decision.state

    def until(self, state: str, within_s: float) -> float:
        """Seconds until a state is reached."""
        began = self.now
        while self.tick() != state:
            assert self.now - began < within_s, f"{self.filter.update(self.now)} after {within_s} s, not {state}"
        return self.now - began

    def stand(self) -> None:
        self.tick()
        assert self.filter.request("stand").accepted
        self.until("stand", 2.5)

    def walk(self, action: np.ndarray, seconds: float) -> None:
        """Follow plans of one action; the last holds for `VALID_S` more."""
        assert self.filter.request("walk").accepted
        self.action = action
        began = self.now
        while self.now - began < seconds:
            self.filter.on_plan(self.now, self.now + VALID_S, b"goal")
            self.tick()


@pytest.fixture(scope="module")
def sim() -> DogSim:
    return DogSim(Room(0))


def test_it_stands_up_from_sitting_and_sits_down_again(sim: DogSim):
    drive = Drive(sim)
    drive.stand()
    assert sim.base()[2] > 0.3
    assert drive.filter.request("sit").accepted
    drive.until("sit", 3.0)
    assert sim.base()[2] < 0.15
    assert drive.tilt < 0.15


@pytest.mark.parametrize("seed", range(6))
def test_when_plans_cease_it_stops_upright(sim: DogSim, seed: int):
    rng = np.random.default_rng(seed)
    drive = Drive(sim)
    drive.stand()
    drive.walk(rng.uniform([0.3, -0.3, -0.9], [0.6, 0.3, 0.9]), rng.uniform(0.8, 1.6))
    assert sim.speed() > 0.1
    ended, zero_after, slow_after, drive.tilt = drive.now - TICK_S + VALID_S, np.inf, np.inf, 0.0
    while drive.now < ended + 4.0:
        drive.tick()
        if not drive.applied.any():
            zero_after = min(zero_after, drive.now - ended)
        slow_after = slow_after if sim.speed() < 0.08 else np.inf
        slow_after = min(slow_after, drive.now - ended)
    assert zero_after <= 0.1
    assert slow_after <= 2.0
    assert drive.tilt < np.radians(15)
    assert not sim.status().fallen
    assert drive.filter.update(drive.now).state == "stand"
    assert drive.filter.counts == {"plan_stale": 1}


def test_damping_in_mid_gait_lowers_it_without_tipping_over(sim: DogSim):
    drive = Drive(sim)
    drive.stand()
    drive.walk(np.array([0.4, 0.0, 0.3]), 1.0)
    drive.filter.trip(drive.now, "test", "a fault")
    for _ in range(100):
        drive.tick()
    assert sim.base()[2] < 0.2
    assert drive.tilt < 1.0
    assert sim.speed() < 0.05
