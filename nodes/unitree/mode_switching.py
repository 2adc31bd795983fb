"""Runs `jepa_ros.unitree.motion_switcher` over the wire, one step a tick, so that no thread ever waits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from typing import Any

from rclpy.node import Node
from unitree_api.msg import Request, Response

from jepa_ros.errors import RobotError
from jepa_ros.unitree.motion_switcher import (
    CHECK_MODE,
    RELEASE_MODE,
    SELECT_MODE,
    SPORT,
    STAND_DOWN,
    SWITCHER,
    Call,
    Pause,
    Reply,
    Steps,
    give_back,
    mode_of,
    release,
)
from jepa_ros_nodes import qos
from jepa_ros_nodes.polling import PolledSubscriptions
from jepa_ros_nodes.unitree.requests import request

_ANSWER_S, _LOOK_S, _FIND_S = 2.0, 2.0, 0.1
_LONG_S = 10.0  # the robot answers these once it has done them
_LONG = {(SWITCHER, RELEASE_MODE), (SWITCHER, SELECT_MODE), (SPORT, STAND_DOWN)}
_TRIES = 3  # of a look at the mode, which may be repeated


@dataclass
class Switch:
    """One request of an operator, and what came of it.

    Attributes:
        steps: what is to be done.
        done: set once it is.
        error: why the motors are whose they were; empty if they have changed hands.
    """

    steps: Steps
    done: Event
    error: str = ""


def _look() -> Steps:
    """One look at the mode, which the runner hears of like any other."""
    yield Call(SWITCHER, CHECK_MODE)


class ModeSwitching:
    """Knows whether the motors are free, looks again every 2 s, and frees them or gives them back when asked.

    Args:
        node: who asks.
        inputs: polled before each `tick`; the robot's answers come through it.
        is_lying: whether the newest joint state is that of a lying dog.
        on_ready: told whether the motors are free, whenever that changes.
    """

    def __init__(
        self,
        node: Node,
        inputs: PolledSubscriptions,
        is_lying: Callable[[], bool],
        on_ready: Callable[[bool], None],
    ) -> None:
        self._is_lying, self._on_ready = is_lying, on_ready
        self._publishers = {
            name: node.create_publisher(Request, f"api/{name}/request", qos.DIAGNOSTICS) for name in (SWITCHER, SPORT)
        }
        for name in (SWITCHER, SPORT):
            inputs.add(Response, f"api/{name}/response", self._on_response, qos.RECENT)
        self.ready: bool | None = None
        """Whether the motors are free; None until the robot has said so."""
        self.mode = ""
        """Which gait has them."""
        self.last_mode = ""
        """Which had them last, as far as was heard."""
        self.unanswered = 0
        """Calls that the robot did not answer, or with nothing that says its mode."""
        self._silent = False
        self._tried = 0
        self._steps: Steps | None = None
        self._asked: Switch | None = None
        self._waiting: Switch | None = None
        self._call: tuple[int, Call] | None = None
        self._reply: Reply | None = None
        self._due = -math.inf
        self._look_at = -math.inf

    def release(self) -> Switch | None:
        """Free the motors, from any thread; None while somebody else's request runs."""
        return self._ask(release(self._is_lying))

    def give_back(self, mode: str) -> Switch | None:
        """Let the gait `mode` have them, from any thread; None while somebody else's request runs."""
        return self._ask(give_back(mode, self._is_lying))

    def _ask(self, steps: Steps) -> Switch | None:
        if self._asked is not None or self._waiting is not None:
            return None
        self._asked = Switch(steps, Event())
        return self._asked

    def forget(self, why: str) -> None:
        """The robot may be another than it was: its motors are not free until it says so again.

        Args:
            why: what happened to it, for whoever waits.
        """
        if self._steps is not None:
            self._call = self._reply = None
            self._end(why)
        self._look_at = -math.inf
        self.mode = ""
        if self.ready:
            self.ready = False
            self._on_ready(False)

    def tick(self, now: float, silent: bool = False) -> None:
        """Go on, at monotonic `now` s; `silent`: the robot's state has not been heard for long."""
        if silent and not self._silent:
            self.forget("the robot's state is not heard any more")
        self._silent = silent
        if self._steps is None:
            if self._asked is not None:
                self._waiting, self._asked = self._asked, None
                self._begin(self._waiting.steps, now)
            elif now >= self._look_at:
                # before the robot is found, a call would only be lost
                there = self._publishers[SWITCHER].get_subscription_count() > 0
                self._look_at = now + (_LOOK_S if there else _FIND_S)
                if there:
                    self._begin(_look(), now)
            return
        if self._call is None:
            if now >= self._due:
                self._advance(None, now)
        elif self._reply is not None:
            reply, call = self._reply, self._call[1]
            self._call, self._reply, self._tried = None, None, 0
            self._hear(call, reply)
            self._advance(reply, now)
        elif now >= self._due:
            call = self._call[1]
            self._call = None
            self.unanswered += 1
            if call.api == CHECK_MODE and call.service == SWITCHER and self._tried < _TRIES:
                self._take(call, now)
                return
            self._end(f"the robot does not answer call {call.api} on api/{call.service}/request")

    def _begin(self, steps: Steps, now: float) -> None:
        self._steps = steps
        self._advance(None, now)

    def _advance(self, answer: Reply | None, now: float) -> None:
        assert self._steps is not None  # noqa: S101 - only called while a sequence runs
        try:
            step = self._steps.send(answer)
        except StopIteration:
            self._end("")
        except RobotError as error:
            self._end(str(error))
        else:
            self._take(step, now)

    def _take(self, step: Call | Pause, now: float) -> None:
        if isinstance(step, Pause):
            self._due = now + step.seconds
            return
        if (step.service, step.api) == (SWITCHER, SELECT_MODE) and self.ready:
            # From here on the gait may have the motors: nobody else must command them, whatever it answers.
            self.ready = False
            self._on_ready(False)
        message = request(step.api, step.parameter)
        patience = _LONG_S if (step.service, step.api) in _LONG else _ANSWER_S
        self._call, self._due = (message.header.identity.id, step), now + patience
        self._tried += 1
        self._publishers[step.service].publish(message)

    def _on_response(self, message: Any) -> None:
        identity = message.header.identity
        if self._call is not None and (identity.id, identity.api_id) == (self._call[0], self._call[1].api):
            self._reply = Reply(message.header.status.code, message.data)

    def _hear(self, call: Call, reply: Reply) -> None:
        """Every answer to a look at the mode is news, whoever asked.

        No answer is no news: were the motors then taken for the gait's, one lost packet would end a walk in mid-step.
        """
        if (call.service, call.api) != (SWITCHER, CHECK_MODE):
            return
        try:
            self.mode = mode_of(reply)
        except RobotError:
            self.unanswered += 1
            return
        self.last_mode = self.mode or self.last_mode
        was, self.ready = self.ready, not self.mode and not self._silent
        if self.ready is not was:
            self._on_ready(self.ready)

    def _end(self, error: str) -> None:
        self._steps, self._tried = None, 0
        if self._waiting is not None:
            self._waiting.error = error
            self._waiting.done.set()
            self._waiting = None
