"""`joint_command`: plan → joint commands at a fixed rate, through the motion and, last of all, the safety filter.

In: `plan`, `joint_states`, `imu`. Out: `joint_commands`, `applied_action`, `safety_status`, `/diagnostics`.
Services `~/stand`, `~/walk`, `~/stop`, `~/sit`, `~/damp`, `~/recover`. On deactivation, SIGINT and SIGTERM the dog
stops and sits before the publisher dies.
"""

from __future__ import annotations

import time

from diagnostic_msgs.msg import DiagnosticArray
from jepa_ros_msgs.msg import ActionChunk, AppliedAction, JointCommand, SafetyStatus
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import Imu, JointState
from std_srvs.srv import Trigger

from jepa_ros.errors import JepaRosError, RobotError
from jepa_ros.motion import make_motion
from jepa_ros.robots import load_robot
from jepa_ros.safety import Decision, SafetyFilter, State
from jepa_ros.types import Float64
from jepa_ros_nodes import qos
from jepa_ros_nodes.conversions import JointOrder, doubles, fill_joint_command, imu_from, seconds
from jepa_ros_nodes.diagnostics import diagnostic
from jepa_ros_nodes.params import declare
from jepa_ros_nodes.plan_follower import PlanFollower
from jepa_ros_nodes.polling import PolledSubscriptions
from jepa_ros_nodes.running_node import run
from jepa_ros_nodes.ticking import Ticker

REQUESTS = ("stand", "walk", "stop", "sit", "damp", "recover")
_STEADY_S = 2.0  # joint states must have come without a gap for so long before the dog stands up by itself
_RESTING = (State.PASSIVE.value, State.SIT.value, State.DAMP.value)


