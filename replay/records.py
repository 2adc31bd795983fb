"""What comes out of a bag: messages, and the faults that kept others in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rosbags.interfaces import MessageDefinition

from jepa_ros.errors import JepaRosError


class BagError(JepaRosError):
    """A path is no bag, a message cannot be decoded, or a bag cannot be written any further."""


@dataclass(frozen=True)
class BagMessage:
    """One message as it was recorded.

    Attributes:
        topic: its full name.
        kind: its type, `sensor_msgs/msg/Image`.
        time: when it was recorded (log time), ns.
        data: CDR with its four byte header.
        offset: byte in the file at which the message, or the chunk that holds it, begins (of what the file unpacks to,
            where it is compressed as a whole); None where the storage has no such place.
    """

    topic: str
    kind: str
    time: int
    data: bytes
    offset: int | None


@dataclass(frozen=True)
class BagFault:
    """Something in a bag that could not be read.

    Attributes:
        path: of the file.
        offset: byte at which it begins, None where the storage has no such place.
        what: one sentence.
    """

    path: str
    offset: int | None
    what: str


# Told of each fault of a file: the offset and the sentence.
Report = Callable[[int | None, str], None]


class StorageFile(Protocol):
    """One file of a bag. Opening it finds out what it holds; only `messages` keeps it open.

    Attributes:
        path: of the file.
        topics: the kind of each topic.
        definitions: the definition of each kind that the file has one of.
        begin_ns, end_ns: log times of the first and the last message; None where there is none.
    """

    path: Path
    topics: dict[str, str]
    definitions: dict[str, MessageDefinition]
    begin_ns: int | None
    end_ns: int | None

    def messages(self, topics: Collection[str] | None) -> Iterator[BagMessage]:
        """Messages of these topics (None: of all) in the order of their log time."""
        ...
