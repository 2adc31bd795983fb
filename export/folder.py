"""A bundle's folder is put together beside its place and moved there once it is complete."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jepa_ros.bundle.manifest import MANIFEST_NAME
from jepa_ros.errors import BundleError


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A temporary folder that becomes `out` where the body ends well, and is taken away where it does not.

    A bundle that lies there is moved aside before, and deleted after the new one is in its place. Where `out` is a
    link, the folder that it leads to is replaced.

    Raises:
        BundleError: what lies at `out` is not a bundle, which may be replaced, nor empty.
    """
    out = out.resolve()
    if out.exists() and not (out / MANIFEST_NAME).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise BundleError(f"export: {out} exists and is not a bundle; choose another --out or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    made, before = work / "new", work / "old"
    made.mkdir(mode=0o755)
    try:
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
