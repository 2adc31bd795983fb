"""One MCAP file, whole or damaged.

The file is seen as blocks: its chunks or, where it has none, runs of about a MiB of its messages. Where
they lie is read from the index at its end; where that is missing or broken (the recorder was killed, the file was cut),
one pass over the file finds them. Either way a broken block costs its own messages only, and is in memory only while
its time lasts.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BufferedReader, FileIO
from pathlib import Path

import zstandard
from mcap.exceptions import EndOfFile, McapError
from mcap.opcode import Opcode
from mcap.reader import FOOTER_SIZE, SeekingReader
from mcap.records import Channel, Chunk, Footer, McapRecord, Message, Schema
from mcap.stream_reader import MAGIC_SIZE, StreamReader, breakup_chunk
from mcap.summary import Summary
from mcap.writer import MCAP0_MAGIC
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.typesys.msg import normalize_msgtype

from jepa_ros_replay.packed_files import unpacked, unpacked_message
from jepa_ros_replay.records import BagError, BagMessage, Report
from jepa_ros_replay.time_order import in_time_order

# What the libraries raise over damaged bytes.
_BROKEN = (
    McapError,
    ValueError,
    struct.error,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    OSError,
    zstandard.ZstdError,
)
_LARGEST_RECORD = 1 << 30
_RUN = 1 << 20
_HEAD = 9  # a record begins with its kind, one byte, and the length of what follows, eight
_CRC = 4
_PRIVATE = 0x80  # kinds from here on are anybody's own, and to be skipped
_FORMATS = {
    "ros2msg": MessageDefinitionFormat.MSG,
    "ros2idl": MessageDefinitionFormat.IDL,
    "omgidl": MessageDefinitionFormat.IDL,
}


class _WholeReads(BufferedReader):
    """A file for the mcap library, to which a short read is as good as a whole one: here it is an error."""

    def __init__(self, path: Path) -> None:
        super().__init__(FileIO(path))
        self.size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0 or size > min(self.size - self.tell(), _LARGEST_RECORD):
            raise EndOfFile("it ends too early")
        return super().read(size)

    def record_end(self, offset: int) -> int | None:
        """Where the record that begins at `offset` ends; None where that is beyond the file."""
        if self.size - offset < _HEAD:
            return None
        self.seek(offset)
        end = offset + _HEAD + int.from_bytes(self.read(_HEAD)[1:], "little")
        return end if end <= self.size else None

    def record(self, offset: int) -> McapRecord | None:
        """The record that begins at `offset`, a chunk as it is; None where it is of somebody's own kind.

        Raises:
            one of _BROKEN: it is damaged.
        """
        self.seek(offset)
        kind = self.read(1)[0]
        if kind >= _PRIVATE:
            return None
        Opcode(kind)
        self.seek(offset)
        reader = StreamReader(self, skip_magic=True, emit_chunks=True, record_size_limit=_LARGEST_RECORD)
        return next(iter(reader.records))


@dataclass
class _Block:
    """A chunk or a run of messages: bytes `offset` to `end`, log times `begin` to `last` (ns), channels where known."""

    offset: int
    end: int
    begin: int
    last: int
    channels: set[int] | None

    def add(self, message: Message) -> None:
        self.begin, self.last = min(self.begin, message.log_time), max(self.last, message.log_time)
        if self.channels is not None:
            self.channels.add(message.channel_id)


class McapFile:
    """See `StorageFile`.

    Raises:
        BagError: it begins otherwise than an MCAP file does.
    """

    def __init__(self, path: Path, report: Report) -> None:
        self.path, self._report = path, report
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, Channel] = {}
        self._kinds: dict[int, str] = {}
        self._lost: set[int] = set()
        self._blocks: list[_Block] = []
        with self._opened() as file:
            if file.size < MAGIC_SIZE:
                report(file.size, "it ends before its first record")
            elif not self._read_index(file):
                self._scan(file)
        self.begin_ns = min((block.begin for block in self._blocks), default=None)
        self.end_ns = max((block.last for block in self._blocks), default=None)
        self.topics: dict[str, str] = {}
        self.definitions: dict[str, MessageDefinition] = {}
        for channel in self._channels.values():
            self._describe(channel)

    @contextmanager
    def _opened(self) -> Iterator[_WholeReads]:
        with unpacked(self.path, self._report) as path, _WholeReads(path) as file:
            if not MCAP0_MAGIC.startswith(file.read(min(MAGIC_SIZE, file.size))):
                raise BagError(f"{self.path}: not an MCAP file, although it is named so")
            yield file

    def _describe(self, channel: Channel) -> None:
        schema = self._schemas.get(channel.schema_id)
        if channel.message_encoding != "cdr" or schema is None:
            why = "it has no schema" if schema is None else f"it is encoded as {channel.message_encoding}, not as cdr"
            self._report(None, f"topic {channel.topic} is left out: {why}")
            return
        kind = self._kinds[channel.id] = normalize_msgtype(schema.name)
        self.topics.setdefault(channel.topic, kind)
        if schema.encoding in _FORMATS and schema.data:
            text = schema.data.decode(errors="replace")
            self.definitions.setdefault(kind, MessageDefinition(_FORMATS[schema.encoding], text))

    def _read_index(self, file: _WholeReads) -> bool:
        """Whether the file has a usable index."""
        start = file.size - FOOTER_SIZE - MAGIC_SIZE
        try:
            footer = file.record(max(start, MAGIC_SIZE))
        except _BROKEN:
            return False
        if not isinstance(footer, Footer) or not footer.summary_start:
            return False
        try:
            file.seek(footer.summary_start)
            checked = file.read(file.size - MAGIC_SIZE - _CRC - footer.summary_start)
            if footer.summary_crc and zlib.crc32(checked) != footer.summary_crc:
                raise McapError("its checksum does not fit")
            file.seek(0)
            summary = SeekingReader(file, record_size_limit=_LARGEST_RECORD).get_summary()
        except _BROKEN as error:
            self._report(start, f"its index is damaged ({error}); what it holds is found without it")
            return False
        return summary is not None and self._use(summary)

    def _use(self, summary: Summary) -> bool:
        """Take over an index; whether it says enough."""
        empty = summary.statistics is not None and summary.statistics.message_count == 0
        indexed = {id_ for index in summary.chunk_indexes for id_ in index.message_index_offsets}
        described = all(channel.schema_id in {0, *summary.schemas} for channel in summary.channels.values())
        if not described or not indexed <= set(summary.channels):
            return False
        if not empty and not (summary.channels and summary.chunk_indexes):
            return False
        self._schemas, self._channels = dict(summary.schemas), dict(summary.channels)
        for index in summary.chunk_indexes:
            channels = set(index.message_index_offsets) or None
            begin, last = index.message_start_time, index.message_end_time
            # A chunk without a message has no times: zeros, or the largest and the smallest.
            if begin <= last and (channels or last > 0):
                offset = index.chunk_start_offset
                self._blocks.append(_Block(offset, offset + index.chunk_length, begin, last, channels))
        return True

    def _scan(self, file: _WholeReads) -> None:
        """Find the blocks by going through the file once, as far as its records can be followed."""
        offset, run = MAGIC_SIZE, None
        while offset < file.size:
            end = file.record_end(offset)
            if end is None:
                self._report(offset, f"the record at byte {offset} is cut off or damaged; the file is read up to there")
                return
            try:
                record = file.record(offset)
            except _BROKEN as error:
                self._report(offset, f"the record at byte {offset} is damaged and skipped: {error}")
                record, run = None, None
            if isinstance(record, Footer):
                return
            if isinstance(record, Message):
                if run is None or run.end - run.offset > _RUN:
                    run = _Block(offset, end, record.log_time, record.log_time, set())
                    self._blocks.append(run)
                run.add(record)
                run.end = end
            elif isinstance(record, Chunk):
                run = None
                self._learn(offset, end, record)
            else:
                self._keep(record)
            offset = end
        self._report(offset, "it was not closed: it ends without an index, what it holds is found without it")

    def _learn(self, offset: int, end: int, chunk: Chunk) -> None:
        """Take a chunk that the scan has come upon as a block."""
        try:
            records = breakup_chunk(chunk, validate_crc=True)
        except _BROKEN as error:
            self._report_chunk(offset, error)
            return
        block = _Block(offset, end, 2**64, -1, set())
        for record in records:
            if isinstance(record, Message):
                block.add(record)
            else:
                self._keep(record)
        if block.last >= 0:
            self._blocks.append(block)

    def _keep(self, record: McapRecord | None) -> None:
        if isinstance(record, Schema):
            self._schemas[record.id] = record
        elif isinstance(record, Channel):
            self._channels[record.id] = record

    def _report_chunk(self, offset: int, error: Exception) -> None:
        self._report(offset, f"the messages from byte {offset} on are damaged and lost: {error}")

    def messages(self, topics: Collection[str] | None) -> Iterator[BagMessage]:
        """See `StorageFile`."""
        wanted = {id_ for id_ in self._kinds if topics is None or self._channels[id_].topic in topics}
        with self._opened() as file:
            sources: list[tuple[int, Callable[[], list[BagMessage]]]] = [
                (block.begin, partial(self._read, file, block, wanted))
                for block in self._blocks
                if block.channels is None or block.channels & wanted or block.channels - set(self._channels)
            ]
            yield from in_time_order(sources)

    def _read(self, file: _WholeReads, block: _Block, wanted: set[int]) -> list[BagMessage]:
        """The block's messages in the order of time."""
        found: list[BagMessage] = []
        offset, empty = block.offset, True
        try:
            while offset < block.end:
                end, record = file.record_end(offset), file.record(offset)
                inner = breakup_chunk(record, validate_crc=True) if isinstance(record, Chunk) else [record]
                for message in inner:
                    if isinstance(message, Message):
                        empty = False
                        self._take(message, offset, wanted, found)
                offset = block.end if end is None else end
            if empty:
                raise McapError("there is none")
        except _BROKEN as error:
            self._report_chunk(offset, error)
        found.sort(key=lambda message: message.time)
        return found

    def _take(self, message: Message, offset: int, wanted: set[int], found: list[BagMessage]) -> None:
        id_ = message.channel_id
        if id_ not in self._channels and id_ not in self._lost:
            self._lost.add(id_)
            self._report(offset, f"messages of channel {id_} are lost: its topic was in a damaged part of the file")
        if id_ not in wanted:
            return
        topic = self._channels[id_].topic
        try:
            data = unpacked_message(message.data)
        except zstandard.ZstdError as error:
            self._report(offset, f"a message on {topic} at byte {offset} is damaged and lost: {error}")
            return
        found.append(BagMessage(topic, self._kinds[id_], message.log_time, data, offset))
