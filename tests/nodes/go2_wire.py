"""A stand-in for a Unitree Go2 on the wire, since no CI machine has the robot: the simulated dog behind its messages.

It speaks as the robot does, no more: LowState 500 times a second with a clock in ms and a CRC, LowCmd with its CRC
checked and held for ever, `/api/motion_switcher` and `/api/sport`. While a mode has the motors it stands or lies by
itself and LowCmd is not heard; released while it stands, it drops. `go2_wire/remote` takes the 40 bytes of the remote.
`go2_wire/counts` tells how many LowCmd were carried out, refused for their CRC, and not heard; `go2_wire/truth`, for
scoring, x and y in m, yaw and tilt in rad.
"""

from __future__ import annotations

import json

import numpy as np
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray, UInt8MultiArray, UInt32MultiArray
from unitree_api.msg import Request, Response
from unitree_go.msg import LowCmd, LowState

from jepa_ros.types import JointCommand
from jepa_ros.unitree.crc import crc32_words
from jepa_ros.unitree.low_command import IGNORE_POSITION, LOW_COMMAND, LOW_COMMAND_WIRE
from jepa_ros.unitree.low_state import LOW_STATE, LOW_STATE_WIRE
from jepa_ros.unitree.motion_switcher import CHECK_MODE, RELEASE_MODE, SELECT_MODE, STAND_DOWN
from jepa_ros.unitree.motors import GO2_MOTORS, slots
from jepa_ros_nodes import qos
from jepa_ros_nodes.params import declare
from jepa_ros_nodes.polling import PolledSubscriptions
from jepa_ros_nodes.running_node import run
from jepa_ros_nodes.ticking import Ticker
from jepa_ros_simulation.dog import DogSim
from jepa_ros_simulation.rooms import Room

_STEP_S, _LIE_DOWN_S, _STANDING_N = 0.002, 1.5, 40


