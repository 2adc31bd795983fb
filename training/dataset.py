"""Recorded runs in memory, cut into windows that never cross from one run to the next."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from jepa_ros.arrays import read_arrays
from jepa_ros.errors import JepaRosError

Mount = tuple[float, float, float, float]


@dataclass
class Runs:
    """Runs laid end to end.

    Attributes:
        images: uint8 `[N, h, w, 3]`, RGB at the model's native size.
        actions: float32 `[N, A]`, SI units; row i was applied from frame i to frame i + 1.
        poses: float32 `[N, 3]`, x m, y m, yaw rad; truth, for diagnostics only.
        first: `[runs]`, where each run begins; `length`: `[runs]`.
        step_s: time between frames.
        names: `[runs]`, of the files.
        fov_rad: horizontal field of view of the camera after the crop; mount: where it sat from base_link, x m, y m,
            z m and pitch rad, nose-down. None unless every file says it.
    """

    images: NDArray[np.uint8]
    actions: NDArray[np.float32]
    poses: NDArray[np.float32]
    first: NDArray[np.int64]
    length: NDArray[np.int64]
    step_s: float
    names: tuple[str, ...] = ()
    fov_rad: float | None = None
    mount: Mount | None = None

    def starts(self, window: int) -> NDArray[np.int64]:
        """Every frame at which a window of that many frames fits inside its run."""
        return np.concatenate([np.arange(f, f + n - window + 1) for f, n in zip(self.first, self.length, strict=True)])

    def batch(self, starts: NDArray[np.int64], window: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Windows at `starts` → images uint8 `[B, window, h, w, 3]`, actions `[B, window, A]`."""
        rows = starts[:, None] + np.arange(window)
        return torch.from_numpy(self.images[rows]), torch.from_numpy(self.actions[rows])

    def pairs(
        self, rng: np.random.Generator, count: int = 2000, farthest: int = 40
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw pairs of frames of one run, 1 to `farthest` steps apart: `[count]` earlier and `[count]` later ones.

        Where no run is that long, up to half the longest one, so that many frames can still be the earlier one.

        Raises:
            JepaRosError: no run has two frames.
        """
        self.need(2, "pairs of frames")
        longest = int(self.length.max())
        apart = farthest if longest > farthest else longest // 2
        begin = rng.choice(self.starts(apart + 1), count)
        return begin, begin + rng.integers(1, apart + 1, count)

    def need(self, window: int, what: str) -> None:
        """Refuse runs of which none is long enough.

        Raises:
            JepaRosError: the longest run has fewer than `window` frames; it is named, and `what` needs them.
        """
        longest = int(self.length.argmax())
        if self.length[longest] < window:
            name = self.names[longest] if self.names else f"number {longest}"
            raise JepaRosError(
                f"{what}: {window} frames in a row are needed and the longest run, {name}, has {self.length[longest]}; "
                "collect longer runs"
            )

    def identity(self) -> str:
        """What tells these runs from others: how many, how long, and the hash of lengths and actions."""
        found = hashlib.sha256(np.ascontiguousarray(self.length).tobytes())
        found.update(np.ascontiguousarray(self.actions).tobytes())
        return f"{len(self.length)} runs, {len(self.actions)} frames, sha256 {found.hexdigest()[:16]}"


def read_split(folder: Path, held_out: int | Sequence[str]) -> tuple[Runs, Runs]:
    """The runs of a folder to train on, and those held out.

    Args:
        folder: where the `run_*.npz` files lie.
        held_out: how many of the last, or the files' names.

    Raises:
        JepaRosError: there are none, too few to hold so many out, or one of the names is missing; or a file lacks a
            field or does not fit the others.
    """
    kept, apart = _split(folder, held_out)
    return _read(kept), _read(apart)


def read_held_out(folder: Path, held_out: int | Sequence[str]) -> Runs:
    """Of `read_split`, the runs held out.

    Raises:
        JepaRosError: as `read_split`.
    """
    return _read(_split(folder, held_out)[1])


def read_runs(folder: Path, part: slice = slice(None)) -> Runs:
    """Read the `run_*.npz` files of a folder, in order of name.

    Args:
        folder: where they lie.
        part: which of them, for instance `slice(-20, None)` for the last twenty.

    Raises:
        JepaRosError: there is none, or one lacks a field or does not fit the others.
    """
    return _read(_paths(folder)[part])


def _paths(folder: Path) -> list[Path]:
    paths = sorted(folder.glob("run_*.npz"))
    if not paths:
        raise JepaRosError(
            f"no run_*.npz files in {folder}: collect some with `python -m jepa_ros_simulation.collect --out {folder}`"
        )
    return paths


def _split(folder: Path, held_out: int | Sequence[str]) -> tuple[list[Path], list[Path]]:
    paths = _paths(folder)
    if isinstance(held_out, int):
        if len(paths) <= held_out:
            raise JepaRosError(
                f"{folder} has {len(paths)} run files and --hold-out {held_out} leaves none to train on; collect more "
                "or hold out fewer"
            )
        return paths[:-held_out], paths[-held_out:]
    names = set(held_out)
    if missing := sorted(names - {path.name for path in paths}):
        raise JepaRosError(
            f"{folder} lacks {missing[0]}, one of {len(names)} runs that the checkpoint was not trained on; give the "
            "folder it was trained from with --data"
        )
    kept = [path for path in paths if path.name not in names]
    return kept, [path for path in paths if path.name in names]


def _read(paths: list[Path]) -> Runs:
    """Files laid end to end."""
    if not paths:
        raise JepaRosError("no run file is left of the folder; hold out fewer")
    images, actions, poses, steps = [], [], [], set()
    views: list[float | None] = []
    mounts: list[Mount | None] = []
    for path in paths:
        try:
            run = read_arrays(path)
            images.append(run["images"])
            actions.append(run["actions"].astype(np.float32))
            poses.append(run["poses"].astype(np.float32))
            steps.add(float(run["step_s"]))
        except (KeyError, JepaRosError) as error:
            raise JepaRosError(f"run file {path}: {error}; collect it again or remove it") from error
        if not len(images[-1]) == len(actions[-1]) == len(poses[-1]):
            raise JepaRosError(f"run file {path}: images, actions and poses differ in length")
        if images[-1].shape[1:] != images[0].shape[1:] or len(steps) != 1:
            raise JepaRosError(f"run file {path}: image size or step_s differs from {paths[0].name}")
        view = _numbers(path, run, "horizontal_fov_rad", 1)
        views.append(None if view is None else view[0])
        mount = _numbers(path, run, "camera_mount", 4)
        mounts.append(None if mount is None else (mount[0], mount[1], mount[2], mount[3]))
        if len(set(views) - {None}) > 1 or len(set(mounts) - {None}) > 1:
            raise JepaRosError(
                f"run file {path}: horizontal_fov_rad or camera_mount differs from the runs before it; keep runs of "
                "different cameras in different folders"
            )
    length = np.array([len(part) for part in images])
    first = np.concatenate([[0], np.cumsum(length)[:-1]])
    return Runs(
        np.concatenate(images),
        np.concatenate(actions),
        np.concatenate(poses),
        first,
        length,
        steps.pop(),
        names=tuple(path.name for path in paths),
        fov_rad=None if None in views else views[0],
        mount=None if None in mounts else mounts[0],
    )


def _numbers(path: Path, run: dict[str, NDArray[np.generic]], field: str, count: int) -> list[float] | None:
    """A field of so many finite numbers; None where the file does not have it."""
    if field not in run:
        return None
    found = run[field]
    if found.size != count or found.dtype.kind not in "fiu" or not np.isfinite(found).all():
        raise JepaRosError(f"run file {path}: {field} must be {count} finite numbers; collect it again or remove it")
    return [float(value) for value in found.ravel()]
