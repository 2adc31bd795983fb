"""A lifecycle node that gives back what it made, says what went wrong, and can be configured again."""

from __future__ import annotations

import traceback
from abc import abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from jepa_ros.errors import JepaRosError
from jepa_ros_nodes.params import declare


class ManagedNode(LifecycleNode):
    """Sub-classes say what to do in `configure`, `activate` and `deactivate`; each may raise.

    rclpy swallows exceptions in transitions without a word and keeps publishers, services and subscriptions over a
    clean-up. Here an expected error (`JepaRosError`) is logged and refuses the transition; any other is logged with its
    traceback. Entities that are put on `made` are destroyed at clean-up.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        declare(self, "autostart", True, "configure and activate at once")
        self.made = ExitStack()
        self.published: dict[str, int] = {}
        """Messages published so far, by whole topic name."""

    @abstractmethod
    def configure(self) -> None:
        """Make everything that is needed.

        Raises:
            JepaRosError: what is needed is not there.
        """

    @abstractmethod
    def activate(self) -> None:
        """Begin."""

    @abstractmethod
    def deactivate(self) -> None:
        """End what `activate` began; called more than once."""

    def publisher(self, kind: Any, topic: str, profile: Any, **rest: Any) -> Callable[[Any], None]:
        """A publisher that is destroyed at clean-up; returns its `publish`. `rest` is for `create_publisher`."""
        made = self.create_publisher(kind, topic, profile, **rest)
        self.made.callback(self.destroy_publisher, made)
        name = made.topic_name
        self.published[name] = 0

        def publish(message: Any) -> None:
            made.publish(message)
            self.published[name] += 1

        return publish

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make everything, or nothing."""
        done = self._try(self.configure)
        if done is not TransitionCallbackReturn.SUCCESS:
            self.made.close()
        return done

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin."""
        done = self._try(self.activate)
        return super().on_activate(state) if done is TransitionCallbackReturn.SUCCESS else done

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End."""
        done = self._try(self.deactivate)
        return super().on_deactivate(state) if done is TransitionCallbackReturn.SUCCESS else done

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Destroy what was made."""
        return self._try(self.made.close)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End, whatever runs, and destroy what was made."""
        self._try(self.deactivate)
        return self._try(self.made.close)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a transition that raised: nothing goes on; the node may be configured anew."""
        return self.on_shutdown(state)

    def _try(self, what: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            what()
        except JepaRosError as error:
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        except Exception:  # noqa: BLE001 - rclpy would swallow it
            self.get_logger().error(f"{what.__name__} failed:\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS
