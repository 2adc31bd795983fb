"""The walking policy: names, not indices; held commands; what is not a number is passed on to be refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from jepa_ros.errors import ModelError, RobotError
from jepa_ros.motion import LocomotionMotion
from jepa_ros.robots import RobotModel, load_robot
from jepa_ros.types import Imu, JointState

ROBOT = load_robot("go2")
LEVEL = Imu(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.0, 0.0, 9.81]))
DEFAULT = JointState(ROBOT.stance("walk"), np.zeros(12), np.zeros(12))


def robot_whose_policy_is(tmp_path: Path, weights: np.ndarray) -> RobotModel:
    """A Go2 whose policy is `observation @ weights`, `[45, 12]`."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["obs", "w"], ["actions"])],
        "policy",
        [helper.make_tensor_value_info("obs", TensorProto.FLOAT, [1, weights.shape[0]])],
        [helper.make_tensor_value_info("actions", TensorProto.FLOAT, [1, weights.shape[1]])],
        [onnx.numpy_helper.from_array(weights.astype(np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "linear.onnx")
    block = ROBOT.locomotion.model_copy(update={"policy": "linear.onnx"})
    return ROBOT.model_copy(update={"locomotion": block, "folder": tmp_path})


def test_standing_still_asks_for_targets_near_the_default_stance():
    motion = LocomotionMotion(ROBOT)
    raw = motion.targets(np.zeros(3), DEFAULT, LEVEL)
    assert raw.shape == (12,)
    assert np.abs(raw - DEFAULT.position).max() < 0.6
    assert motion.rate_hz == 50.0


def test_outputs_go_to_the_joints_the_policy_names(tmp_path: Path):
    weights = np.zeros((45, 12))
    weights[6, 0] = 1.0  # vx → FR_hip
    weights[8, 11] = 1.0  # wz → RL_calf
    motion = LocomotionMotion(robot_whose_policy_is(tmp_path, weights))
    offset = motion.targets(np.array([0.5, 0.0, -0.4]), DEFAULT, LEVEL) - DEFAULT.position
    found = {name: value for name, value in zip(ROBOT.joint_names, offset, strict=True) if abs(value) > 1e-9}
    assert found == pytest.approx({"FR_hip_joint": 0.5 * 0.125, "RL_calf_joint": -0.4 * 0.25})


def test_observation_reads_each_joint_by_name(tmp_path: Path):
    weights = np.zeros((45, 12))
    weights[9:21] = np.eye(12)  # position offset → same joint's action
    motion = LocomotionMotion(robot_whose_policy_is(tmp_path, weights))
    position = DEFAULT.position.copy()
    position[ROBOT.joint_names.index("RL_thigh_joint")] += 0.2
    offset = motion.targets(np.zeros(3), JointState(position, np.zeros(12), np.zeros(12)), LEVEL) - DEFAULT.position
    found = {name: value for name, value in zip(ROBOT.joint_names, offset, strict=True) if abs(value) > 1e-6}
    assert found == pytest.approx({"RL_thigh_joint": 0.2 * 0.25}, abs=1e-6)


def test_last_action_is_fed_back_until_reset(tmp_path: Path):
    weights = np.zeros((45, 12))
    weights[33:45] = 2.0 * np.eye(12)  # last action, doubled
    weights[6, 0] = 1.0
    motion = LocomotionMotion(robot_whose_policy_is(tmp_path, weights))
    hip = ROBOT.joint_names.index("FR_hip_joint")
    go, stay = np.array([1.0, 0.0, 0.0]), np.zeros(3)
    assert motion.targets(go, DEFAULT, LEVEL)[hip] == pytest.approx(0.125)
    assert motion.targets(stay, DEFAULT, LEVEL)[hip] == pytest.approx(0.25)
    motion.reset(DEFAULT)
    assert motion.targets(stay, DEFAULT, LEVEL)[hip] == 0.0


def test_command_is_held_to_what_the_policy_was_trained_for():
    fast, limit = LocomotionMotion(ROBOT), LocomotionMotion(ROBOT)
    most = np.array(ROBOT.locomotion.command_high)
    np.testing.assert_array_equal(fast.targets(most * 50, DEFAULT, LEVEL), limit.targets(most, DEFAULT, LEVEL))


def test_actions_are_taken_by_name_and_the_rest_is_zero():
    whole, part = LocomotionMotion(ROBOT), LocomotionMotion(ROBOT, ("wz", "vx"))
    expected = whole.targets(np.array([0.3, 0.0, 0.5]), DEFAULT, LEVEL)
    np.testing.assert_array_equal(part.targets(np.array([0.5, 0.3]), DEFAULT, LEVEL), expected)


def test_not_a_number_comes_out_where_it_went_in_and_reset_heals():
    motion = LocomotionMotion(ROBOT)
    assert np.isnan(motion.targets(np.array([np.nan, 0.0, 0.0]), DEFAULT, LEVEL)).any()
    motion.reset(DEFAULT)
    assert np.isfinite(motion.targets(np.zeros(3), DEFAULT, LEVEL)).all()


def test_a_policy_of_another_shape_is_refused(tmp_path: Path):
    with pytest.raises(ModelError, match="do not fit the 12 joints"):
        LocomotionMotion(robot_whose_policy_is(tmp_path, np.zeros((48, 12))))


def test_action_names_must_be_velocities_once_each():
    with pytest.raises(RobotError, match="walking takes vx, vy, wz"):
        LocomotionMotion(ROBOT, ("vx", "vx"))
    with pytest.raises(RobotError, match="walking takes vx, vy, wz"):
        LocomotionMotion(ROBOT, ("roll",))
