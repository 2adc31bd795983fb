"""Plan graphs on disk, so that a robot that starts again need not compile them again.

The folder is `$XDG_CACHE_HOME/jepa_ros/plans`, or `~/.cache/jepa_ros/plans`. An entry is a folder named by the hash of
what it was made of; beside the graph lies the hash of its own files, and an entry that does not have it is made again.
"""

from __future__ import annotations

import contextlib
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
        entry = self.folder / key
        if _is_whole(entry):
            with contextlib.suppress(OSError):  # a folder that can be read and not written
                os.utime(entry)
            return entry / GRAPH
        if entry.is_dir():
            _LOG.warning("plan cache %s: the entry is damaged; it is made again", entry)
        model = make()  # what fails here is no fault of the cache
        try:
            self._keep(model, entry)
        except OSError as error:
            _LOG.warning("plan cache %s cannot be written (%s): plans are compiled at each start", self.folder, error)
        else:
            return entry / GRAPH
        self._temporary = self._temporary or tempfile.TemporaryDirectory(prefix="jepa_ros_plans_")
        path = Path(self._temporary.name) / key
        path.mkdir(exist_ok=True)
        write_graph(make(), path / GRAPH)  # once more: writing takes large weights out of a model
        return path / GRAPH

    def _keep(self, model: onnx.ModelProto, entry: Path) -> None:
        """Write an entry. One that another process has made meanwhile stays: that process may be opening it."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(prefix=".", dir=self.folder) as temporary:
            made = Path(temporary) / entry.name
            made.mkdir()
            write_graph(model, made / GRAPH)
            (made / DIGEST).write_text(_digest(made))
            try:
                made.rename(entry)
            except OSError:
                if not _is_whole(entry):
                    shutil.rmtree(entry, ignore_errors=True)
                    made.rename(entry)
        self._forget()

    def _forget(self) -> None:
        """Remove the entries that were not asked for longest. One that is in use goes on: it has been read."""
        ages: list[tuple[float, Path]] = []
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process forgets too
                if not path.name.startswith("."):
                    ages.append((path.stat().st_mtime, path))
        for _, path in sorted(ages)[:-_ENTRIES]:
            shutil.rmtree(path, ignore_errors=True)


def write_graph(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph; large weights beside it."""
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) > _EMBEDDED:
        onnx.save(model, str(path), save_as_external_data=True, location=_WEIGHTS, size_threshold=1024)
    else:
        onnx.save(model, str(path))


def _is_whole(entry: Path) -> bool:
    said = _said(entry)
    try:
        return said != "" and _digest(entry) == said
    except OSError:
        return False


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
