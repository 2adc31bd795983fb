"""What a replay through the nodes found, put together from their topics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from jepa_ros_msgs.msg import ActionChunk, AppliedAction, JointCommand, SafetyStatus, StageLatency

from jepa_ros.errors import RobotError
from jepa_ros.messages import JointOrder, seconds
from jepa_ros.robots import load_robot
from jepa_ros.types import Float32
from jepa_ros_nodes import qos
from jepa_ros_nodes.polling import PolledSubscriptions
from jepa_ros_replay.result import CommandRow, PlanRow, ReplayResult, SafetyRow


class ReplayListener:
    """Writes the nodes' outputs into a result.

    Args:
        inputs: where to subscribe; the caller polls.
        result: what is written to.
    """

    def __init__(self, inputs: PolledSubscriptions, result: ReplayResult) -> None:
        robot = load_robot(result.robot)
        self._order, self._recorded_order = JointOrder(robot), JointOrder(robot)
        self._result, self._plan, self._latest = result, ActionChunk(), Time()
        self._counts: dict[str, int] = {}
        result.joint_names = robot.joint_names
        inputs.add(ActionChunk, "plan", self._on_plan, qos.RECENT)
        inputs.add(StageLatency, "stage_latency", self._on_latency, qos.RECENT)
        inputs.add(JointCommand, "shadow/joint_commands", self._on_command, qos.RECENT)
        inputs.add(AppliedAction, "shadow/applied_action", self._on_applied, qos.RECENT)
        inputs.add(SafetyStatus, "shadow/safety_status", self._on_safety, qos.RECENT)

    def on_recorded(self, message: Any) -> None:
        """A joint command that stands in the bag."""
        try:
            position = self._recorded_order.joint_command(message).position
        except RobotError:
            return
        self._result.recorded.append(CommandRow(seconds(message.header.stamp), position))

    def _on_plan(self, message: ActionChunk) -> None:
        if not message.steps:
            return
        self._plan = message
        rows = self._result.plans
        if rows and self._latest == message.observed:
            rows[-1] = replace(rows[-1], plan_energy=message.energy, actions=_actions(message))

    def _on_latency(self, message: StageLatency) -> None:
        """Sent after the plan of the same frame, if there is one; read before it where both come between two looks."""
        self._latest = message.header.stamp
        plan = self._plan if self._plan.observed == self._latest else None
        self._result.plans.append(
            PlanRow(
                t=seconds(message.header.stamp),
                energy=message.energy,
                surprise=message.surprise,
                iterations=message.iterations,
                plan_energy=float("nan") if plan is None else plan.energy,
                stage_ms=(message.decode * 1e3, 0.0, message.encode * 1e3, message.plan * 1e3),
                restarted="",
                actions=None if plan is None else _actions(plan),
                latent=None,
            )
        )

    def _on_command(self, message: JointCommand) -> None:
        command = self._order.joint_command(message)
        self._result.commands.append(CommandRow(seconds(message.header.stamp), command.position))

    def _on_applied(self, message: AppliedAction) -> None:
        self._result.applied.append((seconds(message.header.stamp), np.asarray(message.values, dtype=np.float64)))

    def _on_safety(self, message: SafetyStatus) -> None:
        for reason, count in zip(message.event_reasons, message.event_counts, strict=True):
            for _ in range(count - self._counts.get(reason, 0)):
                row = SafetyRow(seconds(message.header.stamp), "warning", reason, message.reason)
                self._result.safety.append(row)
            self._counts[reason] = count


def _actions(plan: ActionChunk) -> Float32:
    """`[H, A]`."""
    return np.asarray(plan.values, dtype=np.float32).reshape(plan.steps, len(plan.names))
