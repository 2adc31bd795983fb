"""`jepa-record`: record a running robot from the command line, where `ros2 bag record` is not at hand.

Exit code 0: something was recorded; 1: nothing was heard, the disk is full, or the recording could not begin. Ctrl-C
ends it as `--seconds` does.
"""

from __future__ import annotations

import signal
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import rclpy
import typer
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from rich.console import Console
from rich.markup import escape

from jepa_ros.errors import JepaRosError
from jepa_ros_nodes import security
from jepa_ros_nodes.recorder_node import TOPICS, RecorderNode
from jepa_ros_nodes.running_node import spin

_KINDS = dict(entry.split(":") for entry in TOPICS)


def entries(topics: list[str]) -> list[str]:
    """Topics as the recorder's parameter has them; of the usual ones the kind need not be given.

    Raises:
        JepaRosError: a kind is neither given nor known.
    """
    if not topics:
        return TOPICS
    found = []
    for topic in topics:
        kind = "" if ":" in topic else _KINDS.get(topic) or _KINDS.get(topic.lstrip("/"))
        if kind is None:
            raise JepaRosError(f"topic {topic}: its kind is not known here; give it as {topic}:package/msg/Type")
        found.append(f"{topic}:{kind}" if kind else topic)
    return found


def record(node: RecorderNode, seconds: float, stop: threading.Event, console: Console) -> None:
    """Record until the time is up, `stop` is set or the disk is full, with a line that tells how far it is."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    began = time.monotonic()
    with console.status("waiting for messages") as status:

        def over() -> bool:
            elapsed = time.monotonic() - began
            if node.writer.messages:
                status.update(f"{elapsed:.0f} s, {node.writer.messages} messages, {node.writer.size / 1e6:.1f} MB")
            return stop.is_set() or bool(node.failure) or 0 < seconds <= elapsed

        spin(executor, over)
    node.close()
    executor.shutdown()


def conclude(node: RecorderNode, topics: int) -> str:
    """One sentence on what was recorded; a bag without a message is taken away.

    Raises:
        JepaRosError: the disk is full, or nothing was heard.
    """
    writer = node.writer
    if node.failure:
        raise JepaRosError(node.failure)
    if not writer.messages:
        for path in writer.path.iterdir():
            path.unlink()
        writer.path.rmdir()
        where = f"this ROS_DOMAIN_ID and namespace {node.get_namespace()}"
        raise JepaRosError(f"nothing was heard on {topics} topic(s): is the robot running, in {where}?")
    return f"{writer.path}: {writer.messages} messages, {writer.size / 1e6:.1f} MB"


def command(
    out: Annotated[
        Path | None, typer.Option(help="folder of the bag, which must not exist; default recordings/<time>")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.0, help="how long to record; 0: until Ctrl-C")] = 0.0,
    topic: Annotated[
        list[str] | None,
        typer.Option(help="topic, or topic:package/msg/Type; may be repeated; default: all usual ones"),
    ] = None,
    namespace: Annotated[str, typer.Option(help="namespace of the robot's nodes")] = "",
) -> None:
    """Record a running robot to an MCAP bag, which stays readable however the recording ends."""
    console, stop = Console(), threading.Event()
    path = out or Path("recordings") / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    try:
        topics = entries(topic or [])
        security.init(signal_handler_options=SignalHandlerOptions.NO)
        given = [Parameter("output", value=str(path)), Parameter("topics", value=topics)]
        node = RecorderNode(namespace=namespace, parameter_overrides=given)
        record(node, seconds, stop, console)
        console.print(escape(conclude(node, len(topics))), soft_wrap=True)
    except JepaRosError as error:
        console.print(f"[red]record: {escape(str(error))}[/red]", soft_wrap=True)
        raise typer.Exit(1) from error
    finally:
        rclpy.try_shutdown()


def main() -> None:
    """The console script."""
    typer.run(command)


if __name__ == "__main__":
    main()
