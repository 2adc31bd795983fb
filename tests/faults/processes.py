"""The nodes as processes of their own, and helper processes that take orders; started, stopped, slowed, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from jepa_ros_nodes.fast_dds import LOOPBACK, PROFILES, RANGE, without_shared_memory
from tests.dds_leftovers import remove_dead_segments

ROOT = Path(__file__).resolve().parents[2]
_FIRST_DOMAIN = 101  # the other tests keep below
_GOODBYE_S = 2.0
_WIND_DOWN_S = 6.0  # joint_command has the dog sit first


class ProcessError(RuntimeError):
    """A process did not do what it was started for."""


def launched() -> dict[str, str]:
    """The environment of nodes as launch files set it: this machine alone, shared memory where the node allows it."""
    return {**os.environ, **dict.fromkeys(PROFILES, str(ROOT / "config" / LOOPBACK)), RANGE: "SUBNET"}


def own_network() -> None:
    """A domain that no other run on this machine uses; for this process and its children.

    Without shared memory here and in the relay: they stand for the robot's sensors, wires and operator, which a
    stranger on this machine does not hold up.
    """
    os.environ["ROS_DOMAIN_ID"] = str(_FIRST_DOMAIN + os.getpid() % 100)
    os.environ.update(without_shared_memory(launched()))
    os.environ[RANGE] = "SUBNET"


class Helper:
    """A program of this folder that says `ready`, then takes a line at a time on standard input.

    Args:
        module: its name in this folder.
        arguments: of the program.
        environment: of the program; None for this process's.
    """

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        command = [sys.executable, "-m", f"tests.faults.{module}", *arguments]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment
        )
        self._expect("ready")

    def _expect(self, answer: str) -> None:
        assert self._process.stdout is not None
        found = self._process.stdout.readline().strip()
        if found != answer:
            raise ProcessError(f"{' '.join(self._process.args)}: said {found!r}, not {answer!r}")  # type: ignore[arg-type]

    def tell(self, line: str, answer: str | None = None) -> None:
        """Give an order, and wait for its answer where there is one."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        if answer is not None:
            self._expect(answer)

    def close(self) -> None:
        """Let it say goodbye to DDS, which would take it for alive for a while otherwise; kill it if it does not."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            with suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Slowed:
    """Stops a process for most of every period until `close`: SIGSTOP and SIGCONT in turn."""

    def __init__(self, process: subprocess.Popen[bytes], stopped_s: float, running_s: float) -> None:
        self._process, self._turns = process, (stopped_s, running_s)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            for number, seconds in zip((signal.SIGSTOP, signal.SIGCONT), self._turns, strict=True):
                with suppress(ProcessLookupError):
                    self._process.send_signal(number)
                self._stop.wait(seconds)

    def close(self) -> None:
        """Let it run."""
        self._stop.set()
        self._thread.join()
        self._process.send_signal(signal.SIGCONT)


class Nodes:
    """The nodes of `jepa_ros_nodes` that run, by name.

    Args:
        logs: folder for what they print.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._commands: dict[str, list[str]] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, node: str, parameters: dict[str, object], remaps: dict[str, str]) -> None:
        """Run `jepa_ros_nodes.<node>_node`."""
        command = [sys.executable, "-m", f"jepa_ros_nodes.{node}_node", "--ros-args"]
        for name, value in parameters.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            command += ["-p", f"{name}:={text}"]
        for name, to in remaps.items():
            command += ["-r", f"{name}:={to}"]
        self._commands[node] = command
        self._run(node)

    def _run(self, node: str) -> None:
        with (self._logs / f"{node}.log").open("ab") as log:
            self.processes[node] = subprocess.Popen(
                self._commands[node], stdout=log, stderr=subprocess.STDOUT, env=launched()
            )

    def log(self, node: str) -> str:
        """What a node has printed so far, over all its lives."""
        path = self._logs / f"{node}.log"
        return path.read_text(errors="replace") if path.is_file() else ""

    def dead(self) -> list[str]:
        """Those that have ended."""
        return [node for node, process in self.processes.items() if process.poll() is not None]

    def revive(self, node: str) -> None:
        """Start a node again, as it was started before."""
        self._run(node)

    def signal(self, node: str, number: int) -> None:
        """Send a signal."""
        self.processes[node].send_signal(number)

    def end(self, node: str) -> None:
        """End a node for good."""
        self._end([node])

    def close(self) -> None:
        """End them all."""
        self._end(list(self.processes))
        remove_dead_segments()  # of those that a fault killed

    def _end(self, nodes: list[str]) -> None:
        """SIGTERM, so that DDS knows at once that they are gone; SIGKILL for those that take too long."""
        ending = [self.processes.pop(node) for node in nodes if node in self.processes]
        for process in ending:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        until = time.monotonic() + _WIND_DOWN_S
        for process in ending:
            try:
                process.wait(max(until - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