class JointCommandNode(LifecycleNode):
    """Runs the control loop in a thread with absolute deadlines, which reads its inputs itself at every tick."""

    def __init__(self) -> None:
        super().__init__("joint_command")
        declare(self, "autostart", True, "configure and activate at once")
        self._robot_name = declare(self, "robot", "go2", "name of a shipped robot, or path of a robot YAML")
        self._rate = declare(self, "control_rate", 100.0, "rate of joint_commands in Hz", low=50.0, high=1000.0)
        self._actions = declare(
            self, "action_names", ["vx", "vy", "wz"], "what the plan's actions are: velocities or joints"
        )
        self._step = declare(self, "step", 0.2, "model step in s; for direct joint motion", low=0.01, high=2.0)
        self._auto_stand = declare(self, "auto_stand", False, "stand up by itself once joint states come steadily")
        self._auto_walk = declare(self, "auto_walk", False, "permit walking once it stands, without ~/walk")
        self._ticker: Ticker | None = None

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the robot and its walking policy."""
        try:
            self._robot = load_robot(self._robot_name)
            self._safety = SafetyFilter(self._robot, action_names=self._actions)
            self._motion = make_motion(self._robot, self._actions, self._step)
        except JepaRosError as error:
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        self._order, self._plans = JointOrder(self._robot), PlanFollower(self._actions)
        self._joints = self._imu = None
        self._divider = max(round(self._rate / self._motion.rate_hz), 1)
        self._count = 0
        self._policy_ran = self._stood = self._walked = False
        self._reported = 0
        self._command = JointCommand(name=list(self._robot.joint_names))
        self._applied = AppliedAction(names=list(self._actions))
        self._applied.header.frame_id = "base_link"
        self._publish_command = self.create_publisher(JointCommand, "joint_commands", qos.COMMAND).publish
        self._publish_applied = self.create_publisher(AppliedAction, "applied_action", qos.COMMAND).publish
        self._publish_status = self.create_publisher(SafetyStatus, "safety_status", qos.COMMAND).publish
        self._publish_diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.RECORD).publish
        self._inputs = PolledSubscriptions(self)
        self._inputs.add(JointState, "joint_states", self._on_joints, qos.SENSOR)
        self._inputs.add(Imu, "imu", self._on_imu, qos.SENSOR)
        self._inputs.add(ActionChunk, "plan", self._on_plan, qos.SENSOR)
        for request in REQUESTS:
            self.create_service(Trigger, f"~/{request}", lambda _, answer, what=request: self._on_request(what, answer))
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin the control loop. Nothing is sent before somebody asks to stand."""
        self._stood = self._walked = False
        self._steady_since = time.monotonic()
        self._ticker = Ticker(self._rate, self._tick, "control")
        self._ticker.start()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop, sit, and only then fall silent."""
        until = time.monotonic() + 8.0
        while not self.wind_down() and time.monotonic() < until:
            time.sleep(0.02)
        self.close()
        return super().on_deactivate(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As deactivation, if it is active."""
        return self.on_deactivate(state) if self._ticker is not None else TransitionCallbackReturn.SUCCESS

    def wind_down(self) -> bool:
        """Ask to sit; whether the dog rests."""
        if self._ticker is None:
            return True
        self._auto_stand = False
        state = self._safety.update(time.monotonic()).state
        if state not in (*_RESTING, State.SIT_DOWN.value):
            self._safety.request("sit")
        return state in _RESTING

    def close(self) -> None:
        """End the control loop."""
        if self._ticker is not None:
            self._ticker.stop()
            self._ticker = None

    def _on_joints(self, message: JointState) -> None:
        try:
            self._joints = self._order.joint_state(message)
            self._safety.on_joint_state(time.monotonic(), self._joints)
        except RobotError as error:
            self._joints = None
            self.get_logger().error(f"joint_states refused: {error}", throttle_duration_sec=2.0)

    def _on_imu(self, message: Imu) -> None:
        self._imu = imu_from(message)
        self._safety.on_imu(time.monotonic(), self._imu)

    def _on_plan(self, message: ActionChunk) -> None:
        now, ros_now = time.monotonic(), self._ros_now()
        goal = bytes(message.goal_id)
        if message.steps == 0:
            self._safety.on_goal_end(goal)
            return
        try:
            self._plans.take(message)
        except RobotError as error:
            self.get_logger().error(f"plan refused: {error}", throttle_duration_sec=2.0)
            return
        self._safety.on_camera(now - max(ros_now - seconds(message.observed), 0.0))
        self._safety.on_plan(now, now + seconds(message.valid_until) - ros_now, goal)

    def _on_request(self, what: str, answer: Trigger.Response) -> Trigger.Response:
        reply = self._safety.request(what)
        if what in ("stop", "sit", "damp", "stand"):
            self._walked = True  # an operator has spoken; nothing is permitted by itself any more
        answer.success, answer.message = reply.accepted, reply.message
        return answer

    def _ros_now(self) -> float:
        return self.get_clock().now().nanoseconds * 1e-9

    def _tick(self, now: float) -> None:
        self._inputs.poll()
        decision = self._safety.update(now)
        self._start_by_itself(now, decision)
        joints, imu = self._joints, self._imu
        raw: Float64 | None = None
        if decision.use_policy and joints is not None and imu is not None:
            if not self._policy_ran:
                self._motion.reset(joints)
                self._count = 0
            if self._count % self._divider == 0:
                raw = self._move(now, decision)
            self._count += 1
        self._policy_ran = decision.use_policy
        command = self._safety.command(now, decision, raw, None, None)
        if command is not None:
            self._command.header.stamp = self.get_clock().now().to_msg()
            fill_joint_command(self._command, command)
            self._publish_command(self._command)
        self._report(now, decision)

    def _move(self, now: float, decision: Decision) -> Float64 | None:
        """One tick of the motion: the plan's action, limited, to raw joint targets."""
        action = self._safety.limit_action(now, decision, self._plans.action(self._ros_now()))
        try:
            raw = self._motion.targets(action, self._joints, self._imu)
        except JepaRosError as error:
            self._safety.trip(now, "motion_failed", str(error))
            return None
        self._applied.header.stamp = self.get_clock().now().to_msg()
        self._applied.values = doubles(action)
        self._publish_applied(self._applied)
        return raw

    def _start_by_itself(self, now: float, decision: Decision) -> None:
        """What the parameters auto_stand and auto_walk ask for, once each."""
        if self._safety.ages(now).joint_state > 0.1:
            self._steady_since = now
        steady = now - self._steady_since >= _STEADY_S
        if self._auto_stand and not self._stood and steady and decision.state == State.PASSIVE.value:
            self._stood = self._safety.request("stand").accepted
        if self._auto_walk and not self._walked and decision.state == State.STAND.value:
            self._walked = self._safety.request("walk").accepted

    def _report(self, now: float, decision: Decision) -> None:
        ticker = self._ticker
        if ticker is None:
            return
        events = self._safety.counts
        total = sum(events.values())
        if total > self._reported:
            event = self._safety.events[-1]
            self.get_logger().warning(f"{event.reason}: {event.detail}")
            self._reported = total
        period = max(round(self._rate / 10.0), 1)
        if ticker.ticks % period != 0:
            return
        ages = self._safety.ages(now)
        message = SafetyStatus(state=decision.state, reason=decision.reason, motion_allowed=self._safety.motion_allowed)
        message.header.stamp = self.get_clock().now().to_msg()
        message.tilt, message.plan_age, message.camera_age = self._safety.tilt, ages.plan, ages.camera
        message.joint_state_age = ages.joint_state
        message.event_reasons, message.event_counts = list(events), list(events.values())
        message.control_rate, message.ticks, message.missed_ticks = ticker.measured_hz, ticker.ticks, ticker.missed
        self._publish_status(message)
        if ticker.ticks % (10 * period) == 0:
            level = "error" if decision.state == State.DAMP.value else "ok"
            values = {
                "state": decision.state,
                "control_rate_hz": f"{ticker.measured_hz:.1f}",
                "missed_ticks": ticker.missed,
            }
            array = diagnostic("joint_command", level, decision.reason, {**values, **events})
            array.header.stamp = message.header.stamp
            self._publish_diagnostics(array)


def main() -> None:
    """Entry point."""
    run(JointCommandNode, threads=2)


if __name__ == "__main__":
    main()
