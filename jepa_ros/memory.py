"""Place memory: latents that were given a name, kept on disk, found again by nearness."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from jepa_ros.arrays import read_arrays
from jepa_ros.errors import JepaRosError
from jepa_ros.types import Float32


class PlaceMemory:
    """Named latents of one bundle.

    Args:
        bundle_name: whose encoder made the latents; another bundle's are refused.
        dim: D of the latents `[D]`.
    """

    def __init__(self, bundle_name: str, dim: int) -> None:
        self._bundle, self._dim = bundle_name, dim
        self._places: dict[str, Float32] = {}

    @property
    def names(self) -> list[str]:
        """Of every place, sorted."""
        return sorted(self._places)

    def remember(self, name: str, latent: Float32) -> None:
        """Keep a latent `[D]` under a name, in place of what had it before.

        Raises:
            JepaRosError: an empty name, or a latent of another size or that is not finite.
        """
        if not name:
            raise JepaRosError("a place needs a name")
        if latent.shape != (self._dim,) or not np.isfinite(latent).all():
            raise JepaRosError(
                f"place {name!r}: its latent must be {self._dim} finite numbers, not {list(latent.shape)}"
            )
        self._places[name] = latent.astype(np.float32)

    def recall(self, name: str) -> Float32:
        """The latent `[D]` of a place.

        Raises:
            JepaRosError: no such place; the message lists those there are.
        """
        if name not in self._places:
            raise JepaRosError(f"no place is named {name!r}; there are: {', '.join(self.names) or 'none'}")
        return self._places[name].copy()

    def nearest(self, latent: Float32) -> tuple[str, float]:
        """The place whose latent is nearest to `latent` `[D]`, and the mean squared difference.

        Raises:
            JepaRosError: nothing is remembered.
        """
        if not self._places:
            raise JepaRosError("no place is remembered yet")
        distances = {name: float(np.mean((kept - latent) ** 2)) for name, kept in self._places.items()}
        best = min(distances, key=distances.__getitem__)
        return best, distances[best]

    def save(self, path: Path) -> None:
        """Write to an `.npz`, atomically."""
        partial = path.with_name(f".{path.name}.partial")
        with partial.open("wb") as file:
            names = np.array(self.names, dtype=np.str_)
            latents = (
                np.stack([self._places[name] for name in self.names])
                if self._places
                else np.zeros((0, self._dim), np.float32)
            )
            np.savez(file, bundle=np.array(self._bundle), names=names, latents=latents)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Take in what `save` wrote, beside what is remembered already.

        Raises:
            JepaRosError: the file is damaged or of another bundle.
        """
        found = read_arrays(path)
        if missing := {"bundle", "names", "latents"} - set(found):
            raise JepaRosError(f"place memory {path}: lacks {', '.join(sorted(missing))}")
        bundle, names, latents = str(found["bundle"]), found["names"].tolist(), found["latents"]
        if bundle != self._bundle:
            raise JepaRosError(f"place memory {path}: made with bundle {bundle!r}, this one is {self._bundle!r}")
        for name, latent in zip(names, latents, strict=True):
            self.remember(name, latent)
