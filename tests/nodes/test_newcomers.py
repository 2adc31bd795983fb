"""A process that starts knows the others soon, also when it has missed what they answered it at first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Rig

PROFILE = Path(__file__).resolve().parents[2] / "config" / "fastdds_loopback_udp.xml"
# Without another announcement half of them waited for one to three seconds.
NEWCOMERS, SOON_S = 8, 1.0
OLD = "import rclpy, sys; from std_msgs.msg import String; rclpy.init(); node = rclpy.create_node('old'); \
node.create_subscription(String, 'said', print, 10); print('up', flush=True); sys.stdin.read()"
NEW = "import rclpy, time; rclpy.init(); node = rclpy.create_node('new'); begin = time.monotonic()\n\
while not node.count_subscribers('said') and time.monotonic() < begin + 10: time.sleep(0.005)\n\
print(time.monotonic() - begin); rclpy.shutdown()"


@pytest.mark.dds
def test_newcomers_know_the_others_soon(rig: Rig):
    names = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
    environment = {**os.environ, **dict.fromkeys(names, str(PROFILE))}
    python = [sys.executable, "-c"]
    old = subprocess.Popen([*python, OLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    rig.processes["old"] = old
    assert old.stdout is not None
    assert old.stdout.readline() == b"up\n"
    told = [subprocess.check_output([*python, NEW], env=environment) for _ in range(NEWCOMERS)]
    waited = [float(each) for each in told]
    assert sum(seconds > SOON_S for seconds in waited) <= 1, waited  # the machine may stand still once
    old.communicate()
