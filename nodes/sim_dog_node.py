"""`sim_dog`: the simulated dog behind the topics of the real one.

In: `joint_commands`. Out: `camera/image_raw`, `camera/camera_info`, `joint_states`, `imu`, `foot_contacts`; for scoring
only `ground_truth/odom` and `ground_truth/status`; `/clock` when it does not run in real time. Service `~/place`.
Like a real robot it holds its last command for ever.
"""

from __future__ import annotations

import math
import threading
import time

import numpy as np
from builtin_interfaces.msg import Time
from jepa_ros_msgs.msg import FootContacts, JointCommand, SimStatus
from jepa_ros_msgs.srv import PlaceRobot
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Imu, JointState

from jepa_ros.errors import RobotError
from jepa_ros.messages import JointOrder
from jepa_ros.types import Float64
from jepa_ros.types import Imu as Inertial
from jepa_ros.types import JointState as Joints
from jepa_ros_nodes import qos
from jepa_ros_nodes.conversions import doubles, image_to_message, stamp
from jepa_ros_nodes.params import declare
from jepa_ros_nodes.polling import PolledSubscriptions
from jepa_ros_nodes.running_node import run
from jepa_ros_nodes.ticking import Ticker
from jepa_ros_simulation.dog import HEAD_CAMERA_FOV_RAD, DogSim
from jepa_ros_simulation.rooms import Room

CAMERA_FRAME, IMU_FRAME, BASE_FRAME, WORLD_FRAME = "camera_optical_frame", "imu_link", "base_link", "room"


