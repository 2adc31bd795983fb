"""`joint_command`: plan → joint commands at a fixed rate, through the motion and, last of all, the safety filter.

In: `plan`, `joint_states`, `imu`. Out: `joint_commands`, `applied_action`, `safety_status`, `/diagnostics`.
Services `~/stand`, `~/walk`, `~/stop`, `~/sit`, `~/damp`, `~/recover`. On deactivation, SIGINT and SIGTERM the dog
stops and sits before the publisher dies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable

from diagnostic_msgs.msg import DiagnosticArray
from jepa_ros_msgs.msg import ActionChunk, AppliedAction, JointCommand, SafetyStatus
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from sensor_msgs.msg import Imu, JointState
from std_srvs.srv import Trigger

from jepa_ros.control import AutoStart, JointController
from jepa_ros.errors import RobotError
from jepa_ros.messages import JointOrder, StampWatch, chunk_from, imu_from
from jepa_ros.robots import load_robot
from jepa_ros.safety import Decision, State
from jepa_ros_nodes import qos
from jepa_ros_nodes.conversions import doubles, fill_joint_command
from jepa_ros_nodes.conversions import stamp as to_stamp
from jepa_ros_nodes.diagnostics import diagnostic
from jepa_ros_nodes.managed_node import ManagedNode
from jepa_ros_nodes.params import declare
from jepa_ros_nodes.polling import PolledSubscriptions
from jepa_ros_nodes.running_node import run
from jepa_ros_nodes.stepped_ticker import SteppedTicker
from jepa_ros_nodes.ticking import Ticker

REQUESTS = ("stand", "walk", "stop", "sit", "damp", "recover")
_RESTING = (State.PASSIVE.value, State.SIT.value, State.DAMP.value)
_LONGEST_STOP_S = 8.0
_TOLD_S = 0.2  # the last command and status are on the wire for so long before the node falls silent


class JointCommandNode(ManagedNode):
    """Runs the control loop in a thread with absolute deadlines, which reads its inputs itself at every tick."""

    def __init__(self) -> None:
        super().__init__("joint_command")
        self._robot_name = declare(self, "robot", "go2", "name of a shipped robot, or path of a robot YAML")
        self._rate = declare(
            self,
            "control_rate",
            100.0,
            "rate of joint_commands in Hz; a multiple of the motion's",
            low=50.0,
            high=1000.0,
        )
        self._actions = declare(
            self, "action_names", ["vx", "vy", "wz"], "what the plan's actions are: velocities or joints"
        )
        self._step = declare(self, "step", 0.2, "model step in s; for direct joint motion", low=0.01, high=2.0)
        self._auto_stand = declare(self, "auto_stand", False, "stand up by itself once joint states come steadily")
        self._auto_walk = declare(self, "auto_walk", False, "permit walking once it stands, without ~/walk")
        self._lock_step = declare(self, "lock_step", False, "tick by a player's steps instead of real time; no robot")
        self._ticker: Ticker | SteppedTicker | None = None
        self._bag_clock = 0.0
        self._damped = False

    def configure(self) -> None:
        """Open the robot and its walking policy."""
        self._robot = load_robot(self._robot_name)
        self._new_controller()
        self._order = JointOrder(self._robot)
        self._command = JointCommand(name=list(self._robot.joint_names))
        self._applied = AppliedAction(names=list(self._actions))
        self._applied.header.frame_id = "base_link"
        self._publish_command = self.publisher(JointCommand, "joint_commands", qos.COMMAND)
        self._publish_applied = self.publisher(AppliedAction, "applied_action", qos.COMMAND)
        self._publish_status = self.publisher(SafetyStatus, "safety_status", qos.COMMAND)
        self._publish_diagnostics = self.publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self._inputs = PolledSubscriptions(self)
        self.made.callback(self._inputs.destroy)
        self._inputs.add(JointState, "joint_states", self._on_joints, qos.SENSOR)
        self._inputs.add(Imu, "imu", self._on_imu, qos.SENSOR)
        self._inputs.add(ActionChunk, "plan", self._on_plan, qos.SENSOR)
        # A group of their own: an operator is heard while a transition waits for the dog to sit.
        operator = MutuallyExclusiveCallbackGroup()
        for request in REQUESTS:
            service = self.create_service(
                Trigger,
                f"~/{request}",
                lambda _, answer, what=request: self._on_request(what, answer),
                callback_group=operator,
            )
            self.made.callback(self.destroy_service, service)

    def _new_controller(self) -> None:
        self._controller = JointController(self._robot, self._actions, self._rate, self._step)
        self._safety = self._controller.safety
        self._stamps = {"joint_states": StampWatch(), "imu": StampWatch()}
        self._auto = AutoStart(self._safety, self._auto_stand, self._auto_walk)
        self._reported = 0

    def activate(self) -> None:
        """Begin the control loop, from scratch: nothing is sent before somebody asks to stand. Damp stays latched."""
        self._inputs.poll()  # what came while nobody looked is old
        self._new_controller()
        if self._damped:
            self._safety.request("damp")
        self._moved_at = self._now()
        if self._lock_step:
            self._ticker = SteppedTicker(self, self._inputs, self.published, self._rate, self._step_to)
        else:
            self._ticker = Ticker(self._rate, self._tick, "control")
        self._ticker.start()

    def deactivate(self) -> None:
        """Stop, sit, and only then fall silent."""
        until = time.monotonic() + _LONGEST_STOP_S
        while not self.wind_down():
            if time.monotonic() > until:
                self.get_logger().error(f"not at rest after {_LONGEST_STOP_S:.0f} s, still {self._safety.state}")
                break
            time.sleep(0.02)
        self.close()

    def wind_down(self) -> bool:
        """Ask to sit; whether the dog rests, and has been told so for a while."""
        if self._ticker is None or self._lock_step:
            return True
        self._auto.stay_down()
        now = self._now()
        if self._safety.state in _RESTING:
            return now - self._moved_at >= _TOLD_S
        self._moved_at = now
        if self._safety.state != State.SIT_DOWN.value:
            self._safety.request("sit")
        return False

    def close(self) -> None:
        """End the control loop."""
        if self._ticker is not None:
            self._ticker.stop()
            self._ticker = None
            self._damped = self._safety.state == State.DAMP.value

    def _on_joints(self, message: JointState) -> None:
        try:
            age = self._stamps["joint_states"].age(message.header.stamp, self._ros_now())
            if age is not None:
                self._controller.on_joint_state(self._now(), self._order.joint_state(message), age)
        except RobotError as error:
            self._controller.lose_joint_state()
            self.get_logger().error(f"joint_states refused: {error}", throttle_duration_sec=2.0)

    def _on_imu(self, message: Imu) -> None:
        age = self._stamps["imu"].age(message.header.stamp, self._ros_now())
        if age is not None:
            self._controller.on_imu(self._now(), imu_from(message), age)

    def _on_plan(self, message: ActionChunk) -> None:
        if message.steps == 0:
            self._controller.on_goal_end(bytes(message.goal_id))
            return
        try:
            self._controller.on_plan(self._now(), self._ros_now(), chunk_from(message))
        except RobotError as error:
            self.get_logger().error(f"plan refused: {error}", throttle_duration_sec=2.0)

    def _on_request(self, what: str, answer: Trigger.Response) -> Trigger.Response:
        if self._ticker is None:
            answer.message = "joint_command is not active: activate it first"
            return answer
        if what in ("stop", "sit", "damp", "stand"):
            self._auto.operator_spoke()
        reply = self._safety.request(what)
        answer.success, answer.message = reply.accepted, reply.message
        return answer

    def _now(self) -> float:
        """Monotonic s; in lock-step the bag's."""
        return self._bag_clock if self._lock_step else time.monotonic()

    def _ros_now(self) -> float:
        """The clock of stamps, s; in lock-step the bag's."""
        return self._bag_clock if self._lock_step else self.get_clock().now().nanoseconds * 1e-9

    def _tick(self, _began: float) -> None:
        self._inputs.poll()
        self._act(self._now())  # not before what has just come

    def _step_to(self, hear: Callable[[Collection[str] | None], None], clock: float, due: Iterable[float]) -> None:
        """One step of a lock-step replay: what was planned before it, the ticks up to it, then its message."""
        hear(["plan"])
        for tick in due:
            self._bag_clock = tick
            self._act(tick)
        self._bag_clock = clock
        hear(None)

    def _act(self, now: float) -> None:
        """One tick."""
        done = self._controller.tick(now, self._ros_now())
        self._auto.update(now, done.decision)
        if done.command is not None or done.applied is not None:
            stamp = to_stamp(self._ros_now())
            if done.command is not None:
                self._command.header.stamp = stamp
                fill_joint_command(self._command, done.command)
                self._publish_command(self._command)
            if done.applied is not None:
                self._applied.header.stamp = stamp
                self._applied.values = doubles(done.applied)
                self._publish_applied(self._applied)
        self._report(now, done.decision)

    def _report(self, now: float, decision: Decision) -> None:
        ticker = self._ticker
        if ticker is None:
            return
        total = self._safety.total
        if total > self._reported:
            for event in self._safety.events[self._reported - total :]:
                self.get_logger().warning(f"{event.reason}: {event.detail}")
        period = max(round(self._rate / 10.0), 1)
        if ticker.ticks % period == 0:
            self._publish_status(self._status(now, decision, ticker))
        if ticker.ticks % (10 * period) == 0 or total > self._reported:
            self._publish_diagnostics(self._diagnostics(decision, ticker))
        self._reported = total

    def _status(self, now: float, decision: Decision, ticker: Ticker | SteppedTicker) -> SafetyStatus:
        ages, events = self._safety.ages(now), self._safety.counts
        message = SafetyStatus(state=decision.state, reason=decision.reason, motion_allowed=self._safety.motion_allowed)
        message.header.stamp = to_stamp(self._ros_now())
        message.tilt, message.plan_age, message.camera_age = self._safety.tilt, ages.plan, ages.camera
        message.joint_state_age = ages.joint_state
        message.event_reasons, message.event_counts = list(events), list(events.values())
        message.control_rate, message.ticks, message.missed_ticks = ticker.measured_hz, ticker.ticks, ticker.missed
        if self._safety.stopped_goal is not None:
            goal, message.stopped_reason = self._safety.stopped_goal
            if len(goal) == len(message.stopped_goal):
                message.stopped_goal = list(goal)
        return message

    def _diagnostics(self, decision: Decision, ticker: Ticker | SteppedTicker) -> DiagnosticArray:
        recent = self._safety.total > self._reported
        level = "error" if decision.state == State.DAMP.value else "warning" if recent else "ok"
        values = {
            "state": decision.state,
            "control_rate_hz": f"{ticker.measured_hz:.1f}",
            "missed_ticks": ticker.missed,
        }
        array = diagnostic("joint_command", level, decision.reason, {**values, **self._safety.counts})
        array.header.stamp = to_stamp(self._ros_now())
        return array


def main() -> None:
    """Entry point."""
    run(JointCommandNode, threads=2)


if __name__ == "__main__":
    main()
