"""Writes a rosbag2 that can be read however its writer ends.

MCAP in chunks, each compressed by itself and with a checksum. A chunk goes to the file as soon as it is full or a
second old, so that after a kill everything but the last second is there; `bags.Bag` needs neither the index nor
metadata.yaml, which come at the end. rosbags does the definitions' hashes and metadata.yaml, the mcap library the file.
"""

from __future__ import annotations

import errno
import time
from contextlib import suppress
from pathlib import Path

from mcap.writer import CompressionType
from mcap.writer import Writer as McapLibrary
from rosbags.interfaces import Connection, MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as RosbagsWriter
from rosbags.rosbag2.errors import WriterError

from jepa_ros_replay.records import BagError
from jepa_ros_replay.typestores import DECODING, store_of

CHUNK_BYTES = 768 * 1024  # as ros2 bag has it
CHUNK_S = 1.0
_COMPRESSIONS = {"zstd": CompressionType.ZSTD, "lz4": CompressionType.LZ4, "none": CompressionType.NONE}
_ENCODINGS = {MessageDefinitionFormat.MSG: "ros2msg", MessageDefinitionFormat.IDL: "ros2idl"}


class _ChunkedFile:
    """The storage of a rosbags Writer: one MCAP file whose chunks are on the disk once they are complete.

    Attributes:
        path: of the file.
        stored: messages in complete chunks.
        size: bytes in the file up to the last complete chunk.
    """

    def __init__(self, folder: Path, compression: CompressionType) -> None:
        self.path = folder / f"{folder.name}.mcap"
        self.stored = self.size = 0
        self._waiting, self._bytes, self._since = 0, 0, time.monotonic()
        self._file = self.path.open("xb")
        # The chunks are ended here and not by the library, to know what is on the disk.
        self._mcap = McapLibrary(self._file, chunk_size=1 << 62, compression=compression)
        self._mcap.start(profile="ros2", library="jepa_ros")
        self._schemas: dict[str, int] = {}
        self._channels: dict[int, int] = {}

    def add_msgtype(self, connection: Connection) -> None:
        """A kind that was not there before."""
        definition = connection.msgdef
        encoding, data = _ENCODINGS[definition.format], definition.data.encode()
        self._schemas[connection.msgtype] = self._mcap.register_schema(connection.msgtype, encoding, data)

    def add_connection(self, connection: Connection, offered_qos_profiles: str) -> None:
        """A topic that was not there before."""
        about = {"offered_qos_profiles": offered_qos_profiles, "topic_type_hash": connection.digest}
        schema = self._schemas[connection.msgtype]
        self._channels[connection.id] = self._mcap.register_channel(connection.topic, "cdr", schema, about)

    def write(self, connection: Connection, timestamp: int, data: bytes | memoryview) -> None:
        """One message."""
        if not self._waiting:
            self._since = time.monotonic()
        self._mcap.add_message(self._channels[connection.id], timestamp, bytes(data), timestamp)
        self._waiting += 1
        self._bytes += len(data)
        if self._bytes >= CHUNK_BYTES:
            self.end_chunk()

    def end_chunk(self, older_than: float = 0.0) -> None:
        """Send what is there to the disk, if its oldest is older than that, s."""
        if self._waiting and time.monotonic() - self._since >= older_than:
            self._mcap.flush()
            self.stored += self._waiting
            self._waiting = self._bytes = 0
            self.size = self._file.tell()

    def close(self, version: int, metadata: str) -> None:
        """The index and the end."""
        self.end_chunk()
        self._mcap.add_metadata("rosbag2", {"serialized_metadata": metadata})
        self._mcap.finish()
        self.size = self._file.tell()
        self._file.close()

    def abort(self) -> None:
        """Leave the file as it is."""
        with suppress(OSError):  # what could not be written still cannot
            self._file.close()


