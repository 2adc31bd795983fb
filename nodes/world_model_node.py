"""`world_model`: camera to plan. The camera callback only stores the newest frame; planning has a thread of its own.

In: `camera/image_raw` (or its compressed form), `camera/camera_info`, `applied_action`, `safety_status`. Out: `plan`,
`stage_latency`, `/diagnostics`. Action: `reach_goal`. It never sends joint targets.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from jepa_ros_msgs.msg import ActionChunk, AppliedAction, Goal, SafetyStatus, StageLatency
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from jepa_ros.bundle.signing import open_trusted
from jepa_ros.errors import BundleError, ImageError, JepaRosError, ModelError
from jepa_ros.messages import horizontal_fov, image_view, seconds
from jepa_ros.planning.pursuit import GoalPursuit, Lens, Pursued, PursuitSettings
from jepa_ros_nodes import qos
from jepa_ros_nodes.conversions import fill_chunk
from jepa_ros_nodes.diagnostics import diagnostic
from jepa_ros_nodes.goal_server import GoalServer
from jepa_ros_nodes.goals import ActiveGoal
from jepa_ros_nodes.lockstep import LockStep
from jepa_ros_nodes.managed_node import ManagedNode
from jepa_ros_nodes.newest_frame import NewestFrame
from jepa_ros_nodes.params import declare
from jepa_ros_nodes.polling import PolledSubscriptions
from jepa_ros_nodes.running_node import run

_SILENT_S = 1.0  # of joint_command, which speaks ten times a second


class WorldModelNode(ManagedNode):
    """Plans toward the active goal, one model step after another."""

    def __init__(self) -> None:
        super().__init__("world_model")
        self._bundle_path = declare(self, "bundle", "", "folder of the bundle")
        self._trusted_keys = declare(
            self,
            "trusted_keys",
            [""],
            "public key files, one of which must have signed the bundle; empty requires no signature",
        )
        self._compressed = declare(self, "compressed", False, "subscribe to camera/image_raw/compressed")
        self._settings = PursuitSettings(
            threads=declare(self, "threads", 1, "CPU threads of the model", low=1, high=64),
            delay_steps=declare(
                self, "delay_steps", 1, "model steps from a frame to its plan taking effect", low=0, high=10
            ),
            valid_steps=declare(self, "valid_steps", 2, "model steps for which a plan holds", low=1, high=20),
            margin_s=declare(
                self, "margin", 0.03, "s before a plan takes effect at which it must be out", low=0.0, high=1.0
            ),
            seed=declare(self, "seed", 0, "of the planner's samples", low=0, high=2**31 - 1),
            engine=declare(self, "engine", "graph", "of planning: graph, or numpy to call the model step by step"),
        )
        self._lock_step = declare(self, "lock_step", False, "plan by a player's steps, with no deadline; no robot")
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._player: LockStep | None = None
        self._planned: ActiveGoal | None = None
        self._commander: tuple[ActiveGoal | None, float] = (None, 0.0)  # during which goal it was heard, and when

    def configure(self) -> None:
        """Open the bundle: every byte is checked and the golden outputs are compared before anything runs."""
        if not self._bundle_path:
            raise BundleError("parameter bundle is empty: give the folder of a bundle")
        bundle = open_trusted(self._bundle_path, self._trusted_keys)
        self._pursuit = GoalPursuit(bundle, self._settings)
        self._manifest = bundle.manifest
        self._frames = NewestFrame(self._pursuit.cadence.saw)
        self._lens: Lens | None = None
        self._publish_plan = self.publisher(ActionChunk, "plan", qos.COMMAND)
        self._publish_latency = self.publisher(StageLatency, "stage_latency", qos.COMMAND)
        self._publish_diagnostics = self.publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        kind, topic = (CompressedImage, "/compressed") if self._compressed else (Image, "")
        self._inputs = PolledSubscriptions(self)  # read by the planning thread
        self.made.callback(self._inputs.destroy)
        self._inputs.add(CameraInfo, "camera/camera_info", self._on_info, qos.SENSOR)
        self._inputs.add(AppliedAction, "applied_action", self._on_applied, qos.RECENT)
        self._goals = GoalServer(self, bundle, self._on_goal_end, self.publisher(Goal, "goal", qos.LATCHED))
        self.made.callback(self._goals.destroy)
        if self._lock_step:
            self._inputs.add(Goal, "replay/goal", self._goals.take_recorded, qos.RECENT)
            self._inputs.add(kind, f"camera/image_raw{topic}", self._on_image, qos.SENSOR)
        else:
            self._inputs.add(SafetyStatus, "safety_status", self._on_safety, qos.SENSOR)
            images = self.create_subscription(kind, f"camera/image_raw{topic}", self._on_image, qos.SENSOR)
            self.made.callback(self.destroy_subscription, images)
        provider = self._pursuit.model.provider
        self.get_logger().info(f"bundle {self._manifest.name} ({self._manifest.family}) on {provider}")

    def activate(self) -> None:
        """Begin to take goals."""
        if self._thread is not None and self._thread.is_alive():
            raise JepaRosError("the planning thread of the last activation has not ended yet: try again")
        self._stop.clear()
        self._planned = None
        self._goals.open()
        if self._lock_step:
            self._player = LockStep(self, self._inputs, self.published, self._step)
            return
        self._thread = threading.Thread(target=self._plan_forever, name="planning", daemon=True)
        self._thread.start()

    def deactivate(self) -> None:
        """End the goal in progress; no plan leaves any more."""
        self._stop.set()
        if hasattr(self, "_goals"):
            self._goals.close("world_model was deactivated")
        if self._thread is not None:
            self._thread.join(2.0)
        if self._player is not None:
            self._player.stop()
            self._player = None

    def close(self) -> None:
        """Stop planning."""
        self.deactivate()

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._frames.put(message, seconds(message.header.stamp))

    def _on_info(self, message: CameraInfo) -> None:
        self._lens = Lens(message.width, message.height, horizontal_fov(message))

    def _on_applied(self, message: AppliedAction) -> None:
        at, values = seconds(message.header.stamp), np.asarray(message.values, dtype=np.float64)
        if list(message.names) == self._manifest.action.names and not self._pursuit.applied.put(at, values):
            self.get_logger().error("applied_action refused: sizes or values do not fit", throttle_duration_sec=2.0)

    def _on_safety(self, message: SafetyStatus) -> None:
        """joint_command stopped the walk and follows this goal no more: planning on would be in vain."""
        goal = self._goals.active
        self._commander = goal, time.monotonic()
        if goal is not None and bytes(message.stopped_goal) == goal.identity:
            goal.end(False, f"stopped by joint_command: {message.stopped_reason}")

    def _end_without_commander(self) -> None:
        """A goal that was carried out ends with joint_command: a new one would go on with it, asked for a walk only."""
        goal, at = self._commander
        if goal is not None and goal is self._goals.active and time.monotonic() - at > _SILENT_S:
            goal.end(False, f"joint_command has said nothing for {_SILENT_S:.0f} s; start it and send a new goal")

    def _now(self) -> float:
        return self.get_clock().now().nanoseconds * 1e-9

    def _on_goal_end(self, goal: ActiveGoal) -> None:
        """Say that it is over; the dog stops."""
        self._publish_plan(ActionChunk(goal_id=list(goal.identity), names=list(self._manifest.action.names)))

    # The planning thread.

    def _plan_forever(self) -> None:
        try:
            while not self._stop.is_set():
                self._inputs.poll()
                self._end_without_commander()
                if self._goals.active is None:
                    time.sleep(0.01)
                self._plan_next(0.1)
        except Exception:  # noqa: BLE001 - a node that takes goals and plans no more is the worst case
            traceback.print_exc()
            os._exit(1)

    def _step(self, player: LockStep, _clock: float) -> None:
        """One step of a lock-step replay: a goal, where one comes, and then the message."""
        player.hear(["replay/goal"])
        self._plan_next(0.0)
        player.hear()
        self._plan_next(0.0)

    def _plan_next(self, timeout: float) -> None:
        """Set the planner to the active goal, and plan from the next frame that is due within `timeout` s."""
        goal, planned = self._goals.active, self._planned
        self._planned = None if goal is None or goal.ended.is_set() else goal
        if self._planned is None or goal is None:
            if planned is not None:
                self._pursuit.end()
            return
        if goal is not planned:
            if planned is None:
                self._frames.forget()
            self._pursuit.begin(goal.identity, goal.latent, fresh=planned is None)
        found = self._frames.wait(self._pursuit.cadence.due, timeout)
        if found is not None:
            try:
                self._plan_once(goal, *found)
            except ImageError as error:
                self._refuse(goal, f"camera image refused: {error}")
            except JepaRosError as error:
                self._refuse(goal, str(error))

    def _refuse(self, goal: ActiveGoal, why: str) -> None:
        self.get_logger().error(why)
        array = diagnostic("world_model", "error", why, {})
        array.header.stamp = self.get_clock().now().to_msg()
        self._publish_diagnostics(array)
        if not self._lock_step:  # a replay goes on with the next frame
            goal.end(False, why)

    def _plan_once(self, goal: ActiveGoal, message: Image | CompressedImage, at: float) -> None:
        """Plan from a frame, and publish."""
        if not self._lock_step:
            self._inputs.poll()
        if at == 0.0 and not self._lock_step:  # a recording may begin at 0
            raise ImageError("header.stamp is empty; have the camera's driver set it, or nothing can be timed")
        taken, began = self._now(), time.perf_counter()
        image = image_view(message)
        goal.frames += 1
        decode_s = time.perf_counter() - began
        found = self._pursuit.pursue(image, at, None if self._lock_step else self._now, self._lens)
        if found.restarted:
            self.get_logger().warning(f"{found.restarted}: the history starts anew", throttle_duration_sec=2.0)
        if goal.ended.is_set() or self._stop.is_set():
            return
        step = found.step
        if step.plan is not None and step.plan.iterations and not np.isfinite(step.plan.energy):
            raise ModelError(f"the model's energy of the plan is {step.plan.energy}: no plan can be judged by it")
        goal.surprise = step.surprise or 0.0
        if found.chunk is not None and step.plan is not None:
            goal.plans, goal.iterations = goal.plans + 1, step.plan.iterations
            self._send(found, message.header.stamp)
        self._report(found, message.header.stamp, taken - at, decode_s + found.prepare_ms * 1e-3, self._now() - at)
        goal.judge(float("inf") if step.energy_now is None else step.energy_now, at)

    def _send(self, found: Pursued, observed: Any) -> None:
        plan, message = found.step.plan, ActionChunk(units=list(self._manifest.action.units))
        if plan is None or found.chunk is None:
            return
        fill_chunk(message, found.chunk)
        message.header.frame_id, message.observed = self._manifest.action.frame, observed
        message.energy, message.surprise = float(plan.energy), float(found.step.surprise or 0.0)
        message.iterations, message.stopped = plan.iterations, plan.stopped
        self._publish_plan(message)

    def _report(self, found: Pursued, stamp: Any, age: float, decode: float, total: float) -> None:
        step = found.step
        message = StageLatency(image_age=age, decode=decode, total=total)
        message.header.stamp = stamp
        message.encode, message.plan = step.encode_ms * 1e-3, step.plan_ms * 1e-3
        message.energy = float(step.energy_now if step.energy_now is not None else np.nan)
        message.surprise = float(step.surprise or 0.0)
        message.iterations = 0 if step.plan is None else step.plan.iterations
        self._publish_latency(message)
        values = {
            f"{name}_ms": f"{getattr(message, name) * 1e3:.1f}"
            for name in ("image_age", "decode", "encode", "plan", "total")
        }
        in_time = step.plan is None or step.plan.iterations > 0
        said = ("ok", "planning") if in_time else ("warning", "no time for a plan of this frame: it came too late")
        array = diagnostic("world_model", *said, {**values, "energy": f"{message.energy:.4g}"})
        array.header.stamp = stamp
        self._publish_diagnostics(array)


def main() -> None:
    """Entry point."""
    run(WorldModelNode, threads=4)


if __name__ == "__main__":
    main()
