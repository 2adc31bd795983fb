"""Outputs of positions alone: which posture is held while damped, and whose order of joints is believed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from jepa_ros.robots import load_robot
from jepa_ros.safety import damping_command
from jepa_ros_nodes import qos
from jepa_ros_nodes.conversions import stamp
from jepa_ros_nodes.outputs.controller_joints import ControllerJoints
from jepa_ros_nodes.outputs.factory import make_output

from .conftest import Rig

pytestmark = pytest.mark.dds
GO2 = load_robot("go2")
NAMES = list(GO2.joint_names)


class Damped:
    """An output of positions alone that is only ever damped, as command_watchdog's is, and what it says."""

    def __init__(self, rig: Rig, kind: str, tmp_path: Path) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text(
            f"extends: go2\nname: mine\noutput: {{kind: {kind}{', check_order: false' * (kind[0] == 'f')}}}\n"
        )
        self.rig, self.robot = rig, load_robot(path)
        self.output = make_output(rig.probe, self.robot)
        message = Float64MultiArray if kind == "forward_command" else JointTrajectory
        self.heard = rig.listen(message, self.robot.output.command_topic, qos.RECENT)
        self._states = rig.probe.create_publisher(JointState, "joint_states", qos.STATE)
        self._clock = 100.0

    def measure(self, position: np.ndarray) -> None:
        """Joints are measured there for a while."""
        for _ in range(5):
            self._states.publish(JointState(name=NAMES, position=position.tolist(), velocity=[0.0] * 12))
            self.rig.spin(0.05)

    def known(self) -> bool:
        self.measure(GO2.stance("sit"))
        return self.output.refusal() is None

    def damp(self) -> list[float]:
        """Damp until it is heard; the last posture."""
        before = len(self.heard)

        def held() -> bool:
            self._clock += 0.02
            self.output.damp(stamp(self._clock), damping_command(self.robot))
            self.rig.spin(0.02)
            return len(self.heard) > before + 2

        self.rig.wait("a posture to be held", held)
        last = self.heard[-1][1]
        return list(last.data) if isinstance(last, Float64MultiArray) else list(last.points[-1].positions)


@pytest.mark.parametrize("kind", ["forward_command", "trajectory"])
def test_a_later_damping_holds_where_the_joints_are_then(rig: Rig, tmp_path: Path, kind: str):
    damped = Damped(rig, kind, tmp_path)
    rig.wait("all joints to be seen", damped.known)
    assert damped.damp() == pytest.approx(GO2.stance("sit"))
    damped.measure(GO2.stance("stand"))  # 0.25 s without damping: commands flow, or somebody moved it
    assert damped.damp() == pytest.approx(GO2.stance("stand"))


def test_while_it_lasts_the_posture_stays(rig: Rig, tmp_path: Path):
    damped = Damped(rig, "forward_command", tmp_path)
    rig.wait("all joints to be seen", damped.known)
    damped.damp()
    for _ in range(5):
        damped._states.publish(JointState(name=NAMES, position=GO2.stance("walk").tolist(), velocity=[0.0] * 12))
        assert damped.damp() == pytest.approx(GO2.stance("sit"))


@pytest.mark.parametrize("bad", [np.nan, 5.0], ids=["not a number", "no joint can be there"])
def test_joints_that_are_measured_wrong_are_held_where_they_were_last_measured_well(
    rig: Rig, tmp_path: Path, bad: float
):
    damped = Damped(rig, "forward_command", tmp_path)
    rig.wait("all joints to be seen", damped.known)
    damped.measure(GO2.stance("stand"))
    damped.measure(np.full(12, bad))
    assert damped.damp() == pytest.approx(GO2.stance("stand"))
    assert damped.output.refusal() is None
    damped.output.send(Time(), None, None)


def controller(rig: Rig, joints: list[str] | None) -> Node:
    """A controller's node, with its parameter `joints` or without."""
    overrides = [] if joints is None else [Parameter("joints", value=joints)]
    node = Node("slow_controller", context=rig.context, parameter_overrides=overrides,
                automatically_declare_parameters_from_overrides=True)  # fmt: skip
    rig.add_node(node)
    return node


def test_a_controller_is_waited_for_asked_and_asked_again_when_it_comes_back(rig: Rig):
    asked = ControllerJoints(rig.probe, "slow_controller", NAMES)
    rig.spin(3.5)
    assert "waiting for slow_controller" in asked.problem()
    first = controller(rig, NAMES[::-1])
    rig.wait("the order to be found wrong", lambda: "make them alike" in (asked.problem() or ""))
    rig.remove_node(first)
    rig.wait("it to be missed", lambda: "waiting for slow_controller" in (asked.problem() or ""))
    controller(rig, NAMES)
    rig.wait("the order to be found right", lambda: asked.problem() is None)
    asked.close()


def test_the_file_is_believed_on_an_answer_without_the_parameter(rig: Rig):
    asked = ControllerJoints(rig.probe, "slow_controller", NAMES)
    controller(rig, None)
    rig.wait("an answer", lambda: asked.problem() is None)
    asked.close()
