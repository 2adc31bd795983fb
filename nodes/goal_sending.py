"""Sending a goal so that its answer is heard.

An action server can be ready before it knows of a client that has just come: then it takes the goal, its answer is lost
(`failed to send response (timeout)` in its log), and the client would wait for ever. A goal that gets no answer is sent
again; a new goal takes the place of the one in progress, so nothing is done twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jepa_ros.errors import JepaRosError

ANSWER_S, TRIES = 5.0, 3


def send_goal(send: Callable[[], Any], done_within: Callable[[Any, float], bool], name: str) -> Any:
    """The handle of a goal that the server has accepted.

    Args:
        send: sends the goal and returns the future of its handle.
        done_within: waits for a future, s at most; whether it is done.
        name: of the action, for messages.

    Raises:
        JepaRosError: no answer came, however often it was sent, or the goal was refused.
    """
    for _ in range(TRIES):
        answer = send()
        if done_within(answer, ANSWER_S):
            handle = answer.result()
            if not handle.accepted:
                raise JepaRosError(f"{name}: world_model takes no goals now: it is not active; its log says why")
            return handle
    raise JepaRosError(f"{name}: no answer to a goal sent {TRIES} times, {ANSWER_S:.0f} s each: is world_model stuck?")
