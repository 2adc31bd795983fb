"""`go2_bridge`: a Unitree Go2's state and operator on the topics that every robot has, and its motors freed.

In: `lowstate`. Out: `joint_states`, `imu`, `foot_contacts`, `motor_temperatures`, stamped on receipt since a LowState
has no clock; from the remote `stop` and `deadman` (see `jepa_ros.unitree.remote` for the buttons); latched
`low_level_ready`; `/diagnostics`. Services `~/release`: the dog lies down and its own gait lets go of the motors;
`~/give_back`: a lying dog's own gait takes them again.
"""

from __future__ import annotations

import math
import time

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from unitree_go.msg import LowState as LowStateMessage

from jepa_ros.errors import WireError
from jepa_ros.robots import load_robot
from jepa_ros.robots.outputs import LowCommandSpec
from jepa_ros.unitree.low_state import LowState, LowStateReader, TickWatch
from jepa_ros.unitree.motion_switcher import LyingWatch
from jepa_ros.unitree.motors import GO2_MOTORS
from jepa_ros_nodes import qos
from jepa_ros_nodes.diagnostics import diagnostic
from jepa_ros_nodes.params import declare
from jepa_ros_nodes.polling import PolledSubscriptions
from jepa_ros_nodes.running_node import run
from jepa_ros_nodes.ticking import Ticker
from jepa_ros_nodes.unitree.body_topics import BodyTopics, received_at
from jepa_ros_nodes.unitree.mode_switching import ModeSwitching, Switch
from jepa_ros_nodes.unitree.operator_topics import OperatorTopics

_PERIOD_MS = 2.0  # of LowState
_SILENT_S = 0.1  # without a state, whoever held the remote is not heard any more
_LOST_S = 1.0  # without a state, it may be another robot that is heard next, or the same with its own gait again
_SWITCH_S, _REPORT_S, _COUNT_S = 55.0, 1.0, 0.1
# So many states out of order between two counts are two robots'; nothing is passed on for so long.
_MIXED, _MIXED_S = 5, 1.0


