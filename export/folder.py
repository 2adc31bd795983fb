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

    Raises:
        BundleError: what lies at `out` is not a bundle, which may be replaced, nor empty.
    """
    if out.exists() and not (out / MANIFEST_NAME).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise BundleError(f"export: {out} exists and is not a bundle; choose another --out or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield partial
        partial.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
