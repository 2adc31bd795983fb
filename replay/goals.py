"""What a replay drives to: a goal of one's own, those that the bag recorded, or its last frame."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from jepa_ros.bundle.loader import Bundle
from jepa_ros.errors import ImageError
from jepa_ros.messages import image_view
from jepa_ros.types import UInt8
from jepa_ros_replay.bags import Bag, BagError
from jepa_ros_replay.topics import find_topics

MOMENT = re.compile(r"(?P<bag>.+)@(?P<seconds>\d+(\.\d+)?)s?")
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp")
FROM_START = 0


@dataclass(frozen=True)
class Goal:
    """A goal of a replay.

    Attributes:
        time: ns of the bag's clock from which on it is driven to; `FROM_START` for the first message.
        what: for people.
        image: RGB `[h, w, 3]` to be encoded.
        identity: 16 bytes, the same for the same goal in every replay.
    """

    time: int
    what: str
    image: UInt8

    @property
    def identity(self) -> bytes:
        """Of what is shown and from when on."""
        digest = hashlib.sha256(self.image.tobytes())
        digest.update(str(self.time).encode())
        return digest.digest()[:16]


def goals_for(bag: Bag, topics: dict[str, str], bundle: Bundle, asked: str) -> list[Goal]:
    """The goals of a replay, in time order.

    Args:
        bag, topics: what is replayed, and its topic for each role.
        bundle: knows named goals.
        asked: a name in the bundle, an image file, `BAG@12.5s`; empty takes the bag's own, else its last frame.

    Raises:
        JepaRosError: what was asked for is not there.
    """
    if asked:
        return [Goal(FROM_START, asked, asked_image(bundle, asked))]
    recorded = _recorded(bag, topics, bundle) if "goal" in topics else []
    return recorded or [Goal(FROM_START, "the bag's last frame", last_frame(bag, topics["camera"]))]


def asked_image(bundle: Bundle, asked: str) -> UInt8:
    """RGB `[h, w, 3]` of a goal named in the bundle, of an image file, or of the frame at a moment of a bag.

    Raises:
        JepaRosError: there is none; the message says where it was looked for.
    """
    moment = MOMENT.fullmatch(asked)
    if moment is not None:
        return frame_at(Path(moment["bag"]), float(moment["seconds"]))
    if asked.lower().endswith(_IMAGES):
        image = cv2.imread(asked, cv2.IMREAD_COLOR) if Path(asked).is_file() else None
        if image is None:
            raise ImageError(f"goal image {asked}: no such file, or not an image")
        return np.ascontiguousarray(image[..., ::-1], dtype=np.uint8)
    return bundle.goal_image(asked)


def frame_at(path: Path, seconds: float) -> UInt8:
    """The camera frame of a bag at so many seconds after its first message: the last one not later.

    Raises:
        BagError: no camera, or no frame by then.
    """
    bag = Bag(path)
    topics = find_topics(bag.topics)
    if "camera" not in topics:
        raise BagError(f"bag {path}: has no camera topic to take a goal from")
    begin: int | None = None
    newest = None
    for message in bag.messages():
        begin = message.time if begin is None else begin
        if message.time - begin > seconds * 1e9:
            break
        if message.topic == topics["camera"]:
            newest = message
    else:
        length = 0.0 if begin is None else (message.time - begin) * 1e-9
        if seconds > length + 1.0:
            raise BagError(f"bag {path}: is {length:.1f} s long, there is no frame at {seconds} s")
    if newest is None:
        raise BagError(f"bag {path}: has no camera frame in its first {seconds} s")
    return np.array(image_view(bag.deserialize(newest)))


def last_frame(bag: Bag, topic: str) -> UInt8:
    """The last camera frame that can be decoded.

    Raises:
        BagError: there is none.
    """
    newest = None
    for message in bag.messages([topic]):
        newest = message
    if newest is None:
        raise BagError(f"bag {bag.path}: {topic} holds no frame")
    try:
        return np.array(image_view(bag.deserialize(newest)))
    except ImageError as error:
        raise BagError(f"bag {bag.path}: its last frame cannot be the goal ({error}); give one with --goal") from error


def _recorded(bag: Bag, topics: dict[str, str], bundle: Bundle) -> list[Goal]:
    """The goals on the bag's own goal topic that can be shown to this bundle."""
    found = []
    for message in bag.messages([topics["goal"]]):
        goal = bag.deserialize(message)
        if goal.image.width and goal.image.height:
            found.append(Goal(message.time, goal.name or "a recorded goal image", np.array(image_view(goal.image))))
        elif goal.name in bundle.goal_names():
            found.append(Goal(message.time, goal.name, bundle.goal_image(goal.name)))
    return found
