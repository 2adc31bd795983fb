"""What callbacks store for the planning thread."""

from __future__ import annotations

import threading

import numpy as np

from jepa_ros_nodes.frames import AppliedActions, NewestFrame


def test_only_the_newest_frame_is_kept():
    frames = NewestFrame()
    assert frames.wait(0.0, timeout=0.0) is None
    frames.put("a", 1.0)
    frames.put("b", 1.1)
    assert frames.wait(0.0, timeout=0.0) == ("b", 1.1)


def test_a_frame_that_is_too_early_is_waited_past():
    frames = NewestFrame()
    frames.put("early", 1.0)
    assert frames.wait(1.1, timeout=0.01) is None
    threading.Timer(0.05, frames.put, ("late", 1.2)).start()
    assert frames.wait(1.1, timeout=5.0) == ("late", 1.2)


def test_what_is_forgotten_is_not_found():
    frames = NewestFrame()
    frames.put("a", 1.0)
    frames.forget()
    assert frames.wait(-np.inf, timeout=0.0) is None


def test_the_mean_of_what_was_applied_between_two_frames():
    applied = AppliedActions(2)
    for at, value in ((0.0, 9.0), (0.1, 1.0), (0.2, 3.0), (0.3, 9.0)):
        applied.put(at, np.array([value, -value]))
    np.testing.assert_allclose(applied.mean(0.0, 0.2), [2.0, -2.0])
    assert applied.mean(0.0, 0.2).dtype == np.float32
    assert applied.mean(5.0, 6.0) is None


def test_only_the_last_seconds_are_kept():
    applied = AppliedActions(1, seconds=1.0)
    for at in range(5):
        applied.put(float(at), np.array([float(at)]))
    assert applied.mean(-1.0, 2.5) is None
    np.testing.assert_allclose(applied.mean(2.5, 9.0), [3.5])
