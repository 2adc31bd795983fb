"""One process under supervision: started, its lines prefixed, ended by ever stronger signals."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

ESCALATION = ((signal.SIGINT, 5.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))


def say(level: str, who: str, text: str) -> None:
    """A line as `ros2 launch` prints it."""
    write(f"[{level}] [{who}]: {text}\n")


def write(text: str) -> None:
    """Show text, if anybody is there still: a terminal that is gone must not keep processes from being ended."""
    with suppress(OSError):
        sys.stdout.write(text)
        sys.stdout.flush()


class Process:
    """A command that is started, watched and, if asked for, started again.

    Args:
        action: the launch action it belongs to.
        command: program and arguments.
        name: shown in front of its lines, for instance `world_model-1`.
        environment, cwd: of the process.
        quiet: whether its standard output goes nowhere instead of to the screen (as `output='log'`).
        on_exit: called from a thread of its own with the exit code.
    """

    def __init__(
        self,
        action: Any,
        command: list[str],
        name: str,
        environment: dict[str, str],
        cwd: str | None,
        quiet: bool,
        on_exit: Callable[[Process, int], None],
    ) -> None:
        self.action, self.command, self.name = action, command, name
        self._environment, self._cwd, self._quiet, self._on_exit = environment, cwd, quiet, on_exit
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it. A session of its own keeps the terminal's Ctrl-C away: the engine passes it on, once."""
        try:
            self._popen = subprocess.Popen(
                self.command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=self._cwd,
                start_new_session=True,
            )
        except OSError as error:
            say("ERROR", self.name, f"cannot be started: {error}")
            self._on_exit(self, 127)
            return
        say("INFO", self.name, f"process started with pid [{self._popen.pid}]")
        threading.Thread(target=self._watch, args=(self._popen,), daemon=True).start()

    def _watch(self, popen: subprocess.Popen[bytes]) -> None:
        assert popen.stdout is not None
        for line in popen.stdout:
            if not self._quiet:
                write(f"[{self.name}] {line.decode(errors='replace').rstrip()}\n")
        code = popen.wait()
        if code == 0:
            say("INFO", self.name, f"process has finished cleanly [pid {popen.pid}]")
        else:
            text = f"process has died [pid {popen.pid}, exit code {code}, cmd '{shlex.join(self.command)}']."
            say("ERROR", self.name, text)
        self._on_exit(self, code)

    @property
    def running(self) -> bool:
        """Whether it is alive."""
        return self._popen is not None and self._popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal if it is alive."""
        if self._popen is not None and self._popen.poll() is None:
            self._popen.send_signal(number)

    def wait(self, seconds: float) -> bool:
        """Wait for its end; whether it came."""
        if self._popen is None:
            return True
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True
