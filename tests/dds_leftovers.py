"""Shared memory of DDS participants that are dead.

A process that is killed leaves what it shared, here 35 MB of the machine's memory; a living peer that had opened it
takes it away, and after a test there is none. Fast DDS holds a file lock for as long as a participant lives: so its
own `fastdds shm clean` tells the dead, which is not among the packages on PyPI.
"""

from __future__ import annotations

import fcntl
from pathlib import Path

SHARED = Path("/dev/shm")


def remove_dead_segments(folder: Path = SHARED) -> int:
    """Remove segments and ports whose owners are gone; the bytes that were freed.

    Segments `fastrtps_ID` are guarded by a lock on `fastrtps_ID_el`, which their owner holds; ports `fastrtps_portN` by
    `_el` or `_sl`, which their readers hold.
    """
    freed = 0
    for guard in [*folder.glob("fast*_el"), *folder.glob("fast*_sl")]:
        body = guard.with_name(guard.name[:-3])
        if _is_held(guard):
            continue
        for path in (body, guard, folder / f"sem.{body.name}_mutex"):
            try:
                freed += path.stat().st_blocks * 512
                path.unlink()
            except FileNotFoundError:  # it has none, or another cleaner was faster
                continue
    return freed


def _is_held(guard: Path) -> bool:
    try:
        with guard.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False
