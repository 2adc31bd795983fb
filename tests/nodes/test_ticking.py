"""The control loop's clock: counts, misses, and a loop that dies takes its process with it."""

from __future__ import annotations

import subprocess
import sys
import time

from jepa_ros_nodes.ticking import Ticker


def test_it_ticks_until_it_is_stopped():
    times = []
    ticker = Ticker(100.0, times.append, "test")
    ticker.start()
    time.sleep(0.3)
    ticker.stop()
    count = len(times)
    time.sleep(0.05)
    assert len(times) == count
    assert ticker.ticks - ticker.missed == count
    assert times == sorted(times)


def test_a_slow_tick_is_counted_and_not_made_up_for():
    calls = []

    def slow(now):
        calls.append(now)
        if len(calls) == 1:
            time.sleep(0.105)

    ticker = Ticker(50.0, slow, "test")
    ticker.start()
    time.sleep(0.3)
    ticker.stop()
    assert ticker.missed >= 4
    assert ticker.ticks - ticker.missed == len(calls)


def test_stopping_from_within_does_not_wait_for_itself():
    ticker = Ticker(100.0, lambda _: ticker.stop(), "test")
    ticker.start()
    time.sleep(0.1)
    assert ticker.ticks == 1


def test_a_loop_that_raises_ends_its_process():
    code = (
        "import time; from jepa_ros_nodes.ticking import Ticker\n"
        "Ticker(100.0, lambda now: 1 / 0, 'test').start(); time.sleep(30)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=25)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
