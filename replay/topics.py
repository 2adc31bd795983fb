"""Which topic of a bag plays which part. A topic is found by its name's ending and its type, or told by a remap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jepa_ros_replay.bags import BagError


@dataclass(frozen=True)
class Role:
    """A part that a topic plays: its usual name, and the types that it may have."""

    name: str
    topic: str
    kinds: tuple[str, ...]


_IMAGES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
ROLES = (
    Role("camera", "camera/image_raw", _IMAGES),
    Role("camera_info", "camera/camera_info", ("sensor_msgs/msg/CameraInfo",)),
    Role("joint_states", "joint_states", ("sensor_msgs/msg/JointState",)),
    Role("imu", "imu", ("sensor_msgs/msg/Imu",)),
    Role("applied_action", "applied_action", ("jepa_ros_msgs/msg/AppliedAction",)),
    Role("joint_commands", "joint_commands", ("jepa_ros_msgs/msg/JointCommand",)),
    Role("goal", "goal", ("jepa_ros_msgs/msg/Goal",)),
    Role("odometry", "ground_truth/odom", ("nav_msgs/msg/Odometry",)),
)


def find_topics(topics: Mapping[str, str], remaps: Iterable[tuple[str, str]] = ()) -> dict[str, str]:
    """The bag's topic for each role.

    Args:
        topics: name → type of everything in the bag.
        remaps: (usual name, name in the bag), as in `camera/image_raw:=/front/image`.

    Raises:
        BagError: a remap names what is not there or has another type, or several topics fit a role equally well.
    """
    told = {usual.strip("/"): name for usual, name in remaps}
    if unknown := set(told) - {role.topic for role in ROLES}:
        known = ", ".join(role.topic for role in ROLES)
        raise BagError(f"remap {sorted(unknown)[0]}: no such input; there are {known}")
    found = {}
    for role in ROLES:
        if role.topic in told:
            name = told[role.topic]
            if topics.get(name) not in role.kinds:
                has = f"is {topics[name]}" if name in topics else f"is none of {', '.join(sorted(topics)) or 'nothing'}"
                raise BagError(f"remap {role.topic}:={name}: {has}, not {' or '.join(role.kinds)}")
            found[role.name] = name
            continue
        endings = [f"/{role.topic}"] + ([f"/{role.topic}/compressed"] if role.name == "camera" else [])
        for ending in endings:
            fits = sorted(name for name, kind in topics.items() if kind in role.kinds and f"/{name}".endswith(ending))
            if len(fits) > 1:
                raise BagError(f"{' and '.join(fits)} both look like {role.topic}: choose with a remap {role.topic}:=…")
            if fits:
                found[role.name] = fits[0]
                break
    return found