class BagWriter:
    """Writes a new bag.

    Args:
        path: folder of the bag, which must not exist yet.
        compression: of the chunks; zstd, lz4 or none.

    Attributes:
        path: as given.
        messages: written so far.
        size: bytes on the disk so far; what is younger than a second or less than a chunk is not counted.

    Raises:
        BagError: the folder exists, cannot be made, or there is no such compression.
    """

    def __init__(self, path: Path, compression: str = "zstd") -> None:
        if compression not in _COMPRESSIONS:
            raise BagError(f"bag {path}: compression must be one of {', '.join(_COMPRESSIONS)}, not {compression!r}")
        self.path, self.messages = path, 0
        self._connections: dict[str, Connection] = {}
        try:
            self._bag = RosbagsWriter(path, version=9, storage_plugin=StoragePlugin.MCAP)
            path.mkdir(parents=True)
            self._file = _ChunkedFile(path, _COMPRESSIONS[compression])
        except WriterError as error:
            raise BagError(f"bag {path}: exists already; give another path") from error
        except OSError as error:
            raise BagError(f"bag {path}: cannot be made: {error.strerror}") from error
        self._bag.storage = self._file
        self._open = True

    @property
    def size(self) -> int:
        return self._file.size

    def add_topic(self, topic: str, kind: str, definition: str) -> None:
        """Say what comes on a topic, before its first message.

        Args:
            topic: full name.
            kind: `package/msg/Type`.
            definition: text of the kind's definition with all that it needs, see `typestores.known_definition`.

        Raises:
            BagError: the topic was added before, the definition is none of the kind, or the writer is closed.
        """
        if topic in self._connections:
            raise BagError(f"bag {self.path}: topic {topic} was added before")
        self._check_open()
        try:
            form = MessageDefinitionFormat.IDL if definition.startswith("=" * 80) else MessageDefinitionFormat.MSG
            digest = store_of(MessageDefinition(form, definition), kind).hash_rihs01(kind)
        except DECODING as error:
            raise BagError(
                f"bag {self.path}: the definition given for {topic} does not define {kind}: {error}"
            ) from error
        self._connections[topic] = self._bag.add_connection(topic, kind, msgdef=definition, rihs01=digest)

    def write(self, topic: str, time_ns: int, data: bytes) -> None:
        """Add a message.

        Args:
            topic: that was added.
            time_ns: log time.
            data: CDR.

        Raises:
            BagError: the topic was not added, the disk is full or gone (what was written before stays readable, and the
                writer is closed), or the writer was closed before.
        """
        self._check_open()
        if topic not in self._connections:
            raise BagError(f"bag {self.path}: topic {topic} was not added")
        try:
            self._bag.write(self._connections[topic], time_ns, data)
            self.messages += 1
            self._file.end_chunk(CHUNK_S)
        except OSError as error:
            raise self._failed(error) from error

    def flush(self, older_than: float = 0.0) -> None:
        """Send to the disk what has waited longer than that, s. `write` does so by itself after a second; a caller to
        whom no message may come for a while calls this now and then.

        Raises:
            BagError: the disk is full or gone; the writer is closed.
        """
        self._check_open()
        try:
            self._file.end_chunk(older_than)
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Write the index and metadata.yaml; nothing if the writer is closed already.

        Raises:
            BagError: there is no room for them; the messages are readable without.
        """
        if not self._open:
            return
        try:
            self._bag.close()
            self._open = False
        except OSError as error:
            raise self._failed(error) from error

    def _check_open(self) -> None:
        if not self._open:
            raise BagError(f"bag {self.path}: is closed, nothing more can be written")

    def _failed(self, error: OSError) -> BagError:
        self._open = False
        self._bag.abort()
        self._file.abort()
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        why = "the disk is full" if full else f"cannot be written any further ({error.strerror})"
        kept = f"{self._file.stored} of {self.messages} messages ({self.size / 1e6:.1f} MB) are saved and readable"
        return BagError(f"bag {self.path}: {why}; {kept}")