class SimDogNode(Node):
    """Steps the physics in a thread with absolute deadlines and publishes what the dog senses."""

    def __init__(self) -> None:
        super().__init__("sim_dog")
        room = Room(declare(self, "room", 0, "seed of the room; the default bundle knows room 0"))
        size = declare(self, "camera_size", 128, "width and height of the camera image in pixels", low=16, high=960)
        posture = declare(self, "posture", "sit", "stance at the start: sit, stand or walk")
        start = declare(
            self, "start", [0.0, 0.0, 0.0], "pose at the start: x m, y m, yaw rad; a random free one if in collision"
        )
        rate = declare(self, "state_rate", 125.0, "rate of joint_states and imu in Hz", low=50.0, high=250.0)
        camera_rate = declare(self, "camera_rate", 10.0, "rate of images in Hz", low=1.0, high=60.0)
        self._factor = declare(
            self, "real_time_factor", 1.0, "simulated seconds a second; /clock if not 1", low=0.05, high=20.0
        )
        self._dt = round(1.0 / rate / 0.004) * 0.004
        self._sim = DogSim(room, camera=(size, size))
        pose = (
            tuple(start) if room.free(start[0], start[1]) else room.sample_pose(np.random.default_rng(room.seed), 0.5)
        )
        self._sim.reset(*pose, posture=posture)
        self._order = JointOrder(self._sim.robot)
        self._lock = threading.Lock()
        self._every = {
            "camera": max(round(1.0 / camera_rate / self._dt), 1),
            "truth": max(round(0.05 / self._dt), 1),
            "status": max(round(0.2 / self._dt), 1),
        }
        self._steps, self._mark = 0, (time.monotonic(), 0.0)
        self._make_messages(size)
        self._inputs = PolledSubscriptions(self)
        self._inputs.add(JointCommand, "joint_commands", self._on_command, qos.SENSOR)
        self.create_service(PlaceRobot, "~/place", self._on_place)
        self._ticker = Ticker(self._factor / self._dt, self._tick, "physics")
        self._ticker.start()
        x, y, yaw = self._sim.pose()
        self.get_logger().info(f"room {room.seed}, dog at ({x:.2f}, {y:.2f}) m, {yaw:.2f} rad, posture {posture}")

    def _make_messages(self, size: int) -> None:
        """Publishers, and messages that are filled again and again."""
        names = list(self._sim.robot.joint_names)
        self._joints = JointState(name=names)
        self._feet = FootContacts(name=list(self._sim.robot.feet))
        self._imu = Imu()
        self._imu.header.frame_id = IMU_FRAME
        self._odometry = Odometry(child_frame_id=BASE_FRAME)
        self._odometry.header.frame_id = WORLD_FRAME
        focal = size / 2 / math.tan(HEAD_CAMERA_FOV_RAD / 2)
        middle = size / 2
        self._info = CameraInfo(width=size, height=size, distortion_model="plumb_bob", d=[0.0] * 5)
        self._info.header.frame_id = CAMERA_FRAME
        self._info.k = [focal, 0.0, middle, 0.0, focal, middle, 0.0, 0.0, 1.0]
        self._info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        self._info.p = [focal, 0.0, middle, 0.0, 0.0, focal, middle, 0.0, 0.0, 0.0, 1.0, 0.0]
        self._publish_joints = self.create_publisher(JointState, "joint_states", qos.STATE).publish
        self._publish_feet = self.create_publisher(FootContacts, "foot_contacts", qos.STATE).publish
        self._publish_imu = self.create_publisher(Imu, "imu", qos.STATE).publish
        self._image_publisher = self.create_publisher(
            type(image_to_message(self._blank())), "camera/image_raw", qos.STATE
        )
        self._publish_info = self.create_publisher(CameraInfo, "camera/camera_info", qos.STATE).publish
        self._publish_odometry = self.create_publisher(Odometry, "ground_truth/odom", qos.STATE).publish
        self._publish_status = self.create_publisher(SimStatus, "ground_truth/status", qos.STATE).publish
        self._clock_publisher = None if self._factor == 1.0 else self.create_publisher(Clock, "/clock", qos.STATE)

    @staticmethod
    def _blank() -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
        return np.zeros((1, 1, 3), np.uint8)

    def _on_command(self, message: JointCommand) -> None:
        try:
            command = self._order.joint_command(message)
        except RobotError as error:
            self.get_logger().error(f"joint_commands refused: {error}", throttle_duration_sec=2.0)
            return
        with self._lock:
            self._sim.apply(command)

    def _on_place(self, request: PlaceRobot.Request, response: PlaceRobot.Response) -> PlaceRobot.Response:
        if not all(math.isfinite(value) for value in (request.x, request.y, request.yaw)):
            response.message = "x, y and yaw must be finite"
        elif not self._sim.room.free(request.x, request.y):
            response.message = f"({request.x:.2f}, {request.y:.2f}) m is in collision"
        else:
            with self._lock:
                self._sim.place(request.x, request.y, request.yaw)
            response.success = True
        return response

    def _now(self) -> Time:
        """The stamp of this step: simulated time when it does not run in real time."""
        return self.get_clock().now().to_msg() if self._clock_publisher is None else stamp(self._sim.time)

    def _tick(self, _now: float) -> None:
        if self._steps == 0:
            # Makes the rendering context, in this thread and before anybody waits for the next message.
            self._sim.render()
        self._inputs.poll()
        with self._lock:
            self._sim.step(self._dt)
            joints, imu, feet = self._sim.joint_state(), self._sim.imu(), self._sim.foot_forces()
        at, step = self._now(), self._steps
        self._steps += 1
        if self._clock_publisher is not None:
            self._clock_publisher.publish(Clock(clock=at))
        self._send_body(at, joints, imu, feet)
        if step % self._every["camera"] == 0:
            with self._lock:
                image = self._sim.render()
            self._image_publisher.publish(image_to_message(image, at, CAMERA_FRAME))
            self._info.header.stamp = at
            self._publish_info(self._info)
        if step % self._every["truth"] == 0:
            self._send_truth(at)
        if step % self._every["status"] == 0:
            self._send_status(at)

    def _send_body(self, at: Time, joints: Joints, imu: Inertial, feet: Float64) -> None:
        self._joints.header.stamp = self._imu.header.stamp = self._feet.header.stamp = at
        self._joints.position, self._joints.velocity = doubles(joints.position), doubles(joints.velocity)
        self._joints.effort = doubles(joints.effort)
        self._publish_joints(self._joints)
        (q, w, a) = (self._imu.orientation, self._imu.angular_velocity, self._imu.linear_acceleration)
        q.x, q.y, q.z, q.w = imu.orientation.tolist()
        w.x, w.y, w.z = imu.angular_velocity.tolist()
        a.x, a.y, a.z = imu.linear_acceleration.tolist()
        self._publish_imu(self._imu)
        self._feet.force = doubles(feet)
        self._publish_feet(self._feet)

    def _send_truth(self, at: Time) -> None:
        with self._lock:
            x, y, z, qw, qx, qy, qz = self._sim.base().tolist()
            speed = self._sim.speed()
        self._odometry.header.stamp = at
        position, turn = self._odometry.pose.pose.position, self._odometry.pose.pose.orientation
        position.x, position.y, position.z = x, y, z
        turn.w, turn.x, turn.y, turn.z = qw, qx, qy, qz
        self._odometry.twist.twist.linear.x = speed
        self._publish_odometry(self._odometry)

    def _send_status(self, at: Time) -> None:
        with self._lock:
            found, simulated = self._sim.status(), self._sim.time
        since, before = self._mark
        now = time.monotonic()
        factor = (simulated - before) / max(now - since, 1e-6)
        if now - since > 2.0:
            self._mark = (now, simulated)
        message = SimStatus(
            fallen=found.fallen, collision=found.collision, contacts=list(found.contacts), real_time_factor=factor
        )
        message.header.stamp = at
        self._publish_status(message)

    def close(self) -> None:
        """Stop the physics."""
        self._ticker.stop()


def main() -> None:
    """Entry point."""
    run(SimDogNode, shared_memory=False)


if __name__ == "__main__":
    main()
