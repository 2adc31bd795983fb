"""Plan graphs on disk, so that a robot that starts again need not compile them again.

The folder is `$XDG_CACHE_HOME/jepa_ros/plans`, or `~/.cache/jepa_ros/plans`. An entry is a folder named by the hash of
what it was made of; beside the graph lies the hash of its own files, and an entry that does not have it is made again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import onnx

_LOG = logging.getLogger(__name__)
GRAPH, DIGEST = "plan.onnx", "sha256"
_WEIGHTS = "weights.bin"
_ENTRIES = 32  # a graph is as large as its model; another shape or planner is another graph
_EMBEDDED = 256 * 2**20  # bytes; a protobuf message holds 2 GiB at most


def default_cache() -> Path:
    """Where plan graphs are kept if nobody says otherwise."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    # The standard has relative paths ignored.
    return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "jepa_ros" / "plans"


class PlanCache:
    """Graphs by key.

    Args:
        folder: is made at need; only its owner may read it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    def get(self, key: str, make: Callable[[], onnx.ModelProto]) -> Path:
        """The graph's file; made, or made again where what is there is damaged.

        Where the folder cannot be written, such as in a container without a home, it is made for this process alone.
        """
        try:
            return self._kept(key, make)
        except OSError as error:
            _LOG.warning("plan cache %s cannot be written (%s): plans are compiled at each start", self.folder, error)
        self._temporary = self._temporary or tempfile.TemporaryDirectory(prefix="jepa_ros_plans_")
        path = Path(self._temporary.name) / key
        path.mkdir(exist_ok=True)
        write_graph(make(), path / GRAPH)
        return path / GRAPH

    def _kept(self, key: str, make: Callable[[], onnx.ModelProto]) -> Path:
        entry = self.folder / key
        if entry.is_dir():
            if _digest(entry) == _said(entry):
                os.utime(entry)
                return entry / GRAPH
            _LOG.warning("plan cache %s: the entry is damaged; it is made again", entry)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(prefix=".", dir=self.folder) as temporary:
            made = Path(temporary) / key
            made.mkdir()
            write_graph(make(), made / GRAPH)
            (made / DIGEST).write_text(_digest(made))
            shutil.rmtree(entry, ignore_errors=True)
            try:
                made.rename(entry)
            except OSError:
                if not entry.is_dir():  # else another process was as fast, with the same graph
                    raise
        self._forget()
        return entry / GRAPH

    def _forget(self) -> None:
        """Remove the entries that were not asked for longest. One that is in use goes on: it has been read."""
        entries = sorted(
            (path for path in self.folder.iterdir() if not path.name.startswith(".")),
            key=lambda path: path.stat().st_mtime,
        )
        for path in entries[:-_ENTRIES]:
            shutil.rmtree(path, ignore_errors=True)


def write_graph(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph; large weights beside it."""
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) > _EMBEDDED:
        onnx.save(model, str(path), save_as_external_data=True, location=_WEIGHTS, size_threshold=1024)
    else:
        onnx.save(model, str(path))


def _digest(entry: Path) -> str:
    digest = hashlib.sha256()
    for name in (GRAPH, _WEIGHTS):
        if (entry / name).is_file():
            digest.update(name.encode() + (entry / name).read_bytes())
    return digest.hexdigest()


def _said(entry: Path) -> str:
    try:
        return (entry / DIGEST).read_text()
    except OSError:
        return ""
