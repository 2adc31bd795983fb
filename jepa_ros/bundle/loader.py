"""Opening a bundle: every byte is checked against the manifest before anything of it runs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from jepa_ros.arrays import read_arrays
from jepa_ros.bundle.graphs import read_signature
from jepa_ros.bundle.manifest import MANIFEST_NAME, Manifest, read_manifest
from jepa_ros.bundle.signatures import (
    ENCODER,
    PREDICTOR,
    PREDICTOR_CONDITION,
    PREDICTOR_STEP,
    PREDICTOR_VJP,
    expected_signatures,
)
from jepa_ros.errors import BundleError, JepaRosError
from jepa_ros.types import UInt8

GOLDEN, GOALS = "golden.npz", "goals"
_GOLDEN_BYTES = 2 * 2**30
_GOAL_PIXELS = 2**25
_PNG = b"\x89PNG\r\n\x1a\n"

__all__ = [
    "ENCODER", "GOALS", "GOLDEN", "PREDICTOR", "PREDICTOR_CONDITION", "PREDICTOR_STEP", "PREDICTOR_VJP", "Bundle",
    "load_bundle", "sha256", "write_manifest",
]  # fmt: skip


@dataclass(frozen=True)
class Bundle:
    """A folder whose files are what its manifest says."""

    path: Path
    manifest: Manifest

    def file(self, name: str) -> Path:
        """Path of a file the manifest lists.

        Raises:
            BundleError: it lists no such file.
        """
        if name not in self.manifest.files:
            raise BundleError(f"bundle {self.path}: the manifest lists no file {name}")
        return self.path / name

    def golden(self) -> dict[str, NDArray[np.generic]]:
        """Inputs and outputs of the original model, by name.

        Raises:
            BundleError: the file is damaged.
        """
        path = self.file(GOLDEN)
        try:
            return read_arrays(path, _GOLDEN_BYTES)
        except JepaRosError as error:
            raise BundleError(f"bundle file {error}") from error

    def goal_names(self) -> list[str]:
        """Names of the goals that came with the bundle."""
        return sorted(
            Path(name).stem for name in self.manifest.files if name.startswith(f"{GOALS}/") and name.endswith(".png")
        )

    def goal_image(self, name: str) -> UInt8:
        """A named goal's view, RGB `[h, w, 3]`.

        Raises:
            BundleError: there is no goal of that name; the message lists those there are. Or its file is no image, or
                one of more than 32 million pixels.
        """
        if name not in self.goal_names():
            known = ", ".join(self.goal_names()) or "none"
            raise BundleError(f"bundle {self.manifest.name}: no goal is named {name!r}; there are: {known}")
        data = self.file(f"{GOALS}/{name}.png").read_bytes()
        image = _decode_png(data) if data.startswith(_PNG) else None
        if image is None:
            raise BundleError(
                f"bundle {self.path}: {GOALS}/{name}.png is not a PNG image of {_GOAL_PIXELS} pixels at most"
            )
        return np.ascontiguousarray(image[..., ::-1], dtype=np.uint8)


def _decode_png(data: bytes) -> UInt8 | None:
    """BGR `[h, w, 3]`; None where it is no image, or one whose header claims too many pixels: they would be made
    before the first one is read."""
    if int.from_bytes(data[16:20], "big") * int.from_bytes(data[20:24], "big") > _GOAL_PIXELS:
        return None
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)  # type: ignore[return-value]


def sha256(path: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _sha256(path)


def _sha256(path: Path) -> str:
    """The same, before Python 3.11."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_bundle(path: str | Path) -> Bundle:
    """Open a bundle: manifest, hashes, and that the graphs' inputs and outputs fit the manifest.

    Files are hashed before any of them is parsed, and a graph may keep tensors in hashed files only.

    Golden outputs are compared when the graphs are opened (see `jepa_ros.golden`).

    Raises:
        BundleError: one sentence that names the file or field.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise BundleError(f"bundle {folder}: no such folder")
    manifest = read_manifest(folder)
    for name, expected in manifest.files.items():
        file = folder / name
        if not file.is_file():
            raise BundleError(f"bundle {folder}: {name} is missing; copy the whole folder again")
        if sha256(file) != expected:
            raise BundleError(
                f"bundle {folder}: {name} does not have the sha256 that the manifest names; it was changed or damaged"
            )
    for name in (GOLDEN, *expected_signatures(manifest)):
        if name not in manifest.files:
            raise BundleError(f"bundle {folder}: the manifest lists no {name}")
    bundle = Bundle(folder, manifest)
    _check_graphs(bundle)
    return bundle


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Hash every file in the folder and write the manifest beside them; returns it with the hashes."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    # What says of the manifest, or may be written later, is not among what the manifest says.
    beside = (MANIFEST_NAME, f"{MANIFEST_NAME}.sig", "README.md")
    files = {name: sha256(folder / name) for name in names if name not in beside}
    complete = Manifest(**{**manifest.model_dump(), "files": files})
    text = yaml.safe_dump(complete.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (folder / MANIFEST_NAME).write_text(text)
    return complete


def _check_graphs(bundle: Bundle) -> None:
    """Refuse graphs whose named inputs and outputs do not have the types and shapes that the manifest implies."""
    for name, signature in expected_signatures(bundle.manifest).items():
        found = read_signature(bundle.path, name, bundle.manifest.files)
        signature.check(found, f"bundle {bundle.path}: {name}")
