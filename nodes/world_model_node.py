"""`world_model`: camera to plan, in one process, because images are copied between processes. It never sends joint
targets.

In: `camera/image_raw` (or compressed), `camera/camera_info`, `applied_action`. Out: `plan`, `stage_latency`,
`/diagnostics`. Action `reach_goal`. The camera callback only stores the newest frame; planning runs in its own
thread, a model step at a time.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from jepa_ros_msgs.action import ReachGoal
from jepa_ros_msgs.msg import ActionChunk, AppliedAction, StageLatency
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.errors import BundleError, ImageError, JepaRosError
from jepa_ros.planning.factory import make_planner
from jepa_ros.planning.mpc import LatentMPC, Step
from jepa_ros.types import Float32
from jepa_ros.vision import Preprocessor
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_nodes import qos
from jepa_ros_nodes.conversions import doubles, image_view, seconds, stamp
from jepa_ros_nodes.diagnostics import diagnostic
from jepa_ros_nodes.frames import AppliedActions, NewestFrame
from jepa_ros_nodes.goals import ActiveGoal
from jepa_ros_nodes.params import declare
from jepa_ros_nodes.polling import PolledSubscriptions
from jepa_ros_nodes.running_node import run

_EARLY = 0.3  # share of a model step by which a frame may come early and still be taken


class WorldModelNode(LifecycleNode):
    """Plans toward the active goal, one model step after another."""

    def __init__(self) -> None:
        super().__init__("world_model")
        declare(self, "autostart", True, "configure and activate at once")
        self._bundle_path = declare(self, "bundle", "", "folder of the bundle")
        self._threads = declare(self, "threads", 1, "CPU threads of the model", low=1, high=64)
        self._compressed = declare(self, "compressed", False, "subscribe to camera/image_raw/compressed")
        self._delay = declare(
            self, "delay_steps", 1, "model steps from a frame to its plan taking effect", low=0, high=10
        )
        self._valid = declare(self, "valid_steps", 2, "model steps for which a plan holds", low=1, high=20)
        self._margin = declare(
            self, "margin", 0.03, "s before a plan takes effect at which it must be out", low=0.0, high=1.0
        )
        self._seed = declare(self, "seed", 0, "of the planner's samples")
        self._active: ActiveGoal | None = None
        self._changing = threading.Lock()
        self._running = False
        self._thread: threading.Thread | None = None

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the bundle: every byte is checked and the golden outputs are compared before anything runs."""
        try:
            if not self._bundle_path:
                raise BundleError("parameter bundle is empty: give the folder of a bundle")
            bundle = load_bundle(self._bundle_path)
            self._model = OnnxWorldModel(bundle, self._threads)
            # The goal is encoded in the action server's thread, while the planning thread uses the model above.
            self._goal_model = OnnxWorldModel(bundle, self._threads)
            planner = make_planner(bundle.manifest, self._model, seed=self._seed)
            self._mpc = LatentMPC(self._model, planner, bundle.manifest, self._delay)
        except JepaRosError as error:
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        self._bundle, self._manifest = bundle, bundle.manifest
        self._prepare = Preprocessor(bundle.manifest.camera)
        self._frames, self._applied = NewestFrame(), AppliedActions(len(self._manifest.action.names))
        self._info: CameraInfo | None = None
        self._previous: float | None = None
        self._committed = None
        self._publish_plan = self.create_publisher(ActionChunk, "plan", qos.COMMAND).publish
        self._publish_latency = self.create_publisher(StageLatency, "stage_latency", qos.COMMAND).publish
        self._publish_diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.RECORD).publish
        kind, topic = (CompressedImage, "/compressed") if self._compressed else (Image, "")
        self.create_subscription(kind, f"camera/image_raw{topic}", self._on_image, qos.SENSOR)
        self._inputs = PolledSubscriptions(self)  # read by the planning thread, once a model step
        self._inputs.add(CameraInfo, "camera/camera_info", self._on_info, qos.SENSOR)
        self._inputs.add(AppliedAction, "applied_action", self._on_applied, qos.RECENT)
        self._server = ActionServer(
            self,
            ReachGoal,
            "reach_goal",
            self._execute,
            goal_callback=lambda _: GoalResponse.ACCEPT if self._running else GoalResponse.REJECT,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            callback_group=ReentrantCallbackGroup(),
        )
        self.get_logger().info(f"bundle {self._manifest.name} ({self._manifest.family}) on {self._model.provider}")
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to take goals."""
        self._running = True
        self._thread = threading.Thread(target=self._plan_forever, name="planning", daemon=True)
        self._thread.start()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the goal in progress; no plan leaves any more."""
        self.close()
        return super().on_deactivate(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As deactivation."""
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """Stop planning."""
        self._running = False
        self._replace(None, "world_model was deactivated")
        if self._thread is not None:
            self._thread.join(2.0)
            self._thread = None

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._frames.put(message, seconds(message.header.stamp))

    def _on_info(self, message: CameraInfo) -> None:
        self._info = message

    def _on_applied(self, message: AppliedAction) -> None:
        if list(message.names) == self._manifest.action.names:
            self._applied.put(seconds(message.header.stamp), np.asarray(message.values, dtype=np.float64))

    def _now(self) -> float:
        return self.get_clock().now().nanoseconds * 1e-9

    # The action server: one thread a goal, waiting; the planning thread does the work.

    def _execute(self, handle: Any) -> ReachGoal.Result:
        request = handle.request
        try:
            goal = ActiveGoal(
                self._goal_latent(request), self._tolerance(request.tolerance), max(request.time_limit, 0.0)
            )
        except JepaRosError as error:
            self.get_logger().error(f"goal refused: {error}")
            handle.abort()
            return ReachGoal.Result(reached=False, reason=str(error))
        self._replace(goal, "replaced by a new goal")
        feedback = ReachGoal.Feedback()
        while not goal.ended.wait(0.1):
            if handle.is_cancel_requested:
                goal.end(False, "cancelled")
            goal.check_time()
            feedback.energy, feedback.surprise, feedback.iterations = goal.energy, goal.surprise, goal.iterations
            feedback.remaining_time, feedback.status = (
                goal.remaining,
                "driving" if goal.plans else "waiting for a frame",
            )
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

    def _goal_latent(self, request: ReachGoal.Goal) -> Float32:
        """The goal that was asked for, as a latent `[D]`."""
        if request.kind == ReachGoal.Goal.LATENT:
            latent = np.asarray(request.latent, dtype=np.float32)
            if latent.shape != (self._model.latent_dim,) or not np.isfinite(latent).all():
                raise BundleError(f"goal latent: must be {self._model.latent_dim} finite numbers, got {latent.size}")
            return latent
        if request.kind == ReachGoal.Goal.NAME:
            return self._goal_model.encode(self._prepare(self._bundle.goal_image(request.name)))
        if request.kind == ReachGoal.Goal.IMAGE:
            return self._goal_model.encode(self._prepare(image_view(request.image)))
        raise BundleError(f"goal kind {request.kind}: must be 0 (image), 1 (name) or 2 (latent)")

    def _tolerance(self, asked: float) -> float:
        return asked if asked != 0 else self._manifest.calibration.arrival_energy

    def _replace(self, goal: ActiveGoal | None, why: str) -> None:
        """Make a goal the active one and end the one before."""
        with self._changing:
            before, self._active = self._active, goal
        if before is not None:
            before.end(False, why)

    def _finish(self, goal: ActiveGoal) -> None:
        """Say that a goal is over, unless another has taken its place; the dog stops."""
        with self._changing:
            last = self._active is goal
            if last:
                self._active = None
        if last:
            self._publish_plan(ActionChunk(goal_id=list(goal.identity), names=list(self._manifest.action.names)))
        self.get_logger().info(f"goal over after {goal.elapsed:.1f} s and {goal.plans} plans: {goal.reason}")

    # The planning thread.

    def _plan_forever(self) -> None:
        planned: ActiveGoal | None = None
        while self._running:
            goal = self._active
            if goal is None or goal.ended.is_set():
                if planned is not None:
                    self._mpc.set_goal(None)
                planned = None
                time.sleep(0.01)
                continue
            if goal is not planned:
                self._begin(goal, fresh=planned is None)
                planned = goal
            try:
                self._plan_once(goal)
            except ImageError as error:
                self._refuse(goal, f"camera image refused: {error}")
            except JepaRosError as error:
                self._refuse(goal, str(error))

    def _begin(self, goal: ActiveGoal, fresh: bool) -> None:
        """Point the planner at a goal. After a pause the history is forgotten; it would have a hole."""
        if fresh:
            self._mpc.reset()
            self._previous = None
            self._frames.forget()
        self._mpc.set_goal(goal.latent)

    def _refuse(self, goal: ActiveGoal, why: str) -> None:
        self.get_logger().error(why)
        array = diagnostic("world_model", "error", why, {})
        array.header.stamp = self.get_clock().now().to_msg()
        self._publish_diagnostics(array)
        goal.end(False, why)

    def _plan_once(self, goal: ActiveGoal) -> None:
        """Wait for the frame that is a model step after the last, plan from it, and publish."""
        step_s = self._manifest.timing.step_s
        previous = self._previous
        not_before = -np.inf if previous is None else previous + (1 - _EARLY) * step_s
        found = self._frames.wait(not_before, timeout=0.1)
        if found is None:
            return
        message, at = found
        self._inputs.poll()
        if previous is not None and at > previous + 1.5 * step_s:
            self.get_logger().warning(
                f"no frame for {at - previous:.2f} s: the history starts anew", throttle_duration_sec=2.0
            )
            self._mpc.reset()
            previous = None
        taken = self._now()
        self._check_camera(message)
        frame = self._prepare(image_view(message))
        decoded = time.perf_counter()
        applied = None if previous is None else self._applied.mean(previous, at)
        effect = at + self._delay * step_s
        step = self._mpc.step(frame, applied, lambda: effect - self._margin - self._now())
        self._previous = at
        if goal.ended.is_set() or not self._running:
            return
        goal.surprise = step.surprise or 0.0
        if step.plan is not None and step.plan.iterations:
            goal.plans, goal.iterations = goal.plans + 1, step.plan.iterations
            self._send(goal, step, message.header, effect)
        self._report(step, message.header.stamp, at, taken, self._now() - taken - (time.perf_counter() - decoded))
        goal.judge(float("inf") if step.energy_now is None else step.energy_now, at)

    def _check_camera(self, message: Image | CompressedImage) -> None:
        """Refuse an image that is not what camera_info announces, and a lens far from the training camera's."""
        info = self._info
        if info is None or isinstance(message, CompressedImage):
            return
        if (info.width, info.height) != (message.width, message.height):
            raise ImageError(
                f"image is {message.width}×{message.height} pixels, camera_info says {info.width}×{info.height}; "
                "publish both from the same camera"
            )
        if info.k[0] > 0:
            self._prepare.check_field_of_view(2 * float(np.arctan(info.width / (2 * info.k[0]))))

    def _send(self, goal: ActiveGoal, step: Step, header: Any, effect: float) -> None:
        """Publish a plan; one that breaks a guardrail is replaced by rest."""
        plan, action = step.plan, self._manifest.action
        if plan is None:
            return
        values = plan.actions.astype(np.float64) if plan.feasible else np.zeros(plan.actions.shape)
        message = ActionChunk(names=list(action.names), units=list(action.units), goal_id=list(goal.identity))
        message.header.stamp, message.header.frame_id = stamp(effect), action.frame
        message.observed = header.stamp
        message.valid_until = stamp(effect + self._valid * self._manifest.timing.step_s)
        message.step, message.steps = self._manifest.timing.step_s, len(values)
        message.values = doubles(values.reshape(-1))
        message.energy, message.surprise = float(plan.energy), float(step.surprise or 0.0)
        message.iterations, message.stopped = plan.iterations, plan.stopped
        self._publish_plan(message)

    def _report(self, step: Step, header_stamp: Any, at: float, taken: float, decode: float) -> None:
        message = StageLatency(image_age=taken - at, decode=max(decode, 0.0))
        message.header.stamp = header_stamp
        message.encode, message.plan = step.encode_ms * 1e-3, step.plan_ms * 1e-3
        message.total = self._now() - at
        message.energy = float(step.energy_now if step.energy_now is not None else np.nan)
        message.surprise = float(step.surprise or 0.0)
        message.iterations = 0 if step.plan is None else step.plan.iterations
        self._publish_latency(message)
        values = {
            f"{name}_ms": f"{getattr(message, name) * 1e3:.1f}"
            for name in ("image_age", "decode", "encode", "plan", "total")
        }
        array = diagnostic("world_model", "ok", "planning", {**values, "energy": f"{message.energy:.4g}"})
        array.header.stamp = header_stamp
        self._publish_diagnostics(array)


def main() -> None:
    """Entry point."""
    run(WorldModelNode, threads=4)


if __name__ == "__main__":
    main()