class Go2BridgeNode(Node):
    """Reads what the robot sends in a thread with absolute deadlines, and passes the newest state on.

    On SIGINT and SIGTERM it outlives joint_command, which needs joint states to lay the dog down.
    """

    wind_down_s = 9.5  # joint_command takes up to 8 s; launch kills after 10

    def __init__(self) -> None:
        super().__init__("go2_bridge")
        self._robot = load_robot(declare(self, "robot", "go2", "name of a shipped robot, or path of a robot YAML"))
        topic = declare(self, "lowstate", "lowstate", "topic of the robot's state; lf/lowstate is slow, for watching")
        rate = declare(self, "rate", 500.0, "states passed on a second at most, Hz", low=50.0, high=1000.0)
        self._controller = declare(self, "controller", "joint_command", "node whose services the remote's buttons call")
        told = "gait that ~/give_back selects; empty: the one that had the motors last, as far as was heard"
        self._vendor_mode = declare(self, "vendor_mode", "", told)
        output = self._robot.output
        motors = output.motors if isinstance(output, LowCommandSpec) else GO2_MOTORS
        self._reader = LowStateReader(self._robot.joint_names, motors, self._robot.feet)
        self._ticks = TickWatch(_PERIOD_MS)
        self._lying = LyingWatch(self._robot.stance("sit"), self._robot.joint_names)
        self._newest: tuple[LowState, int] | None = None
        self._state: LowState | None = None
        self._heard_at = self._reported_at = self._counted_at = self._mixed_at = -math.inf
        self._read = self._refused = self._reported = self._state_publishers = self._repeated = 0
        self._body = BodyTopics(self, self._robot)
        self._operator = OperatorTopics(self, self._controller)
        self._publish_ready = self.create_publisher(Bool, "low_level_ready", qos.LATCHED).publish
        self._publish_diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS).publish
        self._inputs = PolledSubscriptions(self)
        self._topic = self.resolve_topic_name(topic)
        self._inputs.add_raw(LowStateMessage, topic, self._on_state, qos.RECENT)
        self._mode = ModeSwitching(self, self._inputs, self._lies, self._on_ready)
        self.create_service(Trigger, "~/release", self._on_release)
        self.create_service(Trigger, "~/give_back", self._on_give_back)
        self._ticker = Ticker(rate, self._tick, "bridge")
        self._ticker.start()

    def _on_state(self, message: bytes, received: int) -> None:
        try:
            state = self._reader.read(message)
        except WireError as error:
            self._refused += 1
            self.get_logger().error(f"refused: {error}", throttle_duration_sec=2.0)
            return
        now, restarts = time.monotonic(), self._ticks.restarts
        if self._ticks.fresh(state.tick, now):
            if now - self._mixed_at < _MIXED_S:
                self._refused += 1
                return
            self._read += 1
            self._heard_at = now
            self._newest = (state, received)
            self._lying.hear(now, state.joints)
            self._operator.hear(state.remote)
            if self._ticks.restarts > restarts:
                self._mode.forget("the robot has started again")

    def _tick(self, _began: float) -> None:
        self._inputs.poll()
        now = time.monotonic()
        if now - self._counted_at >= _COUNT_S:
            self._look_who_publishes(now)
        if self._newest is not None:
            (self._state, received), self._newest = self._newest, None
            self._body.publish(now, received_at(received, self.get_clock()), self._state)
        if now - self._heard_at > _SILENT_S:
            self._operator.hear(None)
        self._operator.publish(now)
        self._mode.tick(now, silent=now - self._heard_at > _LOST_S)
        if now - self._reported_at >= _REPORT_S:
            self._report(now)

    def _look_who_publishes(self, now: float) -> None:
        """Whether the states of two robots come in turn: nobody can tell whose joints are whose.

        DDS goes on naming a publisher that was killed for 20 s, so their number proves nothing by itself.
        """
        self._counted_at, self._state_publishers = now, self.count_publishers(self._topic)
        before, self._repeated = self._repeated, self._ticks.repeated
        if self._state_publishers > 1 and self._repeated - before >= _MIXED:
            self._mixed_at = now

    def _lies(self) -> bool:
        """Whether the dog lies still now, as far as is known."""
        return self._lying.lies(time.monotonic())

    def _on_ready(self, ready: bool) -> None:
        self._publish_ready(Bool(data=ready))
        who = f"mode {self._mode.mode} has the motors" if self._mode.mode else "whose the motors are is not known"
        self.get_logger().info("the motors are free" if ready else who)

    def _on_release(self, _: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        return _answer(self._mode.release(), answer, "the motors are free")

    def _on_give_back(self, _: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        if not (mode := self._vendor_mode or self._mode.last_mode):
            answer.message = "no mode was heard of since this node began: name one by the parameter vendor_mode"
            return answer
        return _answer(self._mode.give_back(mode), answer, "the robot's own gait has the motors")

    def _report(self, now: float) -> None:
        """Once a second: what came, what was wrong with it, and who has the motors."""
        rate = (self._read - self._reported) / (now - self._reported_at)
        self._reported_at, self._reported = now, self._read
        silent = now - self._heard_at > _SILENT_S
        level, text = ("error", "no lowstate") if silent else ("ok", "")
        if now - self._mixed_at < _MIXED_S:
            level, text = (
                "error",
                f"{self._state_publishers} publish {self._topic}: nothing is passed on; end the others",
            )
        elif self._refused and not silent:
            level, text = "warning", "some lowstate messages were refused"
        values = {
            "states": self._read,
            "publishers": self._state_publishers,
            "rate_hz": f"{rate:.0f}",
            "lost": self._ticks.lost,
            "refused": self._refused,
            "repeated": self._ticks.repeated,
            "restarts": self._ticks.restarts,
            "late_ticks": self._ticker.missed,
            "mode": self._mode.mode,
            "low_level_ready": self._mode.ready,
            "unanswered_calls": self._mode.unanswered,
            "battery_percent": "" if self._state is None else self._state.battery,
        }
        array = diagnostic("go2_bridge", level, text, values)
        array.header.stamp = self.get_clock().now().to_msg()
        self._publish_diagnostics(array)

    def wind_down(self) -> bool:
        """Whether nobody moves the joints by what is published here any more."""
        return not any(
            found.node_name == self._controller for found in self.get_publishers_info_by_topic("joint_commands")
        )

    def close(self) -> None:
        """Stop reading."""
        self._ticker.stop()


def _answer(asked: Switch | None, answer: Trigger.Response, done: str) -> Trigger.Response:
    """Wait for what an operator asked for, and say what came of it."""
    if asked is None:
        answer.message = "a release, or giving back, is under way already"
    elif not asked.done.wait(_SWITCH_S):
        answer.message = f"not done after {_SWITCH_S:.0f} s"
    else:
        answer.success, answer.message = not asked.error, asked.error or done
    return answer


def main() -> None:
    """Entry point."""
    run(Go2BridgeNode, threads=3, shared_memory=False)


if __name__ == "__main__":
    main()
