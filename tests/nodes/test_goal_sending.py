"""A goal whose answer is lost is sent again, and never for ever."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from rclpy.task import Future

from jepa_ros.errors import JepaRosError
from jepa_ros_nodes.goal_sending import TRIES, send_goal


def answers(*handles):
    """A server that answers each time it is asked, None for an answer that is lost; and what was sent."""
    sent = []

    def send():
        future = Future()
        handle = handles[len(sent)] if len(sent) < len(handles) else None
        sent.append(handle)
        if handle is not None:
            future.set_result(handle)
        return future

    return send, sent


def done(future, seconds):
    assert seconds > 0
    return future.done()


def test_it_is_sent_once_where_it_is_answered():
    accepted = SimpleNamespace(accepted=True)
    send, sent = answers(accepted)
    assert send_goal(send, done, "reach_goal") is accepted
    assert len(sent) == 1


def test_it_is_sent_again_where_the_answer_is_lost():
    accepted = SimpleNamespace(accepted=True)
    send, sent = answers(None, accepted)
    assert send_goal(send, done, "reach_goal") is accepted
    assert len(sent) == 2


def test_it_is_not_sent_for_ever():
    send, sent = answers()
    with pytest.raises(JepaRosError, match=r"^/dog/reach_goal: no answer to a goal sent 3 times"):
        send_goal(send, done, "/dog/reach_goal")
    assert len(sent) == TRIES


def test_a_refusal_is_an_answer():
    send, sent = answers(SimpleNamespace(accepted=False))
    with pytest.raises(JepaRosError, match=r"reach_goal: world_model takes no goals now"):
        send_goal(send, done, "reach_goal")
    assert len(sent) == 1
