"""Bags of ROS 2 and ROS 1, whole or damaged: what they hold in the order of time, and what could not be read.

Memory stays bounded whatever the size: the files of a bag and the blocks of a file (chunks, runs of messages or of
rows) are opened when their time has come and forgotten when it is over, see `time_order`. What stays is where they lie.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from jepa_ros.plain_yaml import read_yaml
from jepa_ros_replay.mcap_file import McapFile
from jepa_ros_replay.packed_files import unpacked_name
from jepa_ros_replay.records import BagError, BagFault, BagMessage, Report, StorageFile
from jepa_ros_replay.ros1_file import Ros1File
from jepa_ros_replay.sqlite_file import SqliteFile
from jepa_ros_replay.time_order import in_time_order
from jepa_ros_replay.typestores import DECODING, Definitions

__all__ = ["Bag", "BagError", "BagFault", "BagMessage", "find_bags"]

METADATA = "metadata.yaml"
_METADATA_BYTES = 2**24
_STORAGES: dict[str, Callable[[Path, Report], StorageFile]] = {
    ".mcap": McapFile,
    ".db3": SqliteFile,
    ".bag": Ros1File,
}


class Bag:
    """A bag that can be read again and again.

    Args:
        path: a rosbag2 folder, with or without its metadata.yaml, or one `.mcap`, `.db3` or `.bag` file.

    Attributes:
        path: as given.
        topics: the kind of each topic.
        begin_ns, end_ns: log times of the first and the last message; None where there is none.
        faults: what could not be read so far; some are found only by `messages`.

    Raises:
        BagError: there is no such path, or it is no bag at all.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.topics: dict[str, str] = {}
        self.faults: list[BagFault] = []
        self._files: list[StorageFile] = []
        refused: list[str] = []
        for file in self._find_files():
            try:
                self._files.append(_STORAGES[_storage(file)](file, partial(self._report, file)))
            except (BagError, OSError) as error:
                refused.append(str(error) if isinstance(error, BagError) else f"{file}: {error.strerror}")
                self._report(file, None, refused[-1].partition(": ")[2])
        if not self._files:
            raise BagError(refused[0])
        definitions = {}
        for found in self._files:
            for topic, kind in found.topics.items():
                self.topics.setdefault(topic, kind)
            definitions.update({kind: text for kind, text in found.definitions.items() if kind not in definitions})
        self._definitions = Definitions(definitions)
        self.begin_ns = min((found.begin_ns for found in self._files if found.begin_ns is not None), default=None)
        self.end_ns = max((found.end_ns for found in self._files if found.end_ns is not None), default=None)

    @property
    def files(self) -> list[Path]:
        """The files that could be opened."""
        return [found.path for found in self._files]

    def messages(self, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
        """Messages of these topics (None: of all) in the order of their log time; those of the same time as they were
        written. What cannot be read is left out and added to `faults`."""
        yield from in_time_order(
            (found.begin_ns, partial(self._file_messages, found, topics))
            for found in self._files
            if found.begin_ns is not None
        )

    def deserialize(self, message: BagMessage) -> Any:
        """The message as rosbags' object: fields by name, numeric arrays as NumPy arrays. A definition embedded in the
        bag counts before the known one.

        Raises:
            BagError: it cannot be decoded.
        """
        try:
            return self._definitions.store(message.kind).deserialize_cdr(message.data, message.kind)
        except (BagError, *DECODING) as error:
            where = (
                f"bag {self.path}: the message on {message.topic} at byte {message.offset}, log time {message.time} ns,"
            )
            raise BagError(f"{where} cannot be decoded as {message.kind}: {error or type(error).__name__}") from error

    def serialize(self, content: Any, kind: str) -> bytes:
        """CDR of an object such as `deserialize` gives.

        Raises:
            BagError: its fields do not fit the kind, or the kind is unknown.
        """
        try:
            return bytes(self._definitions.store(kind).serialize_cdr(content, kind))
        except DECODING as error:
            raise BagError(f"bag {self.path}: an object cannot be encoded as {kind}: {error}") from error

    def new(self, kind: str, /, **fields: Any) -> Any:
        """An object of a kind for `serialize`, with all its fields given.

        Raises:
            BagError: the kind is unknown.
        """
        return self._definitions.store(kind).types[kind](**fields)

    def definition(self, kind: str) -> str:
        """The text of a kind's definition with all that it needs, as `BagWriter.add_topic` takes it.

        Raises:
            BagError: the kind is unknown.
        """
        return self._definitions.store(kind).generate_msgdef(kind, ros_version=2)[0]

    def _report(self, path: Path, offset: int | None, what: str) -> None:
        fault = BagFault(str(path), offset, what)
        if fault not in self.faults:
            self.faults.append(fault)

    def _file_messages(self, found: StorageFile, topics: Collection[str] | None) -> Iterator[BagMessage]:
        try:
            yield from found.messages(topics)
        except OSError as error:
            self._report(found.path, None, f"it cannot be read any further: {error.strerror}")

    def _find_files(self) -> list[Path]:
        """The bag's files, in the order in which they were written where that is known.

        Raises:
            BagError: the path is no bag.
        """
        if not self.path.exists():
            raise BagError(f"bag {self.path}: there is no such file or folder")
        if not self.path.is_dir():
            if _storage(self.path):
                return [self.path]
            raise BagError(f"bag {self.path}: must be a folder with {METADATA}, or a .mcap, .db3 or .bag file")
        listed = self._listed_files()
        found = _files_in(self.path) if listed is None else listed
        if found:
            return found
        if listed is None:
            raise BagError(f"bag {self.path}: the folder has neither a readable {METADATA} nor a .mcap or .db3 file")
        raise BagError(f"bag {self.path}: none of the files that its {METADATA} names can be read")

    def _listed_files(self) -> list[Path] | None:
        """The files that metadata.yaml names; None where it is missing or unreadable."""
        metadata = self.path / METADATA
        if not metadata.is_file():
            if _files_in(self.path):
                self._report(metadata, None, "it is missing: the recorder was killed; the folder's files are read")
            return None
        try:
            content = read_yaml(metadata, _METADATA_BYTES)["rosbag2_bagfile_information"]
            names = [PurePosixPath(str(name)).name for name in content["relative_file_paths"]]
            topics = [entry["topic_metadata"] for entry in content["topics_with_message_count"]]
            self.topics.update({str(topic["name"]): str(topic["type"]) for topic in topics})
        except (yaml.YAMLError, OSError, ValueError, LookupError, TypeError) as error:
            self._report(metadata, None, f"it is damaged ({type(error).__name__}); the folder's files are read")
            return None
        paths = [self.path / name for name in names]
        for path in paths:
            if not path.exists():
                self._report(path, None, f"it is missing, although {METADATA} names it")
            elif not _storage(path):
                self._report(path, None, "its storage is none of .mcap and .db3, it is left out")
        return [path for path in paths if path.exists() and _storage(path)]


def _storage(path: Path) -> str:
    """`.mcap`, `.db3` or `.bag`, also behind the suffix of a compression or of an unfinished file; else nothing."""
    plain = unpacked_name(path)
    suffix = plain.with_suffix("").suffix if plain.suffix == ".active" else plain.suffix
    return suffix if suffix in _STORAGES else ""


def _files_in(folder: Path) -> list[Path]:
    """Storage files of a folder without metadata, a split bag's in their order."""
    names = {path.name for path in folder.iterdir() if path.is_file() and _storage(path) in (".mcap", ".db3")}
    # While a recorder compresses a file, there are both.
    names -= {
        name for name in names if unpacked_name(Path(name)).name != name and unpacked_name(Path(name)).name in names
    }
    return sorted((folder / name for name in names), key=lambda path: (len(path.name), path.name))


def find_bags(paths: Sequence[Path]) -> list[Path]:
    """The bags among files and folders, sorted, each once.

    Folders are searched: a folder with a metadata.yaml is a bag, and so is one without that holds nothing but files
    named after it, as recorders name them; any other storage file is a bag of its own.

    Raises:
        BagError: a path does not exist, or holds none.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.exists():
            raise BagError(f"bag {path}: there is no such file or folder")
        bags = _bags_under(path) if path.is_dir() else [path] if _storage(path) else []
        if not bags:
            raise BagError(
                f"bag {path}: no bag is there, that is no folder with {METADATA} and no .mcap, .db3 or .bag file"
            )
        for bag in bags:
            found.setdefault(bag.resolve(), bag)
    return sorted(found.values())


def _bags_under(top: Path) -> list[Path]:
    found: list[Path] = []
    for name, folders, files in os.walk(top):
        folder = Path(name)
        storages = _files_in(folder)
        one = bool(storages) and all(_named_after(folder, path) for path in storages)
        if METADATA in files or one:
            found.append(folder)
            folders.clear()
        else:
            found += [folder / file for file in files if _storage(Path(file))]
        folders[:] = [inner for inner in folders if not inner.startswith(".")]
    return found


def _named_after(folder: Path, path: Path) -> bool:
    stem = unpacked_name(path).stem
    head, _, number = stem.rpartition("_")
    return stem == folder.resolve().name or (head == folder.resolve().name and number.isdigit())
