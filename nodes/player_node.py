"""`player`: a bag into the nodes that run the robot, and a report of what they made of it.

At `rate` above zero it plays in time, with /clock. At rate 0 it plays in lock-step: the next message comes when
`world_model` and `joint_command` (parameter `lock_step`) are done with the last, so that two replays are alike. What
the nodes command goes to shadow topics; the launch file sees to that.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import rclpy
from builtin_interfaces.msg import Time
from jepa_ros_msgs.action import ReachGoal
from jepa_ros_msgs.msg import Goal as GoalMessage
from jepa_ros_msgs.msg import ReplayDone, ReplayStep
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock

from jepa_ros.bundle.loader import sha256
from jepa_ros.bundle.manifest import MANIFEST_NAME
from jepa_ros.bundle.signing import open_trusted
from jepa_ros.errors import JepaRosError
from jepa_ros.messages import clock_seconds, seconds
from jepa_ros_nodes import qos, security
from jepa_ros_nodes.conversions import image_to_message
from jepa_ros_nodes.message_classes import message_class
from jepa_ros_nodes.params import declare
from jepa_ros_nodes.polling import PolledSubscriptions
from jepa_ros_nodes.replay_listener import ReplayListener
from jepa_ros_replay.bags import Bag, BagError, BagMessage
from jepa_ros_replay.coverage import Coverage
from jepa_ros_replay.goals import Goal, goals_for
from jepa_ros_replay.report import write_report
from jepa_ros_replay.result import ReplayResult
from jepa_ros_replay.topics import ROLES, find_topics

_NODES = 2
_READ_BY_NOBODY = ("joint_commands", "odometry")  # given for those who look on
_PATIENCE_S = 30.0
_NAP_S = 0.0005
_CLOCK_EVERY_S = 0.01
_GREET_EVERY_S = 0.1


class PlayerNode(Node):
    """Plays one bag and ends."""

    def __init__(self) -> None:
        super().__init__("player")
        path = declare(self, "bag", "", "rosbag2 folder, or an .mcap, .db3 or ROS 1 .bag file")
        if not path:
            raise JepaRosError("parameter bag is empty: give a bag to play")
        self._bag_path = Path(path)
        told = "public key files, or lists of them with commas, one of which must have signed the bundle; none: any"
        keys = declare(self, "trusted_keys", [""], told)
        folder = declare(self, "bundle", "", "folder of the bundle that world_model runs")
        bundle = open_trusted(folder, [key for entry in keys for key in entry.split(",") if key])
        self._rate = declare(self, "rate", 1.0, "bag seconds a second; 0 plays in lock-step", low=0.0, high=100.0)
        goal = declare(
            self, "goal", "", "name in the bundle, image, BAG@12.5s; empty: the bag's own, else its last frame"
        )
        robot = declare(self, "robot", "go2", "name of a shipped robot, or path of a robot YAML")
        remaps = declare(self, "remaps", "", "usual:=in_the_bag, with spaces between, for other topic names")
        out = declare(self, "out", "", "folder of the report; default replays/<bag>")
        self._out = Path(out) if out else Path("replays") / self._bag_path.stem
        bag = Bag(self._bag_path)
        pairs = [entry.partition(":=") for entry in remaps.split()]
        topics = find_topics(bag.topics, [(usual, name) for usual, _, name in pairs])
        if "camera" not in topics:
            has = ", ".join(sorted(bag.topics)) or "none"
            raise BagError(f"bag {self._bag_path}: holds no camera images; its topics are {has}")
        self._goals = goals_for(bag, topics, bundle, goal)
        self._bag, self._roles = Bag(self._bag_path), {topic: role for role, topic in topics.items()}
        self.result = ReplayResult(
            bag=self._bag_path,
            bundle=bundle.manifest.name,
            bundle_sha256=sha256(bundle.path / MANIFEST_NAME),
            robot=robot,
            through="ros",
            action_names=tuple(bundle.manifest.action.names),
            topics=topics,
        )
        self._coverage = Coverage(len(self._bag.files) == 1)
        self._inputs = PolledSubscriptions(self)
        self._listener = ReplayListener(self._inputs, self.result)
        self._inputs.add(ReplayDone, "replay/done", self._on_done, qos.RECENT)
        self._counts: dict[str, int] = {}
        self._heard_from: dict[str, int] = {}
        self._greeted = 0.0
        self._errors: list[str] = []
        self._make_publishers(bag, topics)

    def _make_publishers(self, bag: Bag, topics: dict[str, str]) -> None:
        self._outputs: dict[str, Any] = {}
        for role in ROLES:
            if role.name in topics and role.name != "goal":
                kind = bag.topics[topics[role.name]]
                name = f"recorded/{role.topic}" if role.name == "joint_commands" else role.topic
                name += "/compressed" if kind.endswith("CompressedImage") else ""
                self._outputs[role.name] = self.create_publisher(message_class(kind), name, qos.STATE)
        self._step_publisher = self.create_publisher(ReplayStep, "replay/step", qos.DIAGNOSTICS)
        self._goal_publisher = self.create_publisher(GoalMessage, "replay/goal", qos.DIAGNOSTICS)
        self._clock_publisher = self.create_publisher(Clock, "/clock", qos.STATE)
        self._reach = ActionClient(self, ReachGoal, "reach_goal")

    def play(self) -> Path:
        """Play the bag from its beginning to its end; returns the report.

        Raises:
            JepaRosError: a node does not answer, or says why it cannot go on.
        """
        if self._rate == 0:
            self._wait_for("world_model and joint_command with lock_step true", self._everybody_listens)
            self._wait_for("world_model and joint_command to answer", self._everybody_answers)
        else:
            self._wait_for("world_model and its action reach_goal", self._reach.server_is_ready)
        began = time.monotonic()
        for number, message in enumerate(self._bag.messages(list(self._roles)), start=1):
            clock = clock_seconds(message.time)
            self.result.began = self.result.began or clock
            self.result.ended = max(clock, self.result.ended)
            fault = self._coverage.hear(message, str(self._bag_path))
            if fault is not None:
                self.result.faults.append(fault)
            if self._rate > 0:
                self._keep_pace(began, clock)
            self._begin_goals(message.time, clock)
            self._give(message, clock)
            if self._rate == 0:
                self._step(number, message.time)
            self._inputs.poll()
        self.result.wall_s = time.monotonic() - began
        self.result.faults += self._bag.faults
        self._coverage.write_to(self.result)
        return write_report(self._out, self.result)

    def _give(self, message: BagMessage, clock: float) -> None:
        """Publish a message, and note what the report needs of it."""
        role = self._roles[message.topic]
        try:
            if role == "camera":
                self._coverage.frame(seconds(self._bag.deserialize(message).header.stamp), clock)
            elif role == "joint_commands":
                self._listener.on_recorded(self._bag.deserialize(message))
        except BagError as error:
            self.get_logger().error(str(error))
            return
        if role in self._outputs:
            publisher = self._outputs[role]
            publisher.publish(message.data)
            self._count(publisher.topic_name)

    def _begin_goals(self, now: int, clock: float) -> None:
        while self._goals and self._goals[0].time <= now:
            goal: Goal = self._goals.pop(0)
            image = image_to_message(goal.image)
            if self._rate > 0:
                # Nobody waits for its result: the goal never counts as reached, and ends with the launch.
                self._reach.send_goal_async(ReachGoal.Goal(kind=ReachGoal.Goal.IMAGE, image=image, tolerance=-1.0))
            else:
                self._goal_publisher.publish(GoalMessage(goal_id=list(goal.identity), name=goal.what, image=image))
                self._count(self._goal_publisher.topic_name)
            self.result.goals.append((clock, goal.what))

    def _count(self, topic: str) -> None:
        self._counts[topic] = self._counts.get(topic, 0) + 1

    def _keep_pace(self, began: float, clock: float) -> None:
        """Wait for a message's time, with /clock going on meanwhile."""
        due = began + (clock - self.result.began) / self._rate
        while (left := due - time.monotonic()) > 0:
            time.sleep(min(left, _CLOCK_EVERY_S))
            self._inputs.poll()
            at = clock - max(due - time.monotonic(), 0.0) * self._rate
            self._clock_publisher.publish(Clock(clock=Time(sec=int(at), nanosec=int(at % 1 * 1e9))))

    def _step(self, number: int, at: int) -> None:
        """Let the nodes work on what was published, and wait for them and for what they publish."""
        stamp = Time(sec=at // 1_000_000_000, nanosec=at % 1_000_000_000)
        step = ReplayStep(clock=stamp, number=number, topics=list(self._counts), counts=list(self._counts.values()))
        self._step_publisher.publish(step)
        self._wait_for(
            f"the nodes to finish step {number}",
            lambda: sum(done >= number for done in self._heard_from.values()) >= _NODES,
        )
        if self._errors:
            raise JepaRosError(f"step {number}: {self._errors[0]}")
        mine = self._inputs.counts
        self._wait_for(
            f"the outputs of step {number}",
            lambda: all(mine[name] >= count for name, count in self._counts.items() if name in mine),
        )

    def _on_done(self, message: ReplayDone) -> None:
        self._heard_from[message.node] = message.number
        self._counts.update(zip(message.topics, message.counts, strict=True))
        if message.error:
            self._errors.append(f"{message.node}: {message.error}")

    def _everybody_listens(self) -> bool:
        """Whether both nodes are there and every input they read has found its reader."""
        read = [p for role, p in self._outputs.items() if role not in _READ_BY_NOBODY]
        return (
            self._step_publisher.get_subscription_count() >= _NODES
            and self.count_publishers(self.resolve_topic_name("replay/done")) >= _NODES
            and all(publisher.get_subscription_count() >= 1 for publisher in [*read, self._goal_publisher])
        )

    def _everybody_answers(self) -> bool:
        """Whether both have heard this player and it them: a topic is matched on one side before it is on the other,
        and what is sent in between is lost."""
        if time.monotonic() > self._greeted + _GREET_EVERY_S:
            self._greeted = time.monotonic()
            self._step_publisher.publish(ReplayStep())
        return len(self._heard_from) >= _NODES

    def _wait_for(self, what: str, ready: Any) -> None:
        until = time.monotonic() + _PATIENCE_S
        while not ready():
            if self._errors:
                raise JepaRosError(self._errors[0])
            if time.monotonic() > until:
                raise JepaRosError(f"waited {_PATIENCE_S:.0f} s for {what} in vain; the launch log says more")
            self._inputs.poll()
            time.sleep(_NAP_S)


def main() -> None:
    """Entry point: plays and ends; exit code 1 with a sentence if it could not."""
    code = 0
    try:
        security.init(sys.argv, signal_handler_options=SignalHandlerOptions.NO)
        node = PlayerNode()
        report = node.play()
        node.get_logger().info(f"plan_sha256 {node.result.plan_sha256}; report: {report}")
    except JepaRosError as error:
        rclpy.logging.get_logger("player").fatal(str(error))
        code = 1
    except KeyboardInterrupt:
        code = 130
    rclpy.try_shutdown()
    sys.exit(code)


if __name__ == "__main__":
    main()
