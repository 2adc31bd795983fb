"""However a launch of the stand-in ends, no process that it started is left."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .standin import ENVIRONMENT, JEPA_LAUNCH, launch, write

pytestmark = pytest.mark.skipif(not JEPA_LAUNCH.exists(), reason="ROS's own launch is installed")


def two_children(folder):
    """A launch of two processes that say when they are up and when they are interrupted."""
    child = (
        "import signal, sys, time\\n"
        "signal.signal(signal.SIGINT, lambda *_: (print('interrupted', flush=True), sys.exit(0)))\\n"
        "print('up', flush=True); time.sleep(60)"
    )
    return write(
        folder,
        f"""
        return LaunchDescription([
            ExecuteProcess(cmd=[PYTHON, "-c", "{child}"], name=name) for name in ("a", "b")
        ])
        """,
    )


def start(path, hang_up=signal.SIG_DFL):
    """A launch in the background; `hang_up` is what it inherits for a closed terminal (nohup: to ignore it)."""
    before = signal.signal(signal.SIGHUP, hang_up)
    try:
        return subprocess.Popen([str(JEPA_LAUNCH), str(path)], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    finally:
        signal.signal(signal.SIGHUP, before)


def wait_for_two(launched):
    up = 0
    while up < 2:
        up += launched.stdout.readline().endswith("up\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_every_process_once(tmp_path, number):
    with start(two_children(tmp_path)) as launched:
        wait_for_two(launched)
        launched.send_signal(number)
        rest = launched.stdout.read()
        assert launched.wait(20) == 0
    assert f"shutting down: received {number.name}" in rest
    assert rest.count("] interrupted") == 2


def test_under_nohup_a_closed_terminal_ends_nothing(tmp_path):
    with start(two_children(tmp_path), hang_up=signal.SIG_IGN) as launched:
        wait_for_two(launched)
        launched.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        launched.send_signal(signal.SIGINT)
        assert "received SIGINT" in launched.stdout.read()
        assert launched.wait(20) == 0


def test_a_terminal_that_is_gone_does_not_leave_processes_behind(tmp_path):
    """Nobody reads what the launch says any more: every line it writes fails."""
    path = write(
        tmp_path,
        """
        talks = [PYTHON, "-c", "import time; [(print('still here', flush=True), time.sleep(0.1)) for _ in range(600)]"]
        return LaunchDescription([ExecuteProcess(cmd=talks, name="talks")])
        """,
    )
    with start(path) as launched:
        pid = started_pid(launched.stdout.readline(), "talks-1")
        launched.stdout.readline()
        launched.stdout.close()
        launched.send_signal(signal.SIGHUP)
        launched.wait(20)
    assert not alive(pid)


def started_pid(text, name):
    return int(re.search(rf"\[{name}\]: process started with pid \[(\d+)\]", text)[1])


def alive(pid):
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    "fault",
    [
        'LogInfo(msg=LaunchConfiguration("unset"))',
        "OpaqueFunction(function=lambda context: 1 / 0)",
        'TimerAction(period=0.5, actions=[LogInfo(msg=LaunchConfiguration("unset"))])',
    ],
)
def test_a_launch_that_fails_ends_what_it_has_started(tmp_path, fault):
    path = write(
        tmp_path,
        f"""
        return LaunchDescription([
            ExecuteProcess(cmd=[PYTHON, "-c", "import time; time.sleep(60)"], name="orphan"), {fault},
        ])
        """,
    )
    done = launch(path)
    assert done.returncode == 1
    assert "launch configuration 'unset': used before" in done.stderr or "division by zero" in done.stderr
    assert not alive(started_pid(done.stdout, "orphan-1"))


def test_a_signal_handler_may_put_into_the_queue_at_any_time():
    """queue.Queue's lock is not re-entrant: a signal while the engine is inside it would hang the launch for good."""
    say = "import queue; from jepa_launch.engine import Engine; print(type(Engine({})._events) is queue.SimpleQueue)"
    done = subprocess.run([sys.executable, "-c", say], check=True, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.stdout.strip() == "True"
