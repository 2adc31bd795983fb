"""Opening a bundle: every byte is checked against the manifest before anything of it runs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
import yaml
from numpy.typing import NDArray

from jepa_ros.arrays import read_arrays
from jepa_ros.bundle.manifest import MANIFEST_NAME, Manifest, read_manifest
from jepa_ros.errors import BundleError, JepaRosError
from jepa_ros.types import UInt8

ENCODER, PREDICTOR, GOLDEN = "encoder.onnx", "predictor.onnx", "golden.npz"
GOALS = "goals"


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
            return read_arrays(path)
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
            BundleError: there is no goal of that name; the message lists those there are.
        """
        if name not in self.goal_names():
            known = ", ".join(self.goal_names()) or "none"
            raise BundleError(f"bundle {self.manifest.name}: no goal is named {name!r}; there are: {known}")
        image = cv2.imread(str(self.file(f"{GOALS}/{name}.png")), cv2.IMREAD_COLOR)
        if image is None:
            raise BundleError(f"bundle {self.path}: {GOALS}/{name}.png is not an image")
        return np.ascontiguousarray(image[..., ::-1], dtype=np.uint8)


def sha256(path: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _sha256(path)


def _sha256(path: Path) -> str:
    """The same, before Python 3.11."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_bundle(path: str | Path) -> Bundle:
    """Open a bundle: manifest, hashes, and that the graphs' inputs and outputs fit the manifest.

    Golden outputs are compared when the graphs are opened (`OnnxWorldModel.check_golden`).

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
    for name in (ENCODER, PREDICTOR, GOLDEN, *(head.file for head in manifest.heads.values())):
        if name not in manifest.files:
            raise BundleError(f"bundle {folder}: the manifest lists no {name}")
    bundle = Bundle(folder, manifest)
    _check_shapes(bundle)
    return bundle


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Hash every file in the folder and write the manifest beside them; returns it with the hashes."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    files = {name: sha256(folder / name) for name in names if name not in (MANIFEST_NAME, "README.md")}
    complete = Manifest(**{**manifest.model_dump(), "files": files})
    text = yaml.safe_dump(complete.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (folder / MANIFEST_NAME).write_text(text)
    return complete


def _check_shapes(bundle: Bundle) -> None:
    """Refuse graphs whose named inputs and outputs do not have the shapes that the manifest implies."""
    manifest = bundle.manifest
    camera, context, actions = manifest.camera, manifest.predictor.max_context, len(manifest.action.names)
    image: list[int | None] = [None, camera.height, camera.width, camera.channels]
    latent = list(manifest.latent.shape)
    expected: dict[str, dict[str, list[int | None]]] = {
        ENCODER: {"image": image, "latent": [None, *latent]},
        PREDICTOR: {
            "latent": [None, context, *latent],
            "action": [None, context, actions * manifest.action.block],
            "next": [None, *latent],
        },
    }
    for head in manifest.heads.values():
        shapes: dict[str, list[int | None]] = {name: [None, *latent] for name in head.inputs if name != "action"}
        expected[head.file] = {**shapes, head.output: [None]}
    for name, tensors in expected.items():
        found = _graph_shapes(bundle, name)
        for tensor, shape in tensors.items():
            if tensor not in found:
                raise BundleError(
                    f"bundle {bundle.path}: {name} has no tensor {tensor!r}; it has {', '.join(sorted(found))}"
                )
            given = found[tensor]
            fits = len(given) == len(shape) and all(
                w is None or g is None or g == w for g, w in zip(given, shape, strict=True)
            )
            if not fits:
                raise BundleError(
                    f"bundle {bundle.path}: {name}: {tensor} has shape {given}, the manifest implies {shape}"
                )


def _graph_shapes(bundle: Bundle, name: str) -> dict[str, list[int | None]]:
    """Shapes of a graph's inputs and outputs; None where the size is free."""
    try:
        graph = onnx.load(str(bundle.file(name)), load_external_data=False).graph
    except Exception as error:  # protobuf's and onnx's errors share no base class
        raise BundleError(f"bundle {bundle.path}: {name} is not an ONNX graph") from error
    return {
        value.name: [dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
