"""A process that nobody has asked for: it publishes where it should not, at full rate, once it is told to.

`python -m tests.faults.stranger KIND`; begins with the first line on standard input and ends with it.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import rclpy
from jepa_ros_msgs.msg import ActionChunk, JointCommand
from rclpy.node import Node
from std_msgs.msg import String, UInt8MultiArray

from jepa_ros.robots import load_robot
from jepa_ros.safety import damping_command
from jepa_ros_nodes import qos
from jepa_ros_nodes.conversions import fill_joint_command, stamp


def _small(node: Node) -> Callable[[], Any]:
    publisher, message = node.create_publisher(String, "chatter", qos.SENSOR), String(data="x" * 100)
    return lambda: publisher.publish(message)


def _large(node: Node) -> Callable[[], Any]:
    publisher, message = node.create_publisher(UInt8MultiArray, "blob", qos.SENSOR), UInt8MultiArray()
    message.data = bytes(4_000_000)
    return lambda: publisher.publish(message)


def _wrong_type(node: Node) -> Callable[[], Any]:
    publisher, message = node.create_publisher(String, "plan", qos.SENSOR), String(data="forward!")
    return lambda: publisher.publish(message)


def _garbage(node: Node) -> Callable[[], Any]:
    publisher, chance = node.create_publisher(ActionChunk, "plan", qos.SENSOR), random.Random(0)
    return lambda: (publisher.publish(b"\x00\x01\x00\x00" + chance.randbytes(chance.randrange(200))), time.sleep(0.002))


def _plans(node: Node) -> Callable[[], Any]:
    """Plans of goals that nobody set, 200 a second, backward and turning at full speed."""
    publisher, chance = node.create_publisher(ActionChunk, "plan", qos.SENSOR), random.Random(0)
    message = ActionChunk(names=["vx", "vy", "wz"], units=["m/s", "m/s", "rad/s"], step=0.2, steps=2)
    message.header.frame_id = "base_link"

    def publish() -> None:
        now = time.time()
        message.header.stamp, message.observed, message.valid_until = stamp(now), stamp(now), stamp(now + 0.4)
        message.values = [chance.uniform(-1, 1) for _ in range(6)]
        message.goal_id = list(chance.randbytes(16))
        publisher.publish(message)
        time.sleep(0.005)

    return publish


def _commander(node: Node) -> Callable[[], Any]:
    """Damping commands, 50 a second, as a second commander's."""
    robot = load_robot("go2")
    publisher, message = node.create_publisher(JointCommand, "joint_commands", qos.SENSOR), JointCommand()
    message.name, message.header.frame_id = list(robot.joint_names), "stranger"
    fill_joint_command(message, damping_command(robot))
    return lambda: (publisher.publish(message), time.sleep(0.02))


KINDS: dict[str, Callable[[Node], Callable[[], Any]]] = {
    "small": _small,
    "large": _large,
    "wrong_type": _wrong_type,
    "garbage": _garbage,
    "plans": _plans,
    "commander": _commander,
}


def main() -> None:
    """Wait for the word, then publish until standard input ends."""
    rclpy.init()
    node, over = Node("stranger", enable_rosout=False, start_parameter_services=False), threading.Event()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    publish = KINDS[sys.argv[1]](node)
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    while not over.is_set():
        publish()
    node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
