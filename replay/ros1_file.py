"""One ROS 1 bag, whole or damaged. Its messages become CDR; those of a type that ROS 2 has become ROS 2's.

The file is seen as its chunks. Where they lie is read from the index at its end; where that is missing or broken (the
recorder was killed, the file was cut), one pass over the file finds them. rosbags reads the records of either; its own
reader is not used, since it refuses a bag without an index.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from rosbags.convert.converter import is_same_wireformat, migrate_bytes
from rosbags.interfaces import Connection, MessageDefinition
from rosbags.rosbag1.reader import Header, Reader, ReaderError, RecordType, read_bytes, read_uint32
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from jepa_ros_replay.packed_files import unpacked
from jepa_ros_replay.records import BagError, BagMessage, Report
from jepa_ros_replay.time_order import in_time_order
from jepa_ros_replay.typestores import DECODING, known_types, parse

_MAGIC = b"#ROSBAG V2.0\n"
# What rosbags and the decompressors raise over damaged bytes.
_BROKEN = (ReaderError, *DECODING, OSError, EOFError, RuntimeError)


@dataclass
class _Chunk:
    """Where a chunk begins, and the log times of its first and last message, ns."""

    offset: int
    begin: int
    last: int


class Ros1File:
    """See `StorageFile`.

    Raises:
        BagError: it begins otherwise than a ROS 1 bag of version 2.0 does.
    """

    def __init__(self, path: Path, report: Report) -> None:
        self.path, self._report = path, report
        self._connections: dict[int, Connection] = {}
        self._converters: dict[int, Callable[[bytes], bytes] | None] = {}
        self._chunks: list[_Chunk] = []
        with self._opened() as reader:
            if reader is not None:
                try:
                    self._find_chunks(reader)
                except _BROKEN as error:
                    self._report(len(_MAGIC), f"its first record is cut off or damaged, nothing of it is left: {error}")
        self.begin_ns = min((chunk.begin for chunk in self._chunks), default=None)
        self.end_ns = max((chunk.last for chunk in self._chunks), default=None)
        self.topics: dict[str, str] = {}
        self.definitions: dict[str, MessageDefinition] = {}
        for connection in self._connections.values():
            self.topics.setdefault(connection.topic, connection.msgtype)
            if connection.msgtype not in known_types().fielddefs:
                self.definitions.setdefault(connection.msgtype, _as_ros2(connection))

    @contextmanager
    def _opened(self) -> Iterator[Reader | None]:
        """A reader that stands after the magic number; None where the file ends within that."""
        with unpacked(self.path, self._report) as path, path.open("rb") as file:
            head = file.read(len(_MAGIC))
            if not _MAGIC.startswith(head):
                raise BagError(f"{self.path}: not a ROS 1 bag of version 2.0, although it is named so")
            if head != _MAGIC:
                self._report(len(head), "it ends before its first record")
                yield None
                return
            reader = Reader(path)
            reader.bio = file
            yield reader

    def _find_chunks(self, reader: Reader) -> None:
        file = _file(reader)
        header = Header.read(file, RecordType.BAGHEADER)
        start = file.tell() + 4 + read_uint32(file)
        index, count = header.get_uint64("index_pos"), header.get_uint32("chunk_count")
        if header.get("encryptor"):
            raise BagError(f"{self.path}: encrypted bags are not supported")
        if index:
            file.seek(index)
            try:
                connections = [reader.read_connection() for _ in range(header.get_uint32("conn_count"))]
                infos = [reader.read_chunk_info() for _ in range(count)]
            except _BROKEN as error:
                self._report(
                    index, f"its index at byte {index} is damaged ({error}); what it holds is found without it"
                )
            else:
                self._connections = {connection.id: connection for connection in connections}
                self._chunks = [_Chunk(i.pos, i.start_time, i.end_time - 1) for i in infos if i.start_time < i.end_time]
                return
        self._scan(reader, start)
        if not index:
            self._report(file.tell(), "it was not closed: it has no index, what it holds is found without it")

    def _scan(self, reader: Reader, offset: int) -> None:
        """Find the chunks by going through the file once, as far as its records can be followed."""
        file = _file(reader)
        size = os.fstat(file.fileno()).st_size
        while offset < size:
            try:
                file.seek(offset)
                kind = Header.read(file).get_uint8("op")
                end = file.tell()
                end += 4 + read_uint32(file)
                if end > size:
                    raise ReaderError("it ends too early")
            except _BROKEN as error:
                what = f"the record at byte {offset} is cut off or damaged; the file is read up to there"
                self._report(offset, f"{what} ({error})")
                return
            if kind == RecordType.CHUNK:
                times = [time for time, _, _ in self._records(reader, offset)]
                if times:
                    self._chunks.append(_Chunk(offset, min(times), max(times)))
            offset = end

    def _records(self, reader: Reader, offset: int) -> Iterator[tuple[int, int, bytes]]:
        """Log time in ns, connection and bytes of each message of a chunk, as far as it can be read."""
        file = _file(reader)
        inner = Reader(self.path)
        try:
            file.seek(offset)
            chunk = reader.read_chunk()
            file.seek(chunk.datapos)
            inner.bio = bio = BytesIO(chunk.decompressor(read_bytes(file, chunk.datasize)))
            size = len(bio.getbuffer())
            while (at := bio.tell()) < size:
                header = Header.read(bio)
                if header.get_uint8("op") == RecordType.CONNECTION:
                    bio.seek(at)
                    connection = inner.read_connection()
                    self._connections.setdefault(connection.id, connection)
                    continue
                data = read_bytes(bio, read_uint32(bio))
                if header.get_uint8("op") == RecordType.MSGDATA:
                    yield header.get_time("time"), header.get_uint32("conn"), data
        except _BROKEN as error:
            self._report(offset, f"the chunk at byte {offset} is damaged, messages of it are lost: {error}")

    def messages(self, topics: Collection[str] | None) -> Iterator[BagMessage]:
        """See `StorageFile`."""
        with self._opened() as reader:
            if reader is not None:
                sources: list[tuple[int, Callable[[], list[BagMessage]]]] = [
                    (chunk.begin, partial(self._read, reader, chunk, topics)) for chunk in self._chunks
                ]
                yield from in_time_order(sources)

    def _read(self, reader: Reader, chunk: _Chunk, topics: Collection[str] | None) -> list[BagMessage]:
        """The chunk's messages in the order of time."""
        found = []
        for time, id_, raw in self._records(reader, chunk.offset):
            connection = self._connections.get(id_)
            if connection is None:
                self._report(chunk.offset, f"messages of connection {id_} are lost: its topic was in a damaged part")
            elif topics is None or connection.topic in topics:
                data = self._converted(connection, raw, chunk.offset)
                if data is not None:
                    found.append(BagMessage(connection.topic, connection.msgtype, time, data, chunk.offset))
        found.sort(key=lambda message: message.time)
        return found

    def _converted(self, connection: Connection, raw: bytes, offset: int) -> bytes | None:
        """A message as CDR, None where that cannot be."""
        if connection.id not in self._converters:
            try:
                self._converters[connection.id] = _converter(connection)
            except DECODING as error:
                self._converters[connection.id] = None
                self._report(
                    None, f"topic {connection.topic} is left out: no use can be made of its definition: {error}"
                )
        convert = self._converters[connection.id]
        try:
            return None if convert is None else convert(raw)
        except DECODING as error:
            self._report(offset, f"a message on {connection.topic} in the chunk at byte {offset} is damaged: {error}")
            return None


