"""Starts the launch file beside a script, with `ros2 launch` where ROS is installed and the stand-in elsewhere, and
ends it cleanly."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from jepa_ros.errors import JepaRosError
from jepa_ros.share import share_folder
from jepa_ros_nodes.fast_dds import local_environment


def launch_command(launch_file: Path, arguments: dict[str, str]) -> list[str]:
    """The command that runs a launch file on this machine.

    Raises:
        JepaRosError: neither `ros2` nor the stand-in is installed.
    """
    pairs = [f"{key}:={value}" for key, value in arguments.items()]
    if shutil.which("ros2"):
        return ["ros2", "launch", str(launch_file), *pairs]
    stand_in = Path(sys.executable).with_name("jepa-launch")
    if stand_in.exists():
        return [str(stand_in), str(launch_file), *pairs]
    raise JepaRosError("neither `ros2 launch` nor `jepa-launch` is installed: run `make setup`")


def private_environment() -> dict[str, str]:
    """This process's environment, kept on this machine, with a domain of its own if none is set."""
    environment = {**os.environ, **local_environment(os.environ)}
    environment.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 99))
    return environment


class RunningLaunch:
    """A launch file running in a process group of its own; leaving the context interrupts it as Ctrl-C would.

    Args:
        launch_file: name of a file in launch/, or a path.
        arguments: its `key:=value` arguments.
        log: where its output goes.
        environment: of its processes.
    """

    def __init__(self, launch_file: str, arguments: dict[str, str], log: Path, environment: dict[str, str]) -> None:
        path = Path(launch_file)
        self._command = launch_command(path if path.exists() else share_folder() / "launch" / launch_file, arguments)
        self._log, self._environment = log, environment

    def __enter__(self) -> RunningLaunch:
        self._output = self._log.open("w")
        self.process = subprocess.Popen(
            self._command, stdout=self._output, stderr=subprocess.STDOUT, env=self._environment, start_new_session=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20.0)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self._output.close()
