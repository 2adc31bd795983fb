"""A fixture for what strangers may make large: time and memory that a test may take."""

from __future__ import annotations

import resource
import time

import pytest


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.fixture
def bounded():
    """At most 300 MB more than before, and 10 s of the CPU."""
    began, before = time.process_time(), _peak_bytes()
    yield
    assert time.process_time() - began < 10.0
    assert _peak_bytes() - before < 300e6
