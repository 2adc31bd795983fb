"""Runs a launch description: visits entities, supervises processes, hands events to handlers, ends on Ctrl-C."""

from __future__ import annotations

import queue
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from jepa_launch.context import Context
from jepa_launch.process import ESCALATION, Process, say


class Engine:
    """One launch, from the first entity to the end of the last process.

    Args:
        arguments: given on the command line, by name.
    """

    def __init__(self, arguments: dict[str, str]) -> None:
        self.context = Context(self, arguments)
        self.processes: list[Process] = []
        self.handlers: list[Any] = []
        # A SimpleQueue: a signal handler may put into it while this very thread is inside one of its methods.
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self._pending = 0
        self._shutting_down = False
        self._failed = False

    def visit(self, entity: Any) -> None:
        """Carry out an entity, or each of a list, unless its condition says no."""
        if isinstance(entity, (list, tuple)):
            for one in entity:
                self.visit(one)
            return
        condition = getattr(entity, "condition", None)
        if condition is None or condition.evaluate(self.context):
            entity.execute(self.context)

    def add_process(self, process: Process) -> None:
        """Start a process and keep watch over it."""
        self.processes.append(process)
        self._pending += 1
        process.start()
        self._emit("start", process.action, 0)

    def next_name(self, base: str) -> str:
        """`base-1`, `base-2`, … in order of starting, as `ros2 launch` numbers processes."""
        return f"{base}-{len(self.processes) + 1}"

    def exited(self, process: Process, code: int) -> None:
        """Called from watching threads; the rest happens in the engine's own thread."""
        self._events.put(lambda: self._on_exit(process, code))

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call back in the engine's thread after a while."""
        self._timers.append((time.monotonic() + seconds, call))

    def shutdown(self, reason: str) -> None:
        """End every process, then the launch."""
        if not self._shutting_down:
            self._shutting_down = True
            say("INFO", "launch", f"shutting down: {reason}")
            self._emit("shutdown", None, 0)

    def _emit(self, kind: str, action: Any, code: int) -> None:
        for handler in list(self.handlers):
            if handler.kind == kind and (handler.target is None or handler.target is action):
                self.visit(handler.entities(code, self.context))

    def _on_exit(self, process: Process, code: int) -> None:
        self._pending -= 1
        # The signals that the engine itself sends while shutting down are not failures.
        self._failed |= code != 0 and not self._shutting_down
        again = getattr(process.action, "respawn_after", None)
        if again is not None and not self._shutting_down:
            self._pending += 1
            self.after(again, lambda: self._restart(process))
        self._emit("exit", process.action, code)

    def _restart(self, process: Process) -> None:
        if self._shutting_down:
            self._pending -= 1
        else:
            process.start()

    def _interrupt(self, number: int, _frame: FrameType | None) -> None:
        self._events.put(lambda: self.shutdown(f"received {signal.Signals(number).name}"))

    def run(self, entity: Any) -> int:
        """Visit `entity` and stay until nothing runs; 0 if no process failed by itself, else 1.

        Every process has ended when this returns or raises: they have sessions of their own, and nobody else would
        end them.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._interrupt)
        # Under nohup a terminal's end is meant to be ignored.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._interrupt)
        try:
            self.visit(entity)
            self._loop()
        finally:
            self._end_all()
        return 1 if self._failed else 0

    def _loop(self) -> None:
        while not self._shutting_down and (self._pending or self._timers or not self._events.empty()):
            now = time.monotonic()
            due = [timer for timer in self._timers if timer[0] <= now]
            self._timers = [timer for timer in self._timers if timer[0] > now]
            for _, call in due:
                call()
            try:
                self._events.get(timeout=0.05)()
            except queue.Empty:
                continue

    def _end_all(self) -> None:
        """End what still runs, by ever stronger signals."""
        self._shutting_down = True
        for number, patience in ESCALATION:
            alive = [process for process in self.processes if process.running]
            for process in alive:
                if number is not signal.SIGINT:
                    say("WARNING", process.name, f"still running; sending {number.name}")
                process.send(number)
            until = time.monotonic() + patience
            if all([process.wait(max(until - time.monotonic(), 0.01)) for process in alive]):
                break
