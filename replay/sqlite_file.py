"""One SQLite file of a rosbag2, whole or damaged.

The file is seen as blocks of 256 rows in the order in which they were written. They are found and read by row number,
never by the index on time, which a damaged file may have lost; only the blocks whose time it is are in memory. Beyond a
damaged page, reading goes on where SQLite finds the next row.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import zstandard
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat

from jepa_ros_replay.packed_files import unpacked, unpacked_message
from jepa_ros_replay.records import BagError, BagMessage, Report
from jepa_ros_replay.time_order import in_time_order

_MAGIC = b"SQLite format 3\x00"
_ROWS = 256
_FARTHEST = 1 << 40
# What it raises over damaged bytes; not all of its own complaints are text.
_BROKEN = (sqlite3.Error, ValueError, ArithmeticError, MemoryError)
_FORMATS = {"ros2msg": MessageDefinitionFormat.MSG, "ros2idl": MessageDefinitionFormat.IDL}


@dataclass
class _Block:
    """Rows `first` to `end` (not included), log times `begin` to `last` in ns."""

    first: int
    end: int
    begin: int
    last: int


class SqliteFile:
    """See `StorageFile`. SQLite tells no byte offsets; those of faults are where the file ends.

    Raises:
        BagError: it begins otherwise than an SQLite file does, or holds no rosbag2.
    """

    def __init__(self, path: Path, report: Report) -> None:
        self.path, self._report = path, report
        self._topics: dict[int, tuple[str, str]] = {}
        self.topics: dict[str, str] = {}
        self.definitions: dict[str, MessageDefinition] = {}
        self._blocks: list[_Block] = []
        self._damaged = False
        with self._opened() as database:
            if database is not None:
                self._read_topics(database)
                self._scan(database)
        self.begin_ns = min((block.begin for block in self._blocks), default=None)
        self.end_ns = max((block.last for block in self._blocks), default=None)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection | None]:
        with unpacked(self.path, self._report) as path, ExitStack() as stack:
            with path.open("rb") as file:
                head = file.read(len(_MAGIC))
            if not _MAGIC.startswith(head):
                raise BagError(f"{self.path}: not an SQLite file, although it is named so")
            if head != _MAGIC:
                self._report(len(head), "it ends before its first page")
                yield None
                return
            with closing(sqlite3.connect(_uri(path, "immutable=1"), uri=True)) as database:
                (page,) = database.execute("PRAGMA page_size").fetchone()
            if path.stat().st_size % page:
                path = stack.enter_context(self._whole_pages(path, page))
            yield stack.enter_context(closing(self._connect(path)))

    @contextmanager
    def _whole_pages(self, path: Path, page: int) -> Iterator[Path]:
        """A temporary copy without the last page, of which there is a part: SQLite would take zeros for the rest."""
        size = path.stat().st_size
        if not self._damaged:
            self._damaged = True
            self._report(size, f"it is cut off at byte {size}, within a page; the rows that can be found are read")
        with tempfile.NamedTemporaryFile(prefix="jepa_bag_", suffix=".db3") as copy:
            try:
                with path.open("rb") as file:
                    shutil.copyfileobj(file, copy)
                copy.truncate(size - size % page)
            except OSError as error:
                raise BagError(f"{path}: cannot be copied into {tempfile.gettempdir()}: {error.strerror}") from error
            yield Path(copy.name)

    def _connect(self, path: Path) -> sqlite3.Connection:
        # What a killed recorder left in a write-ahead log counts; without one, nothing beside the bag may be touched.
        log = path.with_name(f"{path.name}-wal")
        for how in ("mode=ro", "immutable=1") if log.exists() else ("immutable=1",):
            database = sqlite3.connect(_uri(path, how), uri=True)
            try:
                database.execute("SELECT count(*) FROM sqlite_master").fetchall()
                return database
            except _BROKEN:
                # A file shorter than its first page says is refused, unless one asks as somebody who repairs it.
                with suppress(*_BROKEN):
                    database.execute("PRAGMA writable_schema=ON")
                    database.execute("SELECT count(*) FROM sqlite_master").fetchall()
                    self._cut_off(path)
                    return database
                database.close()
        self._cut_off(path)
        return sqlite3.connect(":memory:")

    def _cut_off(self, path: Path) -> None:
        if not self._damaged:
            size, self._damaged = path.stat().st_size, True
            self._report(size, f"it is cut off at byte {size} or damaged; the rows that can be found are read")

    def _read_topics(self, database: sqlite3.Connection) -> None:
        try:
            for id_, topic, kind, encoding in database.execute(
                "SELECT id, name, type, serialization_format FROM topics"
            ):
                if encoding != "cdr":
                    self._report(None, f"topic {topic} is left out: it is encoded as {encoding}, not as cdr")
                    continue
                self._topics[id_] = topic, kind
                self.topics.setdefault(topic, kind)
        except _BROKEN as error:
            if "no such" in str(error) and not self._damaged:
                raise BagError(f"{self.path}: an SQLite file without a rosbag2 in it ({error})") from error
            self._report(None, f"its list of topics is damaged: {error}")
        with suppress(*_BROKEN):  # files of before ROS 2 Iron have none, and the known types will do
            for kind, encoding, text in database.execute(
                "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            ):
                if encoding in _FORMATS and text:
                    self.definitions.setdefault(kind, MessageDefinition(_FORMATS[encoding], text))

    def _rows(self, database: sqlite3.Connection, columns: str, first: int, end: int) -> Iterator[tuple[Any, ...]]:
        """Number, time and `columns` of each row from number `first` to before `end`; where a page is damaged, ever
        farther leaps until there are rows again."""
        query = f"SELECT id, timestamp{columns} FROM messages NOT INDEXED WHERE id >= ? AND id < ? ORDER BY id"  # noqa: S608
        leap = nonsense = 0
        while first < end:
            try:
                for row in database.execute(query, (first + leap, end)):
                    if row[0] >= first and isinstance(row[1], int):
                        first, leap = row[0] + 1, 0
                        yield row
                        continue
                    self._report(None, f"the rows near number {first} are damaged: one has the number {row[0]}")
                    nonsense += 1
                    if nonsense > _ROWS:  # pages that lead back to themselves would go on for ever
                        return
                return
            except _BROKEN as error:
                if not leap:
                    self._report(None, f"the rows from number {first} on are damaged: {error}")
                leap = 2 * leap or 1
                if leap > _FARTHEST or first + leap >= end:
                    return

    def _scan(self, database: sqlite3.Connection) -> None:
        block: _Block | None = None
        for id_, time in self._rows(database, "", 0, 1 << 62):
            if block is None or id_ >= block.first + _ROWS:
                block = _Block(id_, id_ + 1, time, time)
                self._blocks.append(block)
            block.end, block.begin, block.last = id_ + 1, min(block.begin, time), max(block.last, time)

    def messages(self, topics: Collection[str] | None) -> Iterator[BagMessage]:
        """See `StorageFile`."""
        wanted = {
            id_: (topic, kind) for id_, (topic, kind) in self._topics.items() if topics is None or topic in topics
        }
        with self._opened() as database:
            if database is not None:
                sources: list[tuple[int, Callable[[], list[BagMessage]]]] = [
                    (block.begin, partial(self._read, database, block, wanted)) for block in self._blocks
                ]
                yield from in_time_order(sources)

    def _read(
        self, database: sqlite3.Connection, block: _Block, wanted: dict[int, tuple[str, str]]
    ) -> list[BagMessage]:
        """The block's messages in the order of time."""
        found: list[BagMessage] = []
        for id_, time, topic_id, data in self._rows(database, ", topic_id, data", block.first, block.end):
            if topic_id not in self._topics:
                self._report(None, f"messages of topic number {topic_id} are lost: its name is nowhere in the file")
            if topic_id not in wanted:
                continue
            topic, kind = wanted[topic_id]
            try:
                if not isinstance(data, bytes):
                    raise zstandard.ZstdError("it is no bytes")
                found.append(BagMessage(topic, kind, time, unpacked_message(data), None))
            except zstandard.ZstdError as error:
                self._report(None, f"row {id_}, a message on {topic}, is damaged and lost: {error}")
        found.sort(key=lambda message: message.time)
        return found


def _uri(path: Path, how: str) -> str:
    return f"{path.resolve().as_uri()}?{how}"
