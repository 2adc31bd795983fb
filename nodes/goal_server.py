"""The action server `reach_goal`: one goal at a time; a new one takes the place of the one in progress."""

from __future__ import annotations

import array
import threading
from collections.abc import Callable
from math import isfinite
from typing import Any

import numpy as np
from jepa_ros_msgs.action import ReachGoal
from jepa_ros_msgs.msg import Goal
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from jepa_ros.bundle.loader import Bundle
from jepa_ros.errors import BundleError, JepaRosError, PlanningError
from jepa_ros.messages import image_view
from jepa_ros.types import Float32
from jepa_ros.vision import Preprocessor
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_nodes.goals import ActiveGoal


class GoalServer:
    """Takes goals while it is open, keeps the active one, and answers when it is over.

    Goals are encoded in the action server's threads, by a model of their own: the planning thread uses the other.

    Args:
        node: whose action it is.
        bundle: encodes goals and knows named ones.
        on_end: called with each goal that is over, unless another has taken its place.
        announce: called with a message of each goal that is taken, for those who record or show it.
    """

    def __init__(
        self,
        node: Node,
        bundle: Bundle,
        on_end: Callable[[ActiveGoal], None],
        announce: Callable[[Goal], None],
    ) -> None:
        self._node, self._bundle, self._on_end, self._announce = node, bundle, on_end, announce
        self._model, self._prepare = OnnxWorldModel(bundle), Preprocessor(bundle.manifest.camera)
        self._encoding, self._changing = threading.Lock(), threading.Lock()
        self._open = False
        self.active: ActiveGoal | None = None
        self._server = ActionServer(
            node,
            ReachGoal,
            "reach_goal",
            self._execute,
            goal_callback=lambda _: GoalResponse.ACCEPT if self._open else GoalResponse.REJECT,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            callback_group=ReentrantCallbackGroup(),
        )

    def open(self) -> None:
        """Take goals from now on."""
        with self._changing:
            self._open = True

    def close(self, why: str) -> None:
        """Take no more goals, and end the active one."""
        with self._changing:
            self._open, before, self.active = False, self.active, None
        if before is not None:
            before.end(False, why)

    def destroy(self) -> None:
        """Take the action away."""
        self._server.destroy()

    def _execute(self, handle: Any) -> ReachGoal.Result:
        try:
            goal = self._goal(handle.request)
        except JepaRosError as error:
            self._node.get_logger().error(f"goal refused: {error}")
            handle.abort()
            return ReachGoal.Result(reached=False, reason=str(error))
        if self._take(goal):
            self._announce(self._message(goal, handle.request))
        feedback = ReachGoal.Feedback()
        while not goal.ended.wait(0.1):
            if handle.is_cancel_requested:
                goal.end(False, "cancelled")
            goal.check_time()
            feedback.energy, feedback.surprise, feedback.iterations = goal.energy, goal.surprise, goal.iterations
            feedback.remaining_time = goal.remaining
            feedback.status = goal.status
            handle.publish_feedback(feedback)
        self._finish(goal)
        if goal.reason == "cancelled":
            handle.canceled()
        elif goal.reached:
            handle.succeed()
        else:
            handle.abort()
        return ReachGoal.Result(
            reached=goal.reached, reason=goal.reason, energy=goal.energy, elapsed=goal.elapsed, plans=goal.plans
        )

    def _goal(self, request: ReachGoal.Goal) -> ActiveGoal:
        """The goal that was asked for.

        Raises:
            JepaRosError: it cannot be encoded, or one of its numbers is none.
        """
        for name in ("tolerance", "time_limit"):
            if not isfinite(getattr(request, name)):
                raise PlanningError(f"goal {name}: must be a finite number, got {getattr(request, name)}")
        tolerance = request.tolerance or self._bundle.manifest.calibration.arrival_energy
        with self._encoding:
            latent = self._latent(request)
        return ActiveGoal(latent, tolerance, max(request.time_limit, 0.0))

    def _latent(self, request: ReachGoal.Goal) -> Float32:
        """The goal as a latent `[D]`."""
        if request.kind == ReachGoal.Goal.LATENT:
            latent = np.asarray(request.latent, dtype=np.float32)
            if latent.shape != (self._model.latent_dim,) or not np.isfinite(latent).all():
                raise BundleError(f"goal latent: must be {self._model.latent_dim} finite numbers, got {latent.size}")
            return latent
        if request.kind == ReachGoal.Goal.NAME:
            return self._model.encode_goal(self._prepare(self._bundle.goal_image(request.name)))
        if request.kind == ReachGoal.Goal.IMAGE:
            return self._model.encode_goal(self._prepare(image_view(request.image)))
        raise BundleError(f"goal kind {request.kind}: must be 0 (image), 1 (name) or 2 (latent)")

    def take_recorded(self, message: Goal) -> None:
        """Drive to a goal of a replay, until another comes.

        Raises:
            JepaRosError: its image cannot be encoded.
        """
        latent = self._model.encode_goal(self._prepare(image_view(message.image)))
        self._take(ActiveGoal(latent, -1.0, 0.0, identity=bytes(message.goal_id)))

    def _take(self, goal: ActiveGoal) -> bool:
        """Make a goal the active one and end the one before; returns whether that was possible."""
        with self._changing:
            if not self._open:  # it was closed while the goal was being encoded
                goal.end(False, "world_model was deactivated")
                return False
            before, self.active = self.active, goal
        if before is not None:
            before.end(False, "replaced by a new goal")
        return True

    def _message(self, goal: ActiveGoal, request: ReachGoal.Goal) -> Goal:
        message = Goal(goal_id=list(goal.identity), kind=request.kind, name=request.name, image=request.image)
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.latent, message.bundle = array.array("f", goal.latent.tolist()), self._bundle.manifest.name
        message.tolerance, message.time_limit = goal.tolerance, goal.time_limit
        return message

    def _finish(self, goal: ActiveGoal) -> None:
        with self._changing:
            last = self.active is goal
            if last:
                self.active = None
        if last:
            self._on_end(goal)
        self._node.get_logger().info(f"goal over after {goal.elapsed:.1f} s and {goal.plans} plans: {goal.reason}")
