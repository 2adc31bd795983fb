"""What the camera's callback stores for the planning thread."""

from __future__ import annotations

import threading

from jepa_ros_nodes.newest_frame import NewestFrame


def any_time(_stamp):
    return True


def test_only_the_newest_frame_is_kept_and_it_is_taken_once():
    frames = NewestFrame(any_time)
    assert frames.wait(any_time, timeout=0.0) is None
    frames.put("a", 1.0)
    frames.put("b", 1.1)
    assert frames.wait(any_time, timeout=0.0) == ("b", 1.1)
    assert frames.wait(any_time, timeout=0.0) is None


def test_a_frame_that_is_too_early_is_waited_past_and_every_stamp_is_told():
    seen = []
    frames = NewestFrame(seen.append)
    frames.put("early", 1.0)
    assert frames.wait(lambda stamp: stamp > 1.1, timeout=0.01) is None
    threading.Timer(0.05, frames.put, ("late", 1.2)).start()
    assert frames.wait(lambda stamp: stamp > 1.1, timeout=5.0) == ("late", 1.2)
    assert seen == [1.0, 1.2]


def test_what_is_forgotten_is_not_found():
    frames = NewestFrame(any_time)
    frames.put("a", 1.0)
    frames.forget()
    assert frames.wait(any_time, timeout=0.0) is None