class Go2Wire(Node):
    """Physics and messages in one thread."""

    def __init__(self) -> None:
        super().__init__("go2_wire")
        posture = declare(self, "posture", "stand", "stance at the start")
        self._mode = declare(self, "mode", "normal", "what has the motors at the start; empty for nothing")
        self._sim = DogSim(Room(0), timestep=_STEP_S)
        self._sim.reset(*self._sim.pose()[:2], posture=posture)
        robot = self._sim.robot
        self._slots = slots(robot.joint_names, GO2_MOTORS)
        self._legs = [f"{name[:2]}" for name in GO2_MOTORS[::3]]
        self._own = robot.stance(posture)
        self._goal, self._goal_left = self._own, 0.0
        self._record, self._data = LOW_STATE_WIRE.new()
        self._record["head"], self._record["battery"]["soc"] = (0xFE, 0xEF), 80
        self._record["motor"]["temperature"][:12] = 35
        self._counts = [0, 0, 0]
        self._send_state = self.create_publisher(LowState, "lowstate", qos.STATE).publish
        self._send_counts = self.create_publisher(UInt32MultiArray, "go2_wire/counts", qos.STATE).publish
        self._send_truth = self.create_publisher(Float64MultiArray, "go2_wire/truth", qos.STATE).publish
        self._answers = {
            name: self.create_publisher(Response, f"api/{name}/response", qos.DIAGNOSTICS)
            for name in ("motion_switcher", "sport")
        }
        self._inputs = PolledSubscriptions(self)
        self._inputs.add_raw(LowCmd, "lowcmd", self._on_command, qos.SENSOR)
        self._inputs.add(UInt8MultiArray, "go2_wire/remote", self._on_remote, qos.SENSOR)
        for name in self._answers:
            self._inputs.add(Request, f"api/{name}/request", lambda m, name=name: self._on_request(name, m), qos.RECENT)
        self._ticks = self._told = 0
        self._ticker = Ticker(1.0 / _STEP_S, self._tick, "robot")
        self._ticker.start()

    def _on_remote(self, message: UInt8MultiArray) -> None:
        self._record["wireless_remote"] = np.frombuffer(message.data, np.uint8)

    def _on_command(self, message: bytes, _received: int) -> None:
        record, data = LOW_COMMAND_WIRE.decode(message)
        if record["crc"] != crc32_words(data[: LOW_COMMAND.itemsize - 4]) or tuple(record["head"]) != (0xFE, 0xEF):
            self._counts[1] += 1
        elif self._mode:
            self._counts[2] += 1
        else:
            self._counts[0] += 1
            motor = record["motor"][self._slots]
            q, dq, tau, kp, kd = (motor[field].astype(float) for field in ("q", "dq", "tau", "kp", "kd"))
            q[q == np.float32(IGNORE_POSITION)] = 0.0
            self._sim.apply(JointCommand(q, dq, tau, kp, kd))

    def _on_request(self, service: str, message: Request) -> None:
        api, data = message.header.identity.api_id, ""
        if (service, api) == ("motion_switcher", CHECK_MODE):
            data = json.dumps({"form": "0", "name": self._mode})
        elif (service, api) == ("motion_switcher", RELEASE_MODE):
            self._mode = ""
            self._sim.apply(JointCommand(*(np.zeros(12) for _ in range(5))))
        elif (service, api) == ("motion_switcher", SELECT_MODE):
            self._mode, self._own = json.loads(message.parameter)["name"], self._sim.joint_state().position
        elif (service, api) == ("sport", STAND_DOWN) and self._mode:
            self._goal, self._goal_left = self._sim.robot.stance("sit"), _LIE_DOWN_S
        answer = Response(data=data)
        answer.header.identity = message.header.identity
        self._answers[service].publish(answer)

    def _stand_by_itself(self) -> None:
        """The vendor's gait, as far as it is needed here: it holds a posture, and moves to another."""
        if self._goal_left > 0:
            self._own = self._own + (self._goal - self._own) * min(_STEP_S / self._goal_left, 1.0)
            self._goal_left -= _STEP_S
        zero = np.zeros(12)
        self._sim.apply(JointCommand(self._own, zero, zero, np.full(12, 60.0), np.full(12, 5.0)))

    def _tick(self, _now: float) -> None:
        self._inputs.poll()
        if self._mode:
            self._stand_by_itself()
        late = self._ticker.ticks - self._ticks  # a machine that stalls must not slow the world down
        self._sim.step(late * _STEP_S)
        self._ticks += late
        self._fill()
        self._send_state(LOW_STATE_WIRE.encode(self._data))
        if self._ticks - self._told >= 100:
            self._told = self._ticks
            self._send_counts(UInt32MultiArray(data=self._counts))
            self._send_truth(Float64MultiArray(data=[*self._sim.pose(), self._sim.tilt()]))

    def _fill(self) -> None:
        joints, imu, motor = self._sim.joint_state(), self._sim.imu(), self._record["motor"]
        motor["q"][self._slots], motor["dq"][self._slots] = joints.position, joints.velocity
        motor["tau_est"][self._slots] = joints.effort
        self._record["imu"]["quaternion"] = imu.orientation[[3, 0, 1, 2]]
        self._record["imu"]["gyroscope"], self._record["imu"]["accelerometer"] = (
            imu.angular_velocity,
            imu.linear_acceleration,
        )
        if self._ticks % 5 == 0:
            touched = " ".join(self._sim.status().contacts)
            self._record["foot_force"] = [_STANDING_N if f"{leg}_calf:floor" in touched else 0 for leg in self._legs]
        self._record["tick"] = 2 * self._ticks  # ms
        self._record["crc"] = crc32_words(self._data[: LOW_STATE.itemsize - 4])

    def close(self) -> None:
        """Stop the physics."""
        self._ticker.stop()


if __name__ == "__main__":
    run(Go2Wire)
