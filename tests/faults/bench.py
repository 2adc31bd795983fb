"""The walking dog that faults are tried on: nodes, relay, operator and listener, kept alive over all runs.

sim_dog → faults/camera… joint_states imu → relay → world_model, joint_command
world_model → faults/plan → relay → joint_command → joint_commands → sim_dog
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import rclpy
import yaml

from jepa_ros.robots import load_robot
from jepa_ros.robots.reading import read_fields
from jepa_ros.types import UInt8
from jepa_ros_simulation.dog import DogSim
from jepa_ros_simulation.rooms import Room

from . import bundles
from .judge import Outcome, made_safe, still_at, tilt
from .listener import Listener
from .operator import Operator
from .processes import ROOT, Helper, Nodes, ProcessError
from .relay import RELAYED, before_relay
from .stalls import StallWatch

BODY = "go2_sim"
# Time-outs of the robot that is tried, s; the shipped simulated dog has longer ones: machines that simulate stall.
TIMEOUTS = {"joint_state_timeout_s": 0.06, "imu_timeout_s": 0.06, "policy_timeout_s": 0.06, "deadman_timeout_s": 0.2}
FEET_TIMEOUT_S = 0.05
TILT_AFTER_S = 0.02
BUNDLE = ROOT / "bundles" / "default"
START, GOAL = (-1.0, -1.2, 0.8), (1.2, 0.6, 0.8)  # x m, y m, yaw rad in room 0; too far apart to arrive within a run
WALKED_S = 0.7
_SPEED_M_S = 0.15
_ATTEMPTS = 5
_LYING_M = 0.2
_LEVEL_RAD = 0.5  # below what the safety filter lets stand up
_PATIENCE_S = 30.0  # DDS takes what was killed for alive for 20 s
_SETTLED_S = 0.2
_LEAST_WATCH_S = 0.8
AFTERMATH_S = 0.3


@dataclass(frozen=True)
class Setup:
    """How the nodes are started.

    Attributes:
        bundle: `default`, or one of `bundles.KINDS`.
        sim_time: whether the nodes live by `/clock`, which passes the relay.
        deadman: whether walking needs `deadman` held.
    """

    bundle: str = "default"
    sim_time: bool = False
    deadman: bool = False


class Bench:
    """Brings the dog to a walk, lets a fault in, watches, and brings it back to standing.

    Args:
        folder: for logs and bundles.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._robot_file = strict_robot(folder)
        self.robot = load_robot(self._robot_file)
        self.nodes = Nodes(folder)
        self.relay = Helper("relay")
        self.operator = Operator(self._context)
        self.listener = Listener(self._context)
        self.stalls = StallWatch()
        self.stranger: Helper | None = None
        self.notes: list[str] = []
        """What an injection has found out by itself, beside what is on the wire."""
        self._setup: Setup | None = None
        self._view = _view(GOAL)

    def alter(self, topic: str, alteration: str) -> None:
        """Have the relay do this to a topic; `-` nothing."""
        self.relay.tell(f"{topic} {alteration}", "done")

    def use(self, setup: Setup) -> None:
        """Run the nodes in this way; only what differs is started anew."""
        before, self._setup = self._setup, setup
        if before is None or before.sim_time != setup.sim_time:
            self.nodes.close()
            before = None
        clock = {"use_sim_time": True} if setup.sim_time else {}
        self.operator.hold("deadman", True if setup.deadman else None)
        if before is None:
            inputs = {topic: before_relay(topic) for topic in RELAYED if topic != "plan"}
            pace = {"real_time_factor": 0.98} if setup.sim_time else {}
            self.nodes.start("sim_dog", {"start": f"[{START[0]}, {START[1]}, {START[2]}]", **pace}, inputs)
            self.nodes.start("command_watchdog", {"robot": self._robot_file}, {})
        if before is None or before.deadman != setup.deadman:
            self.nodes.end("joint_command")
            required = {"deadman_required": True} if setup.deadman else {}
            self.nodes.start("joint_command", {"robot": self._robot_file, **required, **clock}, {})
        if before is None or before.bundle != setup.bundle:
            self.nodes.end("world_model")
            self._came_up("world_model", lambda: self._start_world_model(setup, clock))

    def restart(self) -> None:
        """Nothing is as it should be: the next `use` starts every node anew, and no topic is altered any more."""
        self.nodes.close()
        self._setup = None
        for topic in RELAYED:
            self.alter(topic, "-")

    def _start_world_model(self, setup: Setup, clock: dict[str, object]) -> None:
        bundle = BUNDLE
        if setup.bundle != "default":
            bundle = self._folder / setup.bundle
            if not bundle.is_dir():
                bundles.spoiled(BUNDLE, setup.bundle, bundle)
        self.nodes.start("world_model", {"bundle": bundle, **clock}, {"plan": before_relay("plan")})

    def start_and_wait(self, node: str, parameters: dict[str, object]) -> None:
        """Start a node beside those of the set-up, and wait for its word."""
        self._came_up(node, lambda: self.nodes.start(node, parameters, {}))

    def _came_up(self, node: str, start: Callable[[], None]) -> None:
        """Start a node and wait for its word that it is ready."""
        told = len(self.nodes.log(node))
        start()
        word = {"world_model": "bundle ", "sim_dog": "dog at", "recorder": "recording "}.get(node)
        if word is not None:
            self.operator.wait(f"{node} to come up", lambda: word in self.nodes.log(node)[told:], 60.0)

    def walk(self, chance: random.Random) -> int:
        """Bring the dog to a walk toward its goal; returns how many attempts failed before.

        Raises:
            ProcessError: it does not walk.
        """
        for attempt in range(_ATTEMPTS):
            try:
                self._walk()
            except ProcessError:
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            time.sleep(WALKED_S + chance.uniform(0.0, 0.4))  # any phase of the gait
            if self.state() == "walk":
                return attempt
        raise ProcessError(f"the dog does not go on walking: {self._told()}")

    def _walk(self) -> None:
        if not self.walks_on() and not self.stand():
            raise ProcessError(f"the dog does not stand up: {self._told()}")
        self.operator.place(*START)
        self.operator.ask("walk")
        self.operator.send_goal(self._view)
        self.operator.wait(f"the dog to walk ({self._told()})", lambda: self._speed() > _SPEED_M_S, 6.0)

    def walks_on(self) -> bool:
        """Whether the dog walks and every node is alive; those that have died are started again."""
        for node in self.nodes.dead():
            self._revive(node)
        return self.state() == "walk" and self._tilt() < _LEVEL_RAD

    def stand(self, seconds: float = _PATIENCE_S) -> bool:
        """What an operator does after a fault: start what has died, set the dog on its belly if it lies on its side,
        recover, stand; whether it stands in time."""
        for node in self.nodes.dead():
            self._revive(node)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            state = self.state()
            if state == "stand" and self._lies():
                self._set_upright()
            elif state == "stand":
                return True
            request = {"damp": "recover", "passive": "stand", "sit": "stand", "walk": "stop"}.get(state)
            if request == "recover" and self._tilt() > _LEVEL_RAD:
                self._set_upright()
            if request is not None:
                with suppress(ProcessError):
                    self.operator.ask(request)
            time.sleep(0.12)  # the status comes at 10 Hz
        return False

    def _revive(self, node: str) -> None:
        self._came_up(node, lambda: self.nodes.revive(node))

    def _set_upright(self) -> None:
        """A person lifts it: the simulator starts anew."""
        self.nodes.end("sim_dog")
        self._revive("sim_dog")
        time.sleep(0.5)

    def watch(self, injected: float, seconds: float, walks: bool) -> None:
        """Until the dog is safe and still, or the time is up; where walking on is expected, the whole time."""
        while (elapsed := time.time() - injected) < seconds:
            time.sleep(0.1)
            if walks or elapsed < _LEAST_WATCH_S:
                continue
            so_far = self.listener.recording(injected)
            rests = still_at(so_far)
            blind = self.listener.newest("ground_truth/odom") is None
            stands = rests is not None and time.time() - rests > _SETTLED_S
            if made_safe(so_far).outcome is not Outcome.WALK and (blind or stands):
                return

    def state(self) -> str:
        """The safety filter's state; empty while joint_command says nothing."""
        status = self.listener.newest("safety_status")
        return status.state if status is not None else ""

    def _told(self) -> str:
        status = self.listener.newest("safety_status", 5.0)
        return "no status" if status is None else f"{status.state}: {status.reason}"

    def _speed(self) -> float:
        odometry = self.listener.newest("ground_truth/odom")
        return 0.0 if odometry is None else float(odometry.twist.twist.linear.x)

    def _tilt(self) -> float:
        odometry = self.listener.newest("ground_truth/odom")
        return 0.0 if odometry is None else tilt(odometry)

    def _lies(self) -> bool:
        odometry = self.listener.newest("ground_truth/odom")
        return odometry is not None and odometry.pose.pose.position.z < _LYING_M

    def close(self) -> None:
        """End every process."""
        self.nodes.close()
        self.relay.close()
        self.stalls.close()
        self.listener.close()
        self.operator.close()
        rclpy.shutdown(context=self._context)


def strict_robot(folder: Path) -> Path:
    """The simulated dog's file with the time-outs of `TIMEOUTS`, written to a folder."""
    safety = read_fields(BODY)[1]["safety"]
    feet = {**safety["feet"], "timeout_s": FEET_TIMEOUT_S}
    strict = {**safety, **TIMEOUTS, "tilt_after_s": TILT_AFTER_S, "feet": feet}
    path = folder / "go2_strict.yaml"
    path.write_text(yaml.safe_dump({"extends": BODY, "name": "go2_strict", "safety": strict}))
    return path


def _view(pose: tuple[float, float, float]) -> UInt8:
    """What the dog's camera sees from a pose."""
    sim = DogSim(Room(0))
    sim.reset(*pose)
    view = sim.render()
    sim.close()
    return view
