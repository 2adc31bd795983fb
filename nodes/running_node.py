"""How every node of this package runs: one executor, a clean end on SIGINT, SIGTERM and SIGHUP, `autostart` for those
with a lifecycle."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

import rclpy
from rclpy.executors import Executor, ExternalShutdownException, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from jepa_ros.errors import JepaRosError
from jepa_ros_nodes import security
from jepa_ros_nodes.fast_dds import without_shared_memory


def start(node: LifecycleNode) -> bool:
    """Configure and activate; whether both succeeded."""
    for trigger in (node.trigger_configure, node.trigger_activate):
        if trigger() != TransitionCallbackReturn.SUCCESS:
            return False
    return True


def spin(executor: Executor, until: Callable[[], bool]) -> None:
    """Serve callbacks until told to stop.

    An invalid lifecycle request raises out of the executor and would take the node with it (rclpy issue 1209); it is
    logged.
    """
    while not until():
        try:
            executor.spin_once(timeout_sec=0.1)
        except ExternalShutdownException:
            return
        except rclpy._rclpy_pybind11.RCLError as error:
            rclpy.logging.get_logger("executor").error(f"refused: {error}")


def run(make: Callable[[], Node], threads: int = 1, shared_memory: bool = True) -> None:
    """Make a node and run it until a signal comes.

    Args:
        make: the node.
        threads: of its executor.
        shared_memory: whether Fast DDS may use it; it can hold up all that is sent, see `without_shared_memory`.

    A node may have `wind_down() -> bool`, called again and again after the signal while callbacks are still served:
    it says whether the node has come to rest, and `wind_down_s` how long it may take (8 s). A lifecycle node with a
    parameter `autostart` that is true is configured and activated at once; if that fails, the process ends with exit
    code 1, as it does where security is asked for and cannot be had, or the node ends with a `failure` that is no
    empty text.
    """
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    # SIGHUP too: a terminal that closes must not leave a robot walking.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    code = 0
    if not shared_memory:
        os.environ.update(without_shared_memory(os.environ))
    try:
        security.init(sys.argv, signal_handler_options=SignalHandlerOptions.NO)
        node = make()
    except JepaRosError as error:
        rclpy.logging.get_logger("jepa_ros").fatal(str(error))
        rclpy.try_shutdown()
        sys.exit(1)
    executor: Executor = MultiThreadedExecutor(threads) if threads > 1 else SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if isinstance(node, LifecycleNode) and node.get_parameter("autostart").value and not start(node):
            code = 1
        else:
            spin(executor, stop.is_set)
            wind_down = getattr(node, "wind_down", None)
            if wind_down is not None:
                until = time.monotonic() + getattr(node, "wind_down_s", 8.0)
                spin(executor, lambda: wind_down() or time.monotonic() > until)
    finally:
        close = getattr(node, "close", None)
        if close is not None:
            close()
        code = 1 if getattr(node, "failure", "") else code
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    sys.exit(code)
