"""What `joint_command` sends at a tick, to every output it has, and how it says that it commands no more."""

from __future__ import annotations

from collections.abc import Sequence

from builtin_interfaces.msg import Time
from jepa_ros_msgs.msg import AppliedAction
from rclpy.event_handler import PublisherEventCallbacks

from jepa_ros.control.controller import Tick
from jepa_ros.errors import RobotError
from jepa_ros.robots import RobotModel
from jepa_ros.robots.outputs import velocity_bounds
from jepa_ros.safety import State, damping_command
from jepa_ros_nodes import qos
from jepa_ros_nodes.commanders import Commanders
from jepa_ros_nodes.conversions import doubles
from jepa_ros_nodes.managed_node import ManagedNode
from jepa_ros_nodes.outputs.factory import make_output
from jepa_ros_nodes.outputs.joint_targets import JointTargetsOutput
from jepa_ros_nodes.outputs.output import Output, Sinks
from jepa_ros_nodes.outputs.velocities import HeldVelocity

_LET_SINK = ("damped_on_request", "tilt", "tilt_rate")  # asked for, or falling: standing on would be worse


class CommandSender:
    """`joint_commands` always, for recordings and for command_watchdog; what the robot itself listens to; and
    `applied_action`, where one was carried out.

    Args:
        node: who sends.
        robot: to whom.
        action_names: what the plan's actions are.
        commanders: told of every stamp before it is sent.
        events: of the stream `joint_commands`.
        dry_run: outputs are remapped to shadows, so that it does not matter whether the robot would listen.

    Raises:
        RobotError: a dry run whose outputs would reach the robot.
    """

    def __init__(
        self,
        node: ManagedNode,
        robot: RobotModel,
        action_names: Sequence[str],
        commanders: Commanders,
        events: PublisherEventCallbacks,
        dry_run: bool,
    ) -> None:
        if dry_run:
            _must_be_shadows(node, ("joint_commands", robot.output.command_topic))
        self._commanders, self._dry_run = commanders, dry_run
        self._damping = damping_command(robot)
        self._joint_targets = JointTargetsOutput(node, robot, events=events)
        own = [] if robot.output.kind == "joint_targets" else [make_output(node, robot)]
        self._outputs: list[Output] = [self._joint_targets, *own]
        self._sinking: list[Sinks] = [output for output in own if isinstance(output, Sinks)]
        self._gait_is_theirs = velocity_bounds(robot.output) is not None
        self._velocity = HeldVelocity(action_names)
        self._commands = False
        self._applied = AppliedAction(names=list(action_names))
        self._applied.header.frame_id = "base_link"
        self._publish_applied = node.publisher(AppliedAction, "applied_action", qos.COMMAND)

    def refusal(self) -> str | None:
        """Why the robot would not listen now; None if it would, or if nobody is meant to."""
        return None if self._dry_run else self._outputs[-1].refusal()

    def send(self, at: Time, done: Tick, damped_for: str) -> None:
        """Hand what was decided to every output; say so once when nothing is commanded any more.

        Args:
            at: stamp.
            done: the tick's result.
            damped_for: the fixed reason of the damping, if it is one.
        """
        velocity = self._velocity.update(done.decision.use_policy, done.applied)
        if done.command is None:
            if self._commands:
                self._release(at)
            return
        self._commands = True
        self._commanders.sent(at)
        damped = done.decision.state == State.DAMP.value
        for output in self._outputs:
            if damped and damped_for in _LET_SINK and output in self._sinking:
                output.sink(at)
            elif damped:
                output.damp(at, done.command)
            else:
                output.send(at, done.command, velocity)
        if done.applied is not None:
            self._applied.header.stamp = at
            self._applied.values = doubles(done.applied)
            self._publish_applied(self._applied)

    def end(self, at: Time) -> bool:
        """The end, after the robot sat down as it was asked; returns whether something was sent.

        Where joints are commanded nothing is: a robot keeps its last command for ever, and command_watchdog's damping
        must be the last. A gait of the robot's own sits by itself, and must not be stopped once nobody commands it.
        """
        released = self._commands and self._gait_is_theirs
        if released:
            self._release(at)
        return released

    def _release(self, at: Time) -> None:
        """Say that nobody commands the robot any more, so that command_watchdog does not take it for a death."""
        self._commands = False
        self._commanders.sent(at)
        self._joint_targets.release(at, self._damping)
        for output in self._outputs:
            output.send(at, None, None)

    def close(self) -> None:
        """Give back what the outputs hold."""
        for output in self._outputs:
            output.close()


def _must_be_shadows(node: ManagedNode, topics: Sequence[str]) -> None:
    for topic in topics:
        name = node.resolve_topic_name(topic)
        if "/shadow/" not in name:
            raise RobotError(
                f"dry_run: {topic} would go to {name}, which is no shadow: remap it (`-r {topic}:=shadow/{topic}`), or "
                "use robot.launch.py dry_run:=true, which does"
            )
