"""A bundle's folder is put together beside its place and moved there once it is complete.

The work lies in a hidden folder `.NAME.xxxx`, with a file that says whose it is and that the process keeps locked. The
kernel frees the lock however the process ends, so the next export to the same place can tell what a killed one left.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jepa_ros.bundle.manifest import MANIFEST_NAME
from jepa_ros.errors import BundleError

_LOG = logging.getLogger(__name__)
_OWNER, _NEW, _OLD = "owner.json", "new", "old"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A temporary folder that becomes `out` where the body ends well, and is taken away where it does not.

    A bundle that lies there is moved aside before, and deleted after the new one is in its place. Where `out` is a
    link, the folder that it leads to is replaced. What an export to `out` left that was killed is taken away first.

    Raises:
        BundleError: what lies at `out` is not a bundle, which may be replaced, nor empty.
    """
    out = out.resolve()
    remove_leftovers(out)
    if out.exists() and not (out / MANIFEST_NAME).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise BundleError(f"export: {out} exists and is not a bundle; choose another --out or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=_prefix(out), dir=out.parent))
    made, before = work / _NEW, work / _OLD
    try:
        with _owned(work, out):
            made.mkdir(mode=0o755)
            yield made
            if out.exists():
                out.rename(before)
            try:
                made.rename(out)
            except BaseException:
                if before.exists():
                    before.rename(out)
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def remove_leftovers(out: Path) -> None:
    """Take away what killed exports to `out` left beside it, with a line in the log for each.

    Only what is certainly such: it says that it was made for `out` since this machine was started, and the lock of the
    process that made it is free. Anything else stays. A bundle that had been moved aside is put back.

    Args:
        out: resolved.
    """
    for work in sorted(out.parent.glob(f"{_prefix(out)}*")):
        if work.is_symlink() or not work.is_dir():
            continue
        with _claimed(work / _OWNER, out) as dead:
            if not dead:
                continue
            # Killed between the two moves: the bundle that was there is the only one.
            back = (work / _OLD).is_dir() and not out.exists()
            if back:
                (work / _OLD).rename(out)
            shutil.rmtree(work, ignore_errors=True)
            also = "; the bundle that it had moved aside is in its place again" if back else ""
            _LOG.warning("export: removed %s, which an export that was killed had left%s", work, also)


def _prefix(out: Path) -> str:
    return f".{out.name}."


def _identity(out: Path) -> dict[str, str]:
    """Whose a folder is: by place and by this start of this machine, on which a lock that is free proves something."""
    return {"export": out.name, "boot": _BOOT_ID.read_text().strip()}


@contextmanager
def _owned(work: Path, out: Path) -> Iterator[None]:
    """Sign a folder and hold its lock. Where it cannot be locked it stays unsigned, and so is never taken for dead."""
    with (work / _OWNER).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            json.dump({**_identity(out), "pid": os.getpid()}, file)
            file.flush()
        except OSError:
            file.truncate(0)
        yield


@contextmanager
def _claimed(owner: Path, out: Path) -> Iterator[bool]:
    """Whether the folder of this file was made for `out` by a process that is dead; the lock is held meanwhile."""
    try:
        file = owner.open("r+")
    except OSError:  # not signed, or another user's
        yield False
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            said = json.load(file)
            dead = isinstance(said, dict) and _identity(out).items() <= said.items()
        except (OSError, ValueError):  # locked by the living, or not signed yet
            dead = False
        yield dead