def _file(reader: Reader) -> BinaryIO:
    assert reader.bio is not None  # noqa: S101, it was opened by `_opened`
    return reader.bio


def _stores(connection: Connection) -> tuple[Typestore, Typestore]:
    """The stores that the connection's kind has in ROS 1 and gets in ROS 2.

    Raises:
        one of DECODING: its definition is malformed.
    """
    before, after = get_typestore(Stores.EMPTY), known_types()
    types = parse(connection.msgdef, connection.msgtype)
    before.register(types)
    if connection.msgtype not in after.fielddefs:
        after = get_typestore(Stores.EMPTY)
        after.register({**types, "std_msgs/msg/Header": known_types().fielddefs["std_msgs/msg/Header"]})
    return before, after


def _as_ros2(connection: Connection) -> MessageDefinition:
    """The definition of a kind that only the bag knows, as ROS 2 has it."""
    try:
        text = _stores(connection)[1].generate_msgdef(connection.msgtype, ros_version=2)[0]
    except DECODING:
        return connection.msgdef
    return connection.msgdef._replace(data=text)


def _converter(connection: Connection) -> Callable[[bytes], bytes]:
    """What makes CDR of the connection's messages.

    Raises:
        one of DECODING: its definition is malformed.
    """
    (before, after), kind = _stores(connection), connection.msgtype
    if is_same_wireformat(before, after, kind, kind):
        return lambda raw: bytes(after.ros1_to_cdr(raw, kind))
    return lambda raw: bytes(migrate_bytes(before, after, kind, kind, {}, raw, src_is2=False, dst_is2=True))
