"""What the robot would have been commanded: the control loop in the shadow of a bag."""

from __future__ import annotations

from typing import Any

from jepa_ros.control import AutoStart, JointController, TickGrid
from jepa_ros.errors import RobotError
from jepa_ros.messages import JointOrder, StampWatch, imu_from, seconds
from jepa_ros.robots import load_robot
from jepa_ros.types import PlanChunk
from jepa_ros_replay.result import CommandRow, ReplayResult, SafetyRow

NO_TARGETS = ("command_watchdog", "released")  # frame_id of the watchdog's damping, and of joint_command's last word


class Shadow:
    """Ticks at a fixed rate by the bag's clock; stands up and walks by itself. Nothing of it leaves this process.

    Args:
        robot: name or path of a robot file.
        action_names: what the plans' actions are.
        rate_hz: of the control loop.
        step_s: model step.
        result: where commands, actions and events are written down.

    Raises:
        RobotError: the robot's motion does not accept such actions.
    """

    def __init__(
        self, robot: str, action_names: tuple[str, ...], rate_hz: float, step_s: float, result: ReplayResult
    ) -> None:
        model = load_robot(robot)
        self._controller = JointController(
            # The joints of a bag follow nobody.
            model,
            action_names,
            rate_hz,
            step_s,
            disabled=("stance_not_reached",),
        )
        self._auto = AutoStart(self._controller.safety, stand=True, walk=True)
        self._order, self._recorded_order = JointOrder(model), JointOrder(model)
        self._stamps = {"joint_states": StampWatch(), "imu": StampWatch()}
        self._grid, self._result = TickGrid(rate_hz), result
        self._reported = 0
        self.refused: set[str] = set()
        result.joint_names = model.joint_names

    def tick_until(self, clock: float) -> None:
        """Every tick that is due before `clock` s."""
        for due in self._grid.until(clock):
            done = self._controller.tick(due, due)
            self._auto.update(due, done.decision)
            if done.command is not None:
                self._result.commands.append(CommandRow(due, done.command.position.copy()))
            if done.applied is not None:
                self._result.applied.append((due, done.applied.copy()))
            self._write_events()

    def on_joint_state(self, message: Any, clock: float) -> None:
        """A `sensor_msgs/JointState` came."""
        age = self._stamps["joint_states"].age(message.header.stamp, clock)
        if age is None:
            return
        try:
            self._controller.on_joint_state(clock, self._order.joint_state(message), age)
        except RobotError as error:
            self._controller.lose_joint_state()
            self._refuse(clock, "joint_states_refused", str(error))

    def on_imu(self, message: Any, clock: float) -> None:
        """A `sensor_msgs/Imu` came."""
        age = self._stamps["imu"].age(message.header.stamp, clock)
        if age is None:
            return
        try:
            self._controller.on_imu(clock, imu_from(message), age)
        except RobotError as error:
            self._refuse(clock, "imu_refused", str(error))

    def on_plan(self, chunk: PlanChunk, clock: float) -> None:
        """The world model sent a plan."""
        try:
            self._controller.on_plan(clock, clock, chunk)
        except RobotError as error:
            self._refuse(clock, "plan_refused", str(error))

    def on_recorded(self, message: Any, clock: float) -> None:
        """A `jepa_ros_msgs/JointCommand` that the robot was really sent; damping and a release are none."""
        if message.header.frame_id in NO_TARGETS:
            return
        try:
            position = self._recorded_order.joint_command(message).position
        except RobotError as error:
            self._refuse(clock, "joint_commands_refused", str(error))
            return
        self._result.recorded.append(CommandRow(seconds(message.header.stamp), position))

    def _refuse(self, clock: float, reason: str, why: str) -> None:
        """Write down once a sentence what could not be used."""
        if why not in self.refused:
            self.refused.add(why)
            self._result.safety.append(SafetyRow(clock, "warning", reason, why))

    def _write_events(self) -> None:
        safety = self._controller.safety
        new = safety.total - self._reported
        if new:
            for event in safety.events[-new:]:
                self._result.safety.append(SafetyRow(event.t, event.severity, event.reason, event.detail))
            self._reported = safety.total
