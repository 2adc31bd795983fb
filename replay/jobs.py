"""One bag of a batch: its replay, its report folder, and whether an earlier report still stands."""

from __future__ import annotations

import json
import os
import re
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from jepa_ros.bundle.loader import sha256
from jepa_ros.bundle.manifest import MANIFEST_NAME
from jepa_ros.errors import JepaRosError
from jepa_ros.planning.recorded import PLANS
from jepa_ros_replay.annotate import write_annotated
from jepa_ros_replay.engine import ReplaySettings
from jepa_ros_replay.goals import MOMENT
from jepa_ros_replay.report import REPORT, SUMMARY, write_report
from jepa_ros_replay.result import ReplayResult

ANNOTATED, STATE, TRACEBACK = "annotated.mcap", "replay_state.json", "error.txt"
_WRITTEN = (
    STATE,
    SUMMARY,
    REPORT,
    ANNOTATED,
    PLANS,
    TRACEBACK,
)  # the state first: without it nothing is taken for whole
_SUFFIXES = re.compile(r"(\.(mcap|db3|bag|active|zstd|zst|lz4))+$")


class Replay(Protocol):
    """What replays one bag: `jepa_ros_replay.engine.replay`, or a stand-in for it that other processes can import."""

    def __call__(
        self, bag: Path, bundle: Path, settings: ReplaySettings, progress: Callable[[float], None] | None
    ) -> ReplayResult: ...


@dataclass(frozen=True)
class Job:
    """A bag to be replayed into `folder`, which has the batch's name for it."""

    bag: Path
    bundle: Path
    settings: ReplaySettings
    folder: Path


@dataclass(frozen=True)
class Row:
    """What came of a bag.

    Attributes:
        name: of its folder, unique within the batch.
        bag: path.
        kept: an earlier report still stood.
        error: a sentence, where it could not be replayed.
        summary: as in its summary.json; None with an error.
    """

    name: str
    bag: str
    kept: bool = False
    error: str = ""
    summary: dict[str, Any] | None = None


def fingerprint(job: Job) -> dict[str, Any]:
    """Everything that the report depends on, as JSON: software, bundle, settings, and size and time of what is read.

    Raises:
        JepaRosError: the bag or the bundle is not there.
    """
    manifest = job.bundle / MANIFEST_NAME
    if not manifest.is_file():
        raise JepaRosError(f"bundle {job.bundle}: has no {MANIFEST_NAME}")
    if not job.bag.exists():
        raise JepaRosError(f"bag {job.bag}: no such file or folder")
    try:
        software = version("jepa_ros")
    except PackageNotFoundError:
        software = "not installed"
    found = {
        "software": software,
        "bundle_sha256": sha256(manifest),  # it names the hash of every other file
        "settings": asdict(job.settings),
        "bag": str(job.bag.resolve()),
        "files": _stats(job.bag),
        "goal_files": _stats(goal_path(job.settings.goal)),
        "robot_files": _stats(robot_path(job.settings.robot)),
    }
    return dict(json.loads(json.dumps(found)))


def kept_row(job: Job) -> Row | None:
    """The row of an earlier replay of the same bag with the same bundle and settings; None where there is none."""
    try:
        state = json.loads((job.folder / STATE).read_text(encoding="utf-8"))
        if state != fingerprint(job) or not all((job.folder / name).is_file() for name in (REPORT, ANNOTATED)):
            return None
        summary = json.loads((job.folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError, JepaRosError):
        return None
    return Row(job.folder.name, str(job.bag), kept=True, summary=summary)


def run_job(job: Job, replay: Replay, progress: Callable[[float], None] | None = None) -> Row:
    """Replay a bag and write its folder. Never raises for a bag's sake: the row says what was wrong with it."""
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
        for name in _WRITTEN:
            (job.folder / name).unlink(missing_ok=True)
        state = fingerprint(job)  # before it is read: what is written meanwhile makes it another bag
        result = replay(job.bag, job.bundle, job.settings, progress)
        write_report(job.folder, result)
        write_annotated(job.folder / ANNOTATED, result)
        if result.recorded_plans is not None:
            result.recorded_plans.write(job.folder / PLANS)
        summary = json.loads((job.folder / SUMMARY).read_text(encoding="utf-8"))
        unfinished = job.folder / f"{STATE}.tmp"
        unfinished.write_text(json.dumps(state, indent=1), encoding="utf-8")
        unfinished.replace(job.folder / STATE)
    except JepaRosError as error:
        return failed(job, str(error))
    except OSError as error:
        return failed(job, f"{error.filename or job.folder}: {error.strerror or error}")
    except Exception as error:  # noqa: BLE001  a fault of ours in one bag must not cost the others
        with suppress(OSError):
            (job.folder / TRACEBACK).write_text(traceback.format_exc(), encoding="utf-8")
        return failed(job, f"unexpected {type(error).__name__} ({error}); see {job.folder / TRACEBACK}")
    return Row(job.folder.name, str(job.bag), summary=summary)


def failed(job: Job, why: str) -> Row:
    """The row of a bag that could not be replayed."""
    return Row(job.folder.name, str(job.bag), error=why)


def goal_path(goal: str) -> Path | None:
    """The image or bag that a goal is read from; None for a name in the bundle."""
    moment = MOMENT.fullmatch(goal)
    path = Path(moment["bag"] if moment else goal)
    return path if (moment or path.suffix) and path.exists() else None


def robot_path(robot: str) -> Path | None:
    """The file that a robot is read from; None for one that is shipped."""
    path = Path(robot)
    return path if path.suffix and path.is_file() else None


def is_report(bag: Path) -> bool:
    """Whether this bag is what an earlier replay has written."""
    folder = bag if bag.is_dir() else bag.parent
    return (folder / REPORT).is_file() and (folder / ANNOTATED).is_file() and (bag == folder or bag.name == ANNOTATED)


def unique_names(bags: Sequence[Path]) -> list[str]:
    """A folder's name for each bag: its own without suffix and, where that is not enough, with suffix and folders."""
    depths = [0] * len(bags)
    while True:
        names = [_name(bag, depth) for bag, depth in zip(bags, depths, strict=True)]
        counts = Counter(name.casefold() for name in names)
        clashing = [i for i, name in enumerate(names) if counts[name.casefold()] > 1]
        deeper = [i for i in clashing if depths[i] < len(bags[i].resolve().parts)]
        if not deeper:
            break
        for i in deeper:
            depths[i] += 1
    for number, i in enumerate(clashing):
        names[i] = f"{names[i]}-{number + 1}"
    return names


def _name(bag: Path, depth: int) -> str:
    parts = bag.resolve().parts
    if depth == 0:
        return (parts[-1] if bag.is_dir() else _SUFFIXES.sub("", parts[-1])) or parts[-1]
    return "_".join(part.strip(os.sep) for part in parts[-depth:])


def _stats(path: Path | None) -> list[tuple[str, int, int]]:
    """Name, size in bytes and time of change in ns, of a file or of every file in a folder."""
    if path is None or not path.exists():
        return []
    files = [path] if path.is_file() else sorted(inner for inner in path.rglob("*") if inner.is_file())
    found = []
    for file in files:
        stat = file.stat()
        found.append((str(file.relative_to(path.parent)), stat.st_size, stat.st_mtime_ns))
    return found
