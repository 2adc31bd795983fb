"""A client of the running nodes: places the simulated dog, sends goals, and writes down what the topics say meanwhile.

Used by the demo and by the comparison with the ROS-free evaluation. Truth (ground_truth/…) is read here to score,
and goes nowhere near a controller.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
import rclpy
from jepa_ros_msgs.action import ReachGoal
from jepa_ros_msgs.msg import ActionChunk, JointCommand, SafetyStatus, StageLatency
from jepa_ros_msgs.srv import PlaceRobot
from nav_msgs.msg import Odometry
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState

from jepa_ros.errors import JepaRosError
from jepa_ros.messages import image_view
from jepa_ros.robots import load_robot
from jepa_ros.types import UInt8
from jepa_ros_nodes import qos
from jepa_ros_nodes.conversions import image_to_message
from jepa_ros_nodes.goal_sending import send_goal
from jepa_ros_nodes.polling import PolledSubscriptions
from jepa_ros_simulation.dog import yaw_of
from jepa_ros_simulation.records import GoalRecord
from jepa_ros_simulation.tasks import Pose

_POLL_S = 0.02


def _comes_true(ready: Callable[[], bool], seconds: float) -> bool:
    """Whether it does before the time is up; another thread makes it so."""
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_S)
    return True


class GoalClient(Node):
    """Drives the nodes from outside. Spins in a thread of its own; its methods block with a time limit.

    Args:
        robot: whose joints are recorded.
    """

    def __init__(self, robot: str = "go2") -> None:
        super().__init__("goal_client")
        self._robot = load_robot(robot)
        self._record: GoalRecord | None = None
        self._began = 0.0
        self._joints: tuple[float, ...] | None = None
        self.pose: Pose | None = None
        self.image: UInt8 | None = None
        self.safety: SafetyStatus | None = None
        self.inputs = PolledSubscriptions(self)
        self.inputs.add(JointState, "joint_states", self._on_joints, qos.SENSOR)
        self.inputs.add(Odometry, "ground_truth/odom", self._on_odometry, qos.SENSOR)
        self.inputs.add(Image, "camera/image_raw", self._on_image, qos.SENSOR)
        self.inputs.add(ActionChunk, "plan", self._on_plan, qos.RECENT)
        self.inputs.add(StageLatency, "stage_latency", self._on_stages, qos.RECENT)
        self.inputs.add(JointCommand, "joint_commands", self._on_command, qos.RECENT)
        self.inputs.add(SafetyStatus, "safety_status", self._on_safety, qos.SENSOR)
        self._place = self.create_client(PlaceRobot, "sim_dog/place")
        self._reach = ActionClient(self, ReachGoal, "reach_goal")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)

    def __enter__(self) -> GoalClient:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(2.0)
        self._executor.shutdown()
        self.destroy_node()

    def _spin(self) -> None:
        while self._executor.context.ok() and not self._ended.is_set():
            try:
                self._executor.spin_once(timeout_sec=_POLL_S)
            except rclpy.executors.ExternalShutdownException:
                return
            self.inputs.poll()

    def _since(self) -> float:
        return time.monotonic() - self._began

    def _on_odometry(self, message: Odometry) -> None:
        at, turn = message.pose.pose.position, message.pose.pose.orientation
        quaternion = np.array([turn.w, turn.x, turn.y, turn.z])
        self.pose = (at.x, at.y, yaw_of(quaternion))
        record = self._record
        if record is not None:
            record.poses.append((self._since(), *self.pose))
            if self._joints is not None:
                record.body.append((self._since(), at.x, at.y, at.z, *quaternion.tolist(), *self._joints))

    def _on_joints(self, message: JointState) -> None:
        if self._record is not None:
            where = self._robot.index(message.name)
            self._joints = tuple(message.position[i] for i in where)

    def _on_image(self, message: Image) -> None:
        self.image = image_view(message)

    def _on_plan(self, message: ActionChunk) -> None:
        if self._record is not None:
            self._record.plans.append((self._since(), message.energy, message.surprise, message.iterations))

    def _on_stages(self, message: StageLatency) -> None:
        if self._record is not None:
            self._record.stages.append((message.image_age, message.decode, message.encode, message.plan, message.total))

    def _on_command(self, message: JointCommand) -> None:
        if self._record is not None and len(self._record.commands) < 100 * self._since():
            self._record.commands.append((self._since(), *message.position))

    def control_figures(self) -> tuple[dict[str, Any], dict[str, int]]:
        """Rate and ticks of the control loop, and how often each safety event occurred, up to now.

        Raises:
            JepaRosError: joint_command never published its status.
        """
        status = self.safety
        if status is None:
            raise JepaRosError("joint_command never published safety_status")
        control = {
            "command_hz": status.control_rate,
            "ticks": int(status.ticks),
            "missed_ticks": int(status.missed_ticks),
        }
        events = {reason: int(count) for reason, count in zip(status.event_reasons, status.event_counts, strict=True)}
        return control, events

    def _on_safety(self, message: SafetyStatus) -> None:
        self.safety = message

    def wait_for(self, what: str, ready: Callable[[], bool], seconds: float) -> None:
        """Block until `ready()`.

        Raises:
            JepaRosError: it did not come about in time; the message says what.
        """
        if not _comes_true(ready, seconds):
            raise JepaRosError(
                f"waited {seconds:.0f} s for {what} in vain; see the launch log for the node that is missing"
            )

    def wait_until_ready(self, seconds: float = 60.0) -> None:
        """Block until the dog stands, sees, and takes goals.

        Raises:
            JepaRosError: something is missing, by name.
        """
        self.wait_for("the simulator (ground_truth/odom)", lambda: self.pose is not None, seconds)
        self.wait_for("the camera (camera/image_raw)", lambda: self.image is not None, seconds)
        self.wait_for("the action server reach_goal", self._reach.server_is_ready, seconds)
        self.wait_for("the dog to stand (safety_status)", lambda: self._state() in ("stand", "walk"), seconds)

    def _state(self) -> str:
        return str(self.safety.state) if self.safety is not None else ""

    @staticmethod
    def _done_within(future: Any, seconds: float) -> bool:
        return _comes_true(future.done, seconds)

    def _result(self, future: Any, what: str, seconds: float) -> Any:
        self.wait_for(what, future.done, seconds)
        return future.result()

    def place(self, pose: Pose) -> None:
        """Put the simulated dog at a pose (m, m, rad).

        Raises:
            JepaRosError: the simulator refused or is not there.
        """
        request = PlaceRobot.Request(x=pose[0], y=pose[1], yaw=pose[2])
        answer = self._result(self._place.call_async(request), "sim_dog/place", 5.0)
        if not answer.success:
            raise JepaRosError(f"the simulator did not place the dog: {answer.message}")

    def reach(self, number: int, goal: Pose, goal_view: UInt8, time_limit: float, tolerance: float = 0.0) -> GoalRecord:
        """Send a goal image and write down everything until the result.

        Args:
            number: of the goal, for the record.
            goal: true pose of the goal, to score.
            goal_view: RGB `[h, w, 3]`, all that the robot is told.
            time_limit: seconds.
            tolerance: energy at which it counts as reached; 0 takes the bundle's calibration, negative never arrives.

        Raises:
            JepaRosError: the goal was refused, or no result came.
        """
        if self.pose is None or self.image is None:
            raise JepaRosError("no pose or image has come from the simulator yet")
        message = ReachGoal.Goal(kind=ReachGoal.Goal.IMAGE, time_limit=time_limit, tolerance=tolerance)
        message.image = image_to_message(goal_view)
        record = GoalRecord(number, self.pose, goal, self.image.copy(), goal_view)
        self._joints, self._began, self._record = None, time.monotonic(), record
        try:
            handle = send_goal(lambda: self._reach.send_goal_async(message), self._done_within, f"goal {number}")
            answer = self._result(handle.get_result_async(), "the result of reach_goal", time_limit + 10.0)
        finally:
            self._record = None
        record.reached, record.reason = bool(answer.result.reached), str(answer.result.reason)
        record.elapsed, record.end_view = float(answer.result.elapsed), self.image.copy()
        return record
