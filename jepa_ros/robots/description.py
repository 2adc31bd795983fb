"""A robot's URDF as a tree of frames: read, completed by the camera's frames, and its forward kinematics."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jepa_ros.errors import RobotError
from jepa_ros.robots.model import RobotModel
from jepa_ros.types import Float64

CAMERA_LINK = "camera_link"
_MOVES = ("revolute", "continuous", "prismatic")
# REP-103: an optical frame looks along z, with x to the right and y down.
_OPTICAL_RPY = (-np.pi / 2, 0.0, -np.pi / 2)


@dataclass(frozen=True)
class Frame:
    """One URDF joint: where `child` is in `parent`.

    Attributes:
        joint, parent, child: names.
        moves: revolute, continuous, prismatic, or fixed.
        xyz: `[3]` m.
        rotation: `[4]` quaternion x, y, z, w of the origin.
        axis: `[3]`, of length one.
    """

    joint: str
    parent: str
    child: str
    moves: str
    xyz: Float64
    rotation: Float64
    axis: Float64

    def at(self, value: float) -> tuple[Float64, Float64]:
        """Position `[3]` m and quaternion `[4]` x, y, z, w of `child` in `parent` at a joint value, rad or m."""
        if self.moves == "prismatic":
            return self.xyz + rotate(self.rotation, self.axis * value), self.rotation
        if self.moves == "fixed":
            return self.xyz, self.rotation
        half = value / 2
        return self.xyz, product(self.rotation, np.append(self.axis * np.sin(half), np.cos(half)))


def product(a: Float64, b: Float64) -> Float64:
    """Of two quaternions x, y, z, w: `b` first, then `a`."""
    turned = a[3] * b[:3] + b[3] * a[:3] + np.cross(a[:3], b[:3])
    return np.append(turned, a[3] * b[3] - a[:3] @ b[:3])


def rotate(quaternion: Float64, vector: Float64) -> Float64:
    """A vector `[3]` turned by a quaternion x, y, z, w."""
    twice = 2.0 * np.cross(quaternion[:3], vector)
    turned: Float64 = vector + quaternion[3] * twice + np.cross(quaternion[:3], twice)
    return turned


def from_rpy(roll: float, pitch: float, yaw: float) -> Float64:
    """Quaternion x, y, z, w of URDF's fixed-axis roll, pitch, yaw in rad."""
    (sr, cr), (sp, cp), (sy, cy) = ((np.sin(a / 2), np.cos(a / 2)) for a in (roll, pitch, yaw))
    return np.array(
        [
            sr * cp * cy - cr * sp * sy,
            cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy,
            cr * cp * cy + sr * sp * sy,
        ]
    )


def urdf_text(robot: RobotModel) -> str:
    """The robot's URDF. Where it has no camera, `camera_link` and the optical frame of the robot file's camera are
    added, so that the mount is said once.

    Raises:
        RobotError: the file names no URDF, or one that cannot be read.
    """
    path = robot.urdf
    if path is None:
        raise RobotError(f"robot {robot.name}: description: names no URDF; give one for robot_description and tf")
    try:
        root = _parsed(path.read_text())
    except (OSError, UnicodeDecodeError, RobotError) as error:
        raise RobotError(f"robot {robot.name}: description {path}: cannot be read: {error}") from error
    links = {link.get("name") for link in root.iter("link")}
    if robot.camera is not None and CAMERA_LINK not in links:
        mount = robot.camera.mount
        _add_frame(root, "base_link", CAMERA_LINK, tuple(mount.xyz), tuple(mount.rpy))
        _add_frame(root, CAMERA_LINK, robot.camera.frame, (0.0, 0.0, 0.0), _OPTICAL_RPY)
    return ElementTree.tostring(root, encoding="unicode")


