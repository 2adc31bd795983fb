"""Files and messages that rosbag2 has compressed with zstd."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zstandard

from jepa_ros_replay.records import BagError, Report

_SUFFIXES = (".zstd", ".zst")
_MAGIC = b"\x28\xb5\x2f\xfd"
_BLOCK = 1 << 20


def unpacked_name(path: Path) -> Path:
    """The name without the suffix of its compression."""
    return path.with_suffix("") if path.suffix in _SUFFIXES else path


@contextmanager
def unpacked(path: Path, report: Report) -> Iterator[Path]:
    """The file itself or, where it is compressed as a whole, what could be unpacked of it, in a temporary file.

    Raises:
        BagError: it is not compressed although its name says so, or there is no room for it.
    """
    if path.suffix not in _SUFFIXES:
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="jepa_bag_", suffix=unpacked_name(path).suffix) as copy:
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
            if not _MAGIC.startswith(head):
                raise BagError(f"{path}: not a zstd file, although it is named so")
            file.seek(0)
            try:
                with zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False) as reader:
                    while block := reader.read(_BLOCK):
                        copy.write(block)
                copy.flush()
            except zstandard.ZstdError as error:
                copy.flush()
                report(file.tell(), f"the compression is damaged before byte {file.tell()}, the rest is lost: {error}")
            except OSError as error:
                raise BagError(f"{path}: cannot be unpacked into {tempfile.gettempdir()}: {error.strerror}") from error
        yield Path(copy.name)


def unpacked_message(data: bytes) -> bytes:
    """A message's bytes, unpacked where it was compressed by itself: no CDR begins with zstd's magic number.

    Raises:
        zstandard.ZstdError: it is damaged.
    """
    if not data.startswith(_MAGIC):
        return data
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    found = decompressor.decompress(data)
    if not decompressor.eof:
        raise zstandard.ZstdError("it ends too early")
    return found
