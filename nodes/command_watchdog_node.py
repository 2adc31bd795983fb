"""`command_watchdog`: damping when nobody commands the joints any more. No model, nothing heavy; a process of its own.

Silent while `joint_commands` flow, which are joint_command's heartbeat. Once it has seen a command, 50 ms of silence
make it publish damping until they flow again, in the robot's own form too, because a robot keeps its last command for
ever. On SIGINT and SIGTERM it outlives joint_command: it goes once commands have fallen silent and damping has been on
the wire for half a second, or at once if joint_command released them.
"""

from __future__ import annotations

import math
import time

from jepa_ros_msgs.msg import JointCommand
from rclpy.node import Node

from jepa_ros.robots import load_robot
from jepa_ros.robots.outputs import SPECS
from jepa_ros.safety import CommandWatchdog
from jepa_ros_nodes import qos
from jepa_ros_nodes.outputs.factory import make_output
from jepa_ros_nodes.outputs.joint_targets import RELEASED, JointTargetsOutput
from jepa_ros_nodes.outputs.output import Output
from jepa_ros_nodes.params import declare
from jepa_ros_nodes.polling import PolledSubscriptions
from jepa_ros_nodes.running_node import run
from jepa_ros_nodes.ticking import Ticker

NAME = "command_watchdog"
_RATE_HZ = 200.0
_DAMP_LAST_S = 0.5


class CommandWatchdogNode(Node):
    """Listens to commands; its own carry its name as frame_id and are not taken for somebody's."""

    wind_down_s = 9.5  # joint_command takes up to 8 s to sit; launch kills after 10

    def __init__(self) -> None:
        super().__init__(NAME)
        name = declare(self, "robot", "go2_sim", "name of a shipped robot, or path of a robot YAML")
        kind = declare(self, "output", "", f"{', '.join(SPECS)}; empty: the robot file's")
        robot = load_robot(name).with_output(kind)
        silence = declare(self, "silence", 0.05, "s without a command after which it damps", low=0.01, high=0.5)
        self._watchdog = CommandWatchdog(robot, silence)
        self._outputs: list[Output] = [JointTargetsOutput(self, robot, frame_id=NAME)]
        if robot.output.kind != "joint_targets":
            self._outputs.append(make_output(self, robot))
        self._inputs = PolledSubscriptions(self)
        self._inputs.add(JointCommand, "joint_commands", self._on_command, qos.RECENT)
        self._damping_since = math.inf
        self._ticker = Ticker(_RATE_HZ, self._tick, "watchdog")
        self._ticker.start()

    def _on_command(self, message: JointCommand) -> None:
        if message.header.frame_id == RELEASED:
            self._watchdog.release()
        elif message.header.frame_id != NAME:
            self._watchdog.on_command(time.monotonic())

    def _tick(self, _began: float) -> None:
        self._inputs.poll()
        now = time.monotonic()  # not before what has just come: this process may have been stopped in between
        was = self._watchdog.damping
        command = self._watchdog.update(now)
        if command is None:
            if self._damping_since < math.inf:
                self._end_damping()
            return
        self._damping_since = min(self._damping_since, now)
        at = self.get_clock().now().to_msg()
        for output in self._outputs:
            output.damp(at, command)
        if not was:
            self.get_logger().error("no joint command any more: damping")

    def _end_damping(self) -> None:
        self._damping_since = math.inf
        at = self.get_clock().now().to_msg()
        for output in self._outputs:
            output.send(at, None, None)
        self.get_logger().info("commands flow again" if self._watchdog.armed else "released: nobody commands any more")

    def wind_down(self) -> bool:
        """Whether the robot is nobody's any more: never commanded, or damped last."""
        return not self._watchdog.armed or time.monotonic() - self._damping_since >= _DAMP_LAST_S

    def close(self) -> None:
        """Stop watching."""
        self._ticker.stop()
        for output in self._outputs:
            output.close()


def main() -> None:
    """Entry point."""
    run(CommandWatchdogNode, shared_memory=False)


if __name__ == "__main__":
    main()