def _parsed(text: str) -> ElementTree.Element:
    if "<!" in text.replace("<!--", ""):
        raise RobotError("URDF: a document type or entity has no place in it")
    try:
        return ElementTree.fromstring(text)  # noqa: S314 - what makes XML dangerous was refused above
    except ElementTree.ParseError as error:
        raise RobotError(f"URDF: {error}") from error


def _add_frame(
    root: ElementTree.Element, parent: str, child: str, xyz: tuple[float, ...], rpy: tuple[float, ...]
) -> None:
    ElementTree.SubElement(root, "link", name=child)
    joint = ElementTree.SubElement(root, "joint", name=f"{child}_joint", type="fixed")
    ElementTree.SubElement(joint, "parent", link=parent)
    ElementTree.SubElement(joint, "child", link=child)
    ElementTree.SubElement(joint, "origin", xyz=_text(xyz), rpy=_text(rpy))


def _text(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.9g}" for value in values)


def frames(urdf: str) -> list[Frame]:
    """The frames of a URDF, each after its parent.

    Raises:
        RobotError: it is no tree with one root, or a joint cannot be used; the joint and field are named.
    """
    root = _parsed(urdf)
    found = [_frame(joint) for joint in root.findall("joint")]
    parents = {frame.child: frame for frame in found}
    roots = {str(link.get("name")) for link in root.findall("link")} - set(parents)
    if len(roots) != 1 or len(parents) != len(found):
        raise RobotError(f"URDF: must be a tree with one root, the roots are [{', '.join(sorted(roots))}]")
    ordered: list[Frame] = []
    known = set(roots)
    while left := [frame for frame in found if frame.child not in known]:
        ready = [frame for frame in left if frame.parent in known]
        if not ready:
            raise RobotError(f"URDF: joint {left[0].joint}: its parent {left[0].parent} does not hang from the root")
        ordered += ready
        known |= {frame.child for frame in ready}
    return ordered


def _frame(joint: ElementTree.Element) -> Frame:
    name, moves = str(joint.get("name")), str(joint.get("type"))
    if moves not in (*_MOVES, "fixed"):
        raise RobotError(f"URDF: joint {name}: type {moves} is not supported; it is {', '.join(_MOVES)} or fixed")
    parent, child = joint.find("parent"), joint.find("child")
    if parent is None or child is None:
        raise RobotError(f"URDF: joint {name}: has no parent or no child")
    axis = _numbers(joint, name, "axis", "xyz", "1 0 0")
    length = float(np.linalg.norm(axis))
    if moves != "fixed" and length == 0.0:
        raise RobotError(f"URDF: joint {name}: axis has no length")
    rpy = _numbers(joint, name, "origin", "rpy", "0 0 0")
    xyz = _numbers(joint, name, "origin", "xyz", "0 0 0")
    unit = axis / length if length else axis
    return Frame(name, str(parent.get("link")), str(child.get("link")), moves, xyz, from_rpy(*rpy.tolist()), unit)


def _numbers(joint: ElementTree.Element, name: str, tag: str, field: str, default: str) -> Float64:
    found = joint.find(tag)
    text = default if found is None else found.get(field, default)
    try:
        values = np.array([float(part) for part in text.split()])
    except ValueError:
        values = np.zeros(0)
    if values.shape != (3,) or not np.isfinite(values).all():
        raise RobotError(f"URDF: joint {name}: {tag} {field}={text!r} must be three numbers")
    return values


def poses(tree: list[Frame], joints: Mapping[str, float]) -> dict[str, tuple[Float64, Float64]]:
    """Position `[3]` m and quaternion `[4]` x, y, z, w of every link in the root's frame.

    Args:
        tree: as `frames` gives it.
        joints: values in rad or m by joint name; 0 for those left out.
    """
    found: dict[str, tuple[Float64, Float64]] = {}
    for frame in tree:
        base, turn = found.get(frame.parent, (np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0])))
        xyz, rotation = frame.at(joints.get(frame.joint, 0.0))
        found[frame.child] = (base + rotate(turn, xyz), product(turn, rotation))
    return found
