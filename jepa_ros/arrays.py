"""Reading `.npz` files whose bytes nobody vouches for."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jepa_ros.errors import JepaRosError

MOST_BYTES = 8 * 2**30


def read_arrays(path: Path, most: int = MOST_BYTES) -> dict[str, NDArray[np.generic]]:
    """Every array of an `.npz`, by name; nothing is unpickled.

    Args:
        path: of the file.
        most: bytes that its arrays may have together once unpacked; zeros pack a thousand to one.

    Raises:
        JepaRosError: the file is absent, cut short, damaged or too large.
    """
    try:
        # What an archive says of itself is a bound: zipfile reads no further.
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > most:
            raise JepaRosError(f"{path}: its arrays have {size} bytes unpacked, more than the {most} allowed here")
        found = np.load(path, allow_pickle=False)
        if not isinstance(found, np.lib.npyio.NpzFile):  # an archive behind an array: NumPy goes by a file's beginning
            raise JepaRosError(f"{path}: cannot be read as named arrays (it is a single array)")
        with found:
            return {name: found[name] for name in found.files}
    # MemoryError: the header of an array claims a shape that nothing stands behind.
    except (OSError, EOFError, ValueError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise JepaRosError(f"{path}: cannot be read as named arrays ({error})") from error
