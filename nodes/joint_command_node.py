"""`joint_command`: plan → joint commands at a fixed rate, through the motion and, last of all, the safety filter.

In: `plan`, `joint_states`, `imu`; where they are, `foot_contacts`, `motor_temperatures`, `deadman`, `stop`. Out:
`joint_commands`, the robot's own form of it (`nodes/outputs`), `applied_action`, `safety_status`, `/diagnostics`.
Services `~/stand`, `~/walk`, `~/stop`, `~/sit`, `~/damp`, `~/recover`. On deactivation, SIGINT and SIGTERM the dog
stops and sits before the publisher dies.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable

from diagnostic_msgs.msg import DiagnosticArray
from jepa_ros_msgs.msg import ActionChunk, SafetyStatus
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.event_handler import PublisherEventCallbacks, QoSOfferedDeadlineMissedInfo
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from jepa_ros.control import AutoStart, JointController
from jepa_ros.errors import RobotError
from jepa_ros.messages import chunk_from
from jepa_ros.robots import load_robot
from jepa_ros.robots.outputs import SPECS
from jepa_ros.safety import Decision, State
from jepa_ros_nodes import qos
from jepa_ros_nodes.body_inputs import BodyInputs
from jepa_ros_nodes.command_sending import CommandSender
from jepa_ros_nodes.command_watchdog_node import NAME as WATCHDOG
from jepa_ros_nodes.commanders import Commanders
from jepa_ros_nodes.conversions import stamp as to_stamp
from jepa_ros_nodes.lateness import Lateness
from jepa_ros_nodes.managed_node import ManagedNode
from jepa_ros_nodes.params import declare
from jepa_ros_nodes.polling import PolledSubscriptions
from jepa_ros_nodes.running_node import run
from jepa_ros_nodes.safety_report import safety_diagnostics, safety_status
from jepa_ros_nodes.stepped_ticker import SteppedTicker
from jepa_ros_nodes.ticking import Ticker

REQUESTS = ("stand", "walk", "stop", "sit", "damp", "recover")
_RESTING = (State.PASSIVE.value, State.SIT.value, State.DAMP.value)
_LONGEST_STOP_S = 8.0
_LATE_S = 0.025  # a decision older than this is not sent: the joints have moved on by three measurements
_TOLD_S = 0.2  # the last command and status are on the wire for so long before the node falls silent


class JointCommandNode(ManagedNode):
    """Runs the control loop in a thread with absolute deadlines, which reads its inputs itself at every tick."""

    def __init__(self) -> None:
        super().__init__("joint_command")
        self._robot_name = declare(self, "robot", "go2_sim", "name of a shipped robot, or path of a robot YAML")
        self._kind = declare(self, "output", "", f"{', '.join(SPECS)}; empty: the robot file's")
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
        off = declare(self, "disabled_limits", [""], "names of safety limits that are switched off")
        self._disabled = tuple(filter(None, off))
        self._deadman = declare(self, "deadman_required", False, "walk only while `deadman` comes and is true")
        self._dry_run = declare(self, "dry_run", False, "outputs are remapped to shadows: no matter who listens")
        if self._dry_run or self._lock_step:  # no joint follows
            self._disabled = (*self._disabled, "stance_not_reached")
        self._heard_stop: deque[bool] = deque(maxlen=2)  # changes: the last two hold the true, if there was one
        self._stop_signal = False
        self._ticker: Ticker | SteppedTicker | None = None
        self._bag_clock = 0.0
        self._damped_for = ""  # what damped it when it was deactivated

    def configure(self) -> None:
        """Open the robot, its output and its walking policy."""
        self._robot = load_robot(self._robot_name).with_output(self._kind)
        self._inputs = PolledSubscriptions(self)
        self.made.callback(self._inputs.destroy)
        self._body = BodyInputs(self, self._inputs, self._robot, (self._now, self._ros_now))
        self._inputs.add(ActionChunk, "plan", self._on_plan, qos.SENSOR)
        self._new_controller()
        self._make_outputs()
        self._publish_status = self.publisher(SafetyStatus, "safety_status", qos.COMMAND)
        self._publish_diagnostics = self.publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self._offer_services()

    def _make_outputs(self) -> None:
        drivers = [driver.executable for driver in self._robot.drivers]  # their nodes' names in robot.launch.py
        topics = {"joint_commands", self._robot.output.command_topic}
        self._commanders = Commanders(self, topics, WATCHDOG, drivers)
        self.made.callback(self._commanders.close)
        late = PublisherEventCallbacks(deadline=self._on_deadline_missed)
        self._sender = CommandSender(self, self._robot, self._actions, self._commanders, late, self._dry_run)
        self.made.callback(self._sender.close)
        self._late = 0

    def _offer_services(self) -> None:
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
        # A stop is rare and must not be lost: reliable, and so served by the executor; the control thread acts on it.
        stop = self.create_subscription(Bool, "stop", self._on_stop, qos.DIAGNOSTICS, callback_group=operator)
        self.made.callback(self.destroy_subscription, stop)

    def _new_controller(self) -> None:
        self._controller = JointController(
            self._robot, self._actions, self._rate, self._step, disabled=self._disabled, deadman=self._deadman
        )
        self._safety = self._controller.safety
        self._body.give_to(self._controller)
        self._auto = AutoStart(self._safety, self._auto_stand, self._auto_walk)
        self._reported = 0
        self._told_state = State.PASSIVE.value

    def activate(self) -> None:
        """Begin the control loop, from scratch: nothing is sent before somebody asks to stand. Damp stays latched."""
        self._inputs.poll()  # what came while nobody looked is old
        self._new_controller()
        if self._damped_for:
            self._safety.request("damp")
            self._safety.damped_for = self._damped_for
        if self._stop_signal:
            self._safety.on_stop_signal(self._now(), True)
        self._refusal = self._sender.refusal()
        self._moved_at = self._sent_at = self._now()
        self._lateness = Lateness(_LATE_S)
        if self._lock_step:
            self._ticker = SteppedTicker(self, self._inputs, self.published, self._rate, self._step_to)
        else:
            self._ticker = Ticker(self._rate, self._tick, "control")
        self._commanders.start()
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
        """End the control loop, and every thread that uses the node."""
        if self._ticker is None:
            return
        self._ticker.stop()
        self._ticker = None
        self._damped_for = self._safety.damped_for if self._safety.state == State.DAMP.value else ""
        if self._safety.state == State.SIT.value and self._sender.end(to_stamp(self._ros_now())):
            time.sleep(_TOLD_S)
        self._commanders.stop()

    def _on_stop(self, message: Bool) -> None:
        if message.data != self._stop_signal:
            self._stop_signal = message.data
            self._heard_stop.append(message.data)

    def _on_deadline_missed(self, event: QoSOfferedDeadlineMissedInfo) -> None:
        # Silence is only late while something is sent.
        if self._ticker is not None and self._safety.state != State.PASSIVE.value:
            self._late += event.total_count_change

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
        if what in ("stand", "walk") and (refusal := self._sender.refusal()) is not None:
            answer.message = f"cannot {what}: {refusal}"
            return answer
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
        clock = self._ros_now()
        self._lateness.begin(now, self._measured_ago)
        while self._heard_stop:
            self._safety.on_stop_signal(now, self._heard_stop.popleft())
        self._safety.on_commanders(now, self._commanders.count)
        self._judge_sending(now)
        done = self._controller.tick(now, clock)
        if self._refusal is None:
            self._auto.update(now, done.decision)
        held_up = not self._lock_step and self._lateness.is_late(time.monotonic())
        if held_up and done.decision.state != State.DAMP.value:  # damping is never too late
            return  # what it decided is of the past, and the next tick judges the gap
        self._sender.send(to_stamp(self._ros_now()), done, self._safety.damped_for)
        self._sent_at = self._now()
        self._report(now, done.decision)

    def _measured_ago(self, now: float) -> float:
        return self._safety.ages(now).joint_state

    def _judge_sending(self, now: float) -> None:
        """Damp if what was decided does not reach the robot: it must not go on later as if it had."""
        self._refusal = self._sender.refusal()
        silent, limit = now - self._sent_at, self._robot.safety.loop_timeout_s
        if self._safety.state == State.PASSIVE.value:
            self._sent_at = now
        elif self._refusal is not None:
            self._safety.trip(now, "output_refused", self._refusal)
        elif silent > limit:
            self._safety.trip(now, "loop_stalled", f"nothing was sent for {silent:.3f} s, the limit is {limit} s")

    def _report(self, now: float, decision: Decision) -> None:
        ticker = self._ticker
        if ticker is None:
            return
        total = self._safety.total
        for event in self._safety.events[self._reported - total :] if total > self._reported else ():
            who = f" ({', '.join(self._commanders.names)})" if event.reason == "two_commanders" else ""
            self.get_logger().warning(f"{event.reason}: {event.detail}{who}")
        if decision.state != self._told_state:
            self.get_logger().info(f"{self._told_state} → {decision.state}")
            self._told_state = decision.state
        period = max(round(self._rate / 10.0), 1)
        stamp = to_stamp(self._ros_now())
        if ticker.ticks % period == 0:
            self._publish_status(safety_status(stamp, now, self._safety, decision, ticker))
        if ticker.ticks % (10 * period) == 0 or total > self._reported:
            more = {
                "output": self._robot.output.kind,
                "output_refusal": self._refusal or "none",
                "other_commanders": ", ".join(self._commanders.names) or "none",
                "late_commands": self._late,
            }
            recent = total > self._reported
            self._publish_diagnostics(safety_diagnostics(stamp, self._safety, decision, ticker, recent, more))
        self._reported = total


def main() -> None:
    """Entry point."""
    run(JointCommandNode, threads=2, shared_memory=False)


if __name__ == "__main__":
    main()
