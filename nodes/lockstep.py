"""A node's side of a lock-step replay: the next message comes when everybody is done with the last.

The player publishes a message, then a `replay/step` that says how many messages there are by now on each topic, its own
and the nodes'. A node that hears it waits until it has heard them all, works, and answers on `replay/done` with what it
has published itself. So nothing depends on how fast anybody is, and two replays are alike. Step 0 asks who is there.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Collection, Mapping

from jepa_ros_msgs.msg import ReplayDone, ReplayStep
from rclpy.node import Node

from jepa_ros.errors import JepaRosError
from jepa_ros.messages import seconds
from jepa_ros_nodes import qos
from jepa_ros_nodes.polling import PolledSubscriptions

_PATIENCE_S = 20.0
_NAP_S = 0.0005


class LockStep:
    """Answers steps in a thread of its own.

    Args:
        node: who takes part.
        inputs: what it hears; read in this thread only.
        published: whole topic name → messages published so far; kept up to date by the node.
        work: called with each step; calls `hear` when it wants its inputs.
    """

    def __init__(
        self,
        node: Node,
        inputs: PolledSubscriptions,
        published: Mapping[str, int],
        work: Callable[[LockStep, float], None],
    ) -> None:
        self._node, self._inputs, self._published, self._work = node, inputs, published, work
        self._queue: list[ReplayStep] = []
        self._steps = PolledSubscriptions(node)
        self._steps.add(ReplayStep, "replay/step", self._queue.append, qos.RECENT)
        self._done = node.create_publisher(ReplayDone, "replay/done", qos.DIAGNOSTICS)
        self._counts: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lock-step", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no more steps."""
        self._stop.set()
        self._thread.join(2.0)
        self._steps.destroy()
        self._node.destroy_publisher(self._done)

    def hear(self, topics: Collection[str] | None = None) -> None:
        """Read inputs until all that the step counts have come.

        Args:
            topics: names as subscribed to; None for all.

        Raises:
            JepaRosError: one is lost; it is named.
        """
        wanted = None if topics is None else {self._node.resolve_topic_name(topic) for topic in topics}
        until = time.monotonic() + _PATIENCE_S
        while True:
            self._inputs.poll(wanted)
            heard = self._inputs.counts
            names = heard if wanted is None else wanted
            missing = [name for name in names if heard[name] < self._counts.get(name, 0)]
            if not missing or self._stop.is_set():
                return
            if time.monotonic() > until:
                name = missing[0]
                raise JepaRosError(
                    f"lock-step: heard {heard[name]} of {self._counts[name]} messages on {name}; is somebody else "
                    "publishing or replaying in this domain?"
                )
            time.sleep(_NAP_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._steps.poll()
            if not self._queue:
                time.sleep(_NAP_S)
                continue
            step = self._queue.pop(0)
            if step.number == 0:  # the player asks whether it is heard, and hears
                self._done.publish(ReplayDone(node=self._node.get_fully_qualified_name()))
                continue
            self._counts = dict(zip(step.topics, step.counts, strict=True))
            answer = ReplayDone(node=self._node.get_fully_qualified_name(), number=step.number)
            try:
                self._work(self, seconds(step.clock))
            except Exception as error:  # noqa: BLE001 - whatever it was, the player must hear of it
                self._node.get_logger().error(str(error) if isinstance(error, JepaRosError) else traceback.format_exc())
                answer.error = str(error) or type(error).__name__
            answer.topics, answer.counts = list(self._published), list(self._published.values())
            self._done.publish(answer)
