"""Calls of the Go2's own services: `unitree_api` requests with numbers of their own."""

from __future__ import annotations

import itertools
import time

from unitree_api.msg import Request

_numbers = itertools.count(time.time_ns())  # other processes' answers come on the same topic


def request(api: int, parameter: str = "", *, answered: bool = True) -> Request:
    """A request that no other has the number of.

    Args:
        api: which call.
        parameter: JSON, or nothing.
        answered: whether an answer is wanted.
    """
    message = Request(parameter=parameter)
    message.header.identity.id, message.header.identity.api_id = next(_numbers), api
    message.header.policy.noreply = not answered
    return message
