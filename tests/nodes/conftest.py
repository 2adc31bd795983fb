"""Real nodes in processes of their own, over real DDS, in a domain that no other test uses.

Everybody is on the loopback interface alone, under the profile that commanders have: announced every 0.1 s, so that two
soon know of each other, and without shared memory, which the killed leave behind and which can hold a sender up for a
third of a second (`jepa_ros_nodes.fast_dds`). Launch files in `tests/` run under the profiles that they choose.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed: run `make setup`")

_PROFILE = str(Path(__file__).resolve().parents[2] / "config" / "fastdds_loopback_udp.xml")
_DOMAINS = itertools.count(os.getpid())


def _take_next_domain() -> None:
    """For this process and those that it starts: nobody hears, or counts, what an earlier test has left."""
    os.environ["ROS_DOMAIN_ID"] = str(1 + next(_DOMAINS) % 99)


_take_next_domain()
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "SUBNET"
os.environ["FASTRTPS_DEFAULT_PROFILES_FILE"] = os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] = _PROFILE

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

_ANSWER_S, _TRIES = 5.0, 4


class Rig:
    """Starts nodes as processes and listens to them with a probe node in this one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.context = rclpy.Context()
        _take_next_domain()
        rclpy.init(context=self.context)
        self.probe = Node("probe", context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.probe)
        self._nodes = [self.probe]
        self.heard: dict[str, list[tuple[float, Any]]] = {}

    def add_node(self, node: Node) -> None:
        """Serve a node of this process beside the probe, until the rig closes."""
        self._executor.add_node(node)
        self._nodes.append(node)

    def remove_node(self, node: Node) -> None:
        """End one that was added."""
        self._executor.remove_node(node)
        self._nodes.remove(node)
        node.destroy_node()

    def start(self, node: str, **parameters: object) -> subprocess.Popen[bytes]:
        """Run `jepa_ros_nodes.<node>_node` with parameters."""
        command = [sys.executable, "-m", f"jepa_ros_nodes.{node}_node", "--ros-args"]
        for name, value in parameters.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            command += ["-p", f"{name}:={text}"]
        log = (self._folder / f"{node}.log").open("w")
        self.processes[node] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        return self.processes[node]

    def log(self, node: str) -> str:
        """What a node has printed so far."""
        return (self._folder / f"{node}.log").read_text()

    def kill(self, node: str) -> float:
        """Kill -9, and the wall time at which it happened."""
        self.processes[node].send_signal(signal.SIGKILL)
        at = time.time()
        self.processes[node].wait()
        return at

    def listen(self, kind: Any, topic: str, qos: Any) -> list[tuple[float, Any]]:
        """Messages of a topic with the wall time of their receipt, from now on."""
        rows: list[tuple[float, Any]] = []
        self.heard[topic] = rows
        self.probe.create_subscription(kind, topic, lambda message: rows.append((time.time(), message)), qos)
        return rows

    def spin(self, seconds: float) -> None:
        """Let messages in for a while."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(left, 0.05))

    def wait(self, what: str, ready: Callable[[], Any], seconds: float = 30.0) -> Any:
        """Let messages in until `ready()` is true; fails the test with the nodes' logs otherwise."""
        found = self.until(ready, seconds)
        if not found:
            logs = "\n".join(f"--- {node}\n{self.log(node)[-1500:]}" for node in self.processes)
            pytest.fail(f"waited {seconds} s for {what}\n{logs}")
        return found

    def ready(self, client: Any, what: str) -> None:
        """Wait for a service, and then until it has heard of this client too: before that its answer is lost."""
        self.wait(what, client.service_is_ready)
        self.spin(0.3)

    def result(self, future: Any, what: str, seconds: float = 30.0) -> Any:
        """The result of a service or action call."""
        self.wait(what, future.done, seconds)
        return future.result()

    def goal(self, client: Any, goal: Any, **options: Any) -> Any:
        """The handle of a goal, accepted or not. One that is not answered within 5 s is sent again, and replaces it.

        An action server can be ready before it knows of this client: then it takes the goal, and its answer is lost
        (`failed to send response (timeout)` in its log).
        """
        self.wait("the action server", client.server_is_ready)
        for _ in range(_TRIES):
            answer = client.send_goal_async(goal, **options)
            if self.until(answer.done, _ANSWER_S):
                return answer.result()
        return self.result(answer, f"the answer to a goal that was sent {_TRIES} times", 0.0)

    def until(self, ready: Callable[[], Any], seconds: float) -> Any:
        """Let messages in until `ready()` is true or the time is up; what it said last."""
        until = time.monotonic() + seconds
        while not (found := ready()) and time.monotonic() < until:
            self._executor.spin_once(timeout_sec=0.02)
        return found

    def close(self) -> None:
        """End every process and the probe."""
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        self._executor.shutdown()
        for node in self._nodes:
            node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    found = Rig(tmp_path)
    yield found
    found.close()
