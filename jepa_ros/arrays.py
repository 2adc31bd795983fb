"""Reading `.npz` files whose bytes nobody vouches for."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jepa_ros.errors import JepaRosError


def read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """Every array of an `.npz`, by name; nothing is unpickled.

    Raises:
        JepaRosError: the file is absent, cut short or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as found:
            if not isinstance(found, np.lib.npyio.NpzFile):
                raise JepaRosError(f"{path}: cannot be read as named arrays (it is a single array)")
            return {name: found[name] for name in found.files}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise JepaRosError(f"{path}: cannot be read as named arrays ({error})") from error
