"""Clocks, processors, disks and networks that fail; operators who interfere."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .bench import Bench, Setup
from .fault import (
    ANY,
    DAMP,
    STATE_PERIOD_S,
    STOP,
    WALK,
    WALK_OR_STOP,
    Clear,
    Fault,
    altering,
    first,
    later,
    nothing,
    second_commander,
    stale,
)
from .processes import Helper, launched

_STAMPED = ("camera/image_raw", "joint_states", "imu")
_SIM_TIME, _DEADMAN = Setup(sim_time=True), Setup(deadman=True)
_HOGS = 4
_DISK_BYTES = 20_000  # less than it has written by then
_SENSES_OLD = ("joint_state_stale", "imu_stale", "clock_jump")
# What no node may take while it runs, and none at all.
OUT_OF_RANGE: tuple[tuple[str, str, float | int | str], ...] = (
    ("joint_command", "control_rate", -5.0),
    ("joint_command", "control_rate", 1e9),
    ("joint_command", "robot", "no_such_robot"),
    ("command_watchdog", "silence", 60.0),
    ("world_model", "valid_steps", -1),
    ("world_model", "margin", 1e6),
    ("world_model", "bundle", "/nowhere"),
)


def stranger(kind: str) -> Callable[[Bench], Clear]:
    """Have a foreign process of that kind at hand, see `stranger.KINDS`; it is silent, and DDS does not know it yet."""

    def arm(bench: Bench) -> Clear:
        bench.stranger = Helper("stranger", kind, environment=launched())
        return bench.stranger.close

    return arm


def let_loose(bench: Bench) -> Clear:
    """The foreign process begins to publish."""
    if bench.stranger is None:
        raise ValueError("this fault has no stranger")
    bench.stranger.tell("go")
    return bench.stranger.close


def starved(bench: Bench) -> Clear:
    """Busy processes at ordinary priority."""
    hogs = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(_HOGS)]

    def clear() -> None:
        for hog in hogs:
            hog.kill()
            hog.wait()

    return clear


def recorder(bench: Bench) -> Clear:
    """Record everything, as on a drive."""
    folder = Path(tempfile.mkdtemp())
    bench.start_and_wait("recorder", {"output": folder / "bag"})

    def clear() -> None:
        bench.nodes.end("recorder")
        shutil.rmtree(folder)

    return clear


def full_disk(bench: Bench) -> Clear:
    """The recorder's files cannot grow any more, as on a full disk."""
    told = len(bench.nodes.log("recorder"))
    resource.prlimit(bench.nodes.processes["recorder"].pid, resource.RLIMIT_FSIZE, (_DISK_BYTES, _DISK_BYTES))

    def clear() -> None:
        if "recording has ended" in bench.nodes.log("recorder")[told:]:
            bench.notes.append("recording_ended")

    return clear


def parameters(bench: Bench) -> Clear:
    """Values out of range for parameters of running nodes: each has to be refused, and nothing may change."""
    for node, name, value in OUT_OF_RANGE:
        before = bench.operator.parameter(node, name)
        taken = bench.operator.set_parameter(node, name, value)
        if taken or bench.operator.parameter(node, name) != before:
            bench.notes.append(f"taken: {node}/{name}")
    if not bench.notes:
        bench.notes.append("refused")
    return nothing


def asked(request: str) -> Callable[[Bench], Clear]:
    """An operator's request."""

    def inject(bench: Bench) -> Clear:
        accepted, message = bench.operator.ask(request)
        bench.notes.append(request if accepted else f"refused: {message}")
        return nothing

    return inject


def held(topic: str, value: bool | None, afterwards: bool | None) -> Callable[[Bench], Clear]:
    """A `Bool` topic says this from now on (None: nothing any more), and something else afterwards."""

    def inject(bench: Bench) -> Clear:
        bench.operator.hold(topic, value)

        def clear() -> None:
            bench.operator.hold(topic, afterwards)
            if afterwards is False:
                time.sleep(0.2)
                bench.operator.hold(topic, None)

        return clear

    return inject


MACHINE = [
    Fault("stamps_forward", altering("stamp_+5", *_STAMPED), DAMP, _SENSES_OLD, stale("joint_states", STATE_PERIOD_S)),
    Fault("stamps_back", altering("stamp_-5", *_STAMPED), DAMP, _SENSES_OLD, stale("joint_states", STATE_PERIOD_S)),
    Fault("cpu_starved", starved, ANY, watch_s=2.5),
    Fault("disk_full", full_disk, WALK, ["recording_ended"], arm=recorder, watch_s=2.0),
    Fault("flood_small", let_loose, WALK_OR_STOP, arm=stranger("small"), watch_s=2.0),
    Fault("flood_large", let_loose, WALK_OR_STOP, arm=stranger("large"), watch_s=2.0),
    Fault("flood_wrong_type", let_loose, WALK_OR_STOP, arm=stranger("wrong_type"), watch_s=2.0),
    Fault("flood_garbage_plans", let_loose, WALK_OR_STOP, arm=stranger("garbage"), watch_s=2.0),
    Fault("two_commanders", let_loose, DAMP, ["two_commanders"], second_commander, arm=stranger("commander")),
]

OPERATOR = [
    Fault("asked_to_stop", asked("stop"), STOP, ["stop"]),
    Fault("asked_to_damp", asked("damp"), DAMP, ["damped_on_request"]),
    Fault("stop_topic", held("stop", True, False), STOP, ["stop_signal"]),
    Fault("parameters_out_of_range", parameters, WALK, ["refused"], watch_s=2.0),
    Fault("deadman_released", held("deadman", False, True), STOP, ["deadman_released"], setup=_DEADMAN),
    Fault("deadman_silent", held("deadman", None, True), STOP, ["deadman_released"], later(0.15), setup=_DEADMAN),
]

# The whole simulated world jumps: its clock, and with it every stamp.
CLOCK = [
    Fault("clock_forward", altering("clock_+5", "/clock"), DAMP | STOP, _SENSES_OLD, first("imu"), setup=_SIM_TIME),
    Fault("clock_back", altering("clock_-5", "/clock"), DAMP | STOP, _SENSES_OLD, first("imu"), setup=_SIM_TIME),
]

FAULTS = [*MACHINE, *OPERATOR, *CLOCK]
