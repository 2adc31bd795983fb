"""What dead DDS participants shared is removed, and what the living share is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dds_leftovers import SHARED, remove_dead_segments

PROFILE = Path(__file__).resolve().parents[1] / "config" / "fastdds_shm.xml"
LIVE = "import rclpy, sys; rclpy.init(); node = rclpy.create_node('it'); print('up', flush=True); sys.stdin.read()"
SEGMENT = 32 << 20


def participant() -> subprocess.Popen[bytes]:
    """A node in shared memory alone, in a domain of its own; up."""
    environment = {
        **os.environ,
        "ROS_DOMAIN_ID": str(1 + os.getpid() % 99),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(PROFILE),
        "FASTDDS_DEFAULT_PROFILES_FILE": str(PROFILE),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", LIVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


@pytest.mark.dds
def test_only_what_the_dead_shared_is_removed():
    pytest.importorskip("rclpy", reason="ROS 2 is not installed: run `make setup`")
    remove_dead_segments()
    before = set(SHARED.glob("fast*"))
    living = participant()
    of_living = set(SHARED.glob("fast*")) - before
    killed = participant()
    of_killed = set(SHARED.glob("fast*")) - before - of_living
    try:
        assert max(path.stat().st_size for path in of_killed) > SEGMENT
        killed.kill()
        killed.wait()
        # A living peer may have been faster with the segment; then there is less to free.
        remove_dead_segments()
        assert not [path for path in of_killed if path.exists() and path.stat().st_size > SEGMENT]
        assert all(path.exists() for path in of_living)
    finally:
        for process in (killed, living):
            process.communicate()


def test_a_folder_without_segments_is_left_as_it_is(tmp_path):
    (tmp_path / "somebody_el").write_text("no segment")
    assert remove_dead_segments(tmp_path) == 0
    assert (tmp_path / "somebody_el").exists()
