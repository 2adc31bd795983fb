"""The Go2's URDF against the model that the simulator runs, and how a bad URDF is refused."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_ros.errors import RobotError
from jepa_ros.robots import load_robot
from jepa_ros.robots.description import frames, poses, rotate, urdf_text
from jepa_ros_simulation.dog import _robot_description

ROBOT = load_robot("go2")
TREE = frames(urdf_text(ROBOT))
MODEL = mujoco.MjModel.from_xml_path(str(_robot_description()))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=12, max_size=12))
def test_forward_kinematics_agree_with_mujoco(share: list[float]):
    values = ROBOT.lower + np.array(share) * (ROBOT.upper - ROBOT.lower)
    data = mujoco.MjData(MODEL)
    data.qpos[:7] = [0, 0, 0, 1, 0, 0, 0]
    for name, value in zip(ROBOT.joint_names, values, strict=True):
        data.qpos[MODEL.joint(name).qposadr[0]] = value
    mujoco.mj_kinematics(MODEL, data)
    found = poses(TREE, dict(zip(ROBOT.joint_names, values.tolist(), strict=True)))
    for leg in ("FL", "FR", "RL", "RR"):
        for part in ("hip", "thigh", "calf"):
            xyz, rotation = found[f"{leg}_{part}"]
            body = data.body(f"{leg}_{part}")
            np.testing.assert_allclose(xyz, body.xpos, atol=1e-6)
            turned = np.stack([rotate(rotation, axis) for axis in np.eye(3)], axis=1)
            np.testing.assert_allclose(turned, body.xmat.reshape(3, 3), atol=1e-6)
    np.testing.assert_allclose(found["imu_link"][0], data.site("imu").xpos, atol=1e-6)


def test_ranges_are_those_of_the_robot_file():
    limits = {
        joint.get("name"): joint.find("limit") for joint in ElementTree.fromstring(urdf_text(ROBOT)).iter("joint")
    }
    for joint in ROBOT.joints:
        found = limits[joint.name]
        assert found is not None
        for field in ("lower", "upper", "effort", "velocity"):
            assert float(found.get(field)) == getattr(joint, field)


def test_the_camera_looks_along_its_optical_z_axis():
    found = poses(TREE, {})
    xyz, rotation = found["camera_optical_frame"]
    np.testing.assert_allclose(xyz, ROBOT.camera.mount.xyz, atol=1e-8)
    np.testing.assert_allclose(rotate(rotation, np.array([0.0, 0.0, 1.0])), [1, 0, 0], atol=1e-8)  # forward
    np.testing.assert_allclose(rotate(rotation, np.array([1.0, 0.0, 0.0])), [0, -1, 0], atol=1e-8)  # right
    np.testing.assert_allclose(rotate(rotation, np.array([0.0, 1.0, 0.0])), [0, 0, -1], atol=1e-8)  # down


def test_the_simulated_dog_has_its_camera_where_the_simulator_renders_from():
    found = poses(frames(urdf_text(load_robot("go2_sim"))), {})
    np.testing.assert_allclose(found["camera_link"][0], [0.32, 0.0, 0.06])


LINKS = '<link name="a"/><link name="b"/>'
JOINT = '<joint name="j" type="{}"><parent link="a"/><child link="b"/>{}</joint>'


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (LINKS, "the roots are [a, b]"),
        (LINKS + JOINT.format("floating", ""), "joint j: type floating is not supported"),
        (LINKS + JOINT.format("revolute", '<axis xyz="0 0 0"/>'), "joint j: axis has no length"),
        (LINKS + JOINT.format("revolute", '<origin xyz="0 nan 0"/>'), "joint j: origin xyz='0 nan 0'"),
        (LINKS + JOINT.format("revolute", '<origin rpy="0 0"/>'), "joint j: origin rpy='0 0'"),
        (LINKS + '<joint name="j" type="fixed"><child link="b"/></joint>', "joint j: has no parent"),
        ("<", "URDF:"),
        ('<!DOCTYPE x [<!ENTITY y "z">]>', "a document type or entity has no place in it"),
    ],
)
def test_a_bad_urdf_is_refused(body: str, sentence: str):
    with pytest.raises(RobotError) as refused:
        frames(f"<robot>{body}</robot>")
    assert sentence in str(refused.value)


def test_a_robot_without_a_description_says_so(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: go2\nname: mine\ndescription: absent.urdf\n")
    with pytest.raises(RobotError, match=r"description .*absent\.urdf: cannot be read"):
        urdf_text(load_robot(path))
    with pytest.raises(RobotError, match="names no URDF"):
        urdf_text(load_robot("generic"))
