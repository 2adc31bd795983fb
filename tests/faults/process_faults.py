"""Nodes that die, hang or crawl."""

from __future__ import annotations

import signal
from collections.abc import Callable

from .bench import Bench
from .fault import (
    ANY,
    DAMP,
    STATE_PERIOD_S,
    STOP,
    WALK,
    Clear,
    Detectable,
    Fault,
    commander_silent,
    nothing,
    plan_ends,
    stale,
)
from .processes import Slowed


def killed(node: str) -> Callable[[Bench], Clear]:
    """SIGKILL; it is started again when the run is over."""

    def inject(bench: Bench) -> Clear:
        bench.nodes.signal(node, signal.SIGKILL)
        bench.nodes.processes[node].wait()
        return nothing

    return inject


def stopped(node: str) -> Callable[[Bench], Clear]:
    """SIGSTOP, and SIGCONT at the end."""

    def inject(bench: Bench) -> Clear:
        bench.nodes.signal(node, signal.SIGSTOP)
        return lambda: bench.nodes.signal(node, signal.SIGCONT)

    return inject


def slowed(node: str, stopped_s: float, running_s: float) -> Callable[[Bench], Clear]:
    """Stopped for most of the time."""

    def inject(bench: Bench) -> Clear:
        return Slowed(bench.nodes.processes[node], stopped_s, running_s).close

    return inject


_JOINTS_STALE: Detectable = stale("joint_states", STATE_PERIOD_S)
_NO_SENSES = ("joint_state_stale", "imu_stale")
_NO_COMMANDS = ("commands_silent", "loop_stalled")

FAULTS = [
    Fault("world_model_killed", killed("world_model"), STOP, ["plan_stale"], plan_ends),
    Fault("world_model_stopped", stopped("world_model"), STOP, ["plan_stale"], plan_ends),
    Fault("world_model_slow", slowed("world_model", 0.6, 0.02), STOP, ["plan_stale", "camera_stale"], plan_ends),
    Fault("joint_command_killed", killed("joint_command"), DAMP, _NO_COMMANDS, commander_silent),
    Fault("joint_command_stopped", stopped("joint_command"), DAMP, _NO_COMMANDS, commander_silent),
    Fault("joint_command_slow", slowed("joint_command", 0.25, 0.05), DAMP, _NO_COMMANDS, commander_silent),
    Fault("joint_command_jerky", slowed("joint_command", 0.04, 0.04), ANY),
    Fault("command_watchdog_killed", killed("command_watchdog"), WALK, watch_s=1.5),
    Fault("command_watchdog_stopped", stopped("command_watchdog"), WALK, watch_s=1.5),
    Fault("command_watchdog_slow", slowed("command_watchdog", 0.25, 0.05), WALK, watch_s=1.5),
    Fault("sim_dog_killed", killed("sim_dog"), DAMP, _NO_SENSES, _JOINTS_STALE),
    Fault("sim_dog_stopped", stopped("sim_dog"), DAMP, _NO_SENSES, _JOINTS_STALE),
    Fault("sim_dog_slow", slowed("sim_dog", 0.25, 0.05), DAMP, _NO_SENSES, _JOINTS_STALE),
]
