"""Recorded runs in memory, cut into windows that never cross from one run to the next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from jepa_ros.arrays import read_arrays
from jepa_ros.errors import JepaRosError


@dataclass
class Runs:
    """Runs laid end to end.

    Attributes:
        images: uint8 `[N, h, w, 3]`, RGB at the model's native size.
        actions: float32 `[N, A]`, SI units; row i was applied from frame i to frame i + 1.
        poses: float32 `[N, 3]`, x m, y m, yaw rad; truth, for diagnostics only.
        first: `[runs]`, where each run begins; `length`: `[runs]`.
        step_s: time between frames.
    """

    images: NDArray[np.uint8]
    actions: NDArray[np.float32]
    poses: NDArray[np.float32]
    first: NDArray[np.int64]
    length: NDArray[np.int64]
    step_s: float

    def starts(self, window: int) -> NDArray[np.int64]:
        """Every frame at which a window of that many frames fits inside its run."""
        return np.concatenate([np.arange(f, f + n - window + 1) for f, n in zip(self.first, self.length, strict=True)])

    def batch(self, starts: NDArray[np.int64], window: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Windows at `starts` → images uint8 `[B, window, h, w, 3]`, actions `[B, window, A]`."""
        rows = starts[:, None] + np.arange(window)
        return torch.from_numpy(self.images[rows]), torch.from_numpy(self.actions[rows])


def read_runs(folder: Path, part: slice = slice(None)) -> Runs:
    """Read the `run_*.npz` files of a folder, in order of name.

    Args:
        folder: where they lie.
        part: which of them, for instance `slice(0, -20)` to train and `slice(-20, None)` to hold out.

    Raises:
        JepaRosError: there is none, or one lacks a field or does not fit the others.
    """
    paths = sorted(folder.glob("run_*.npz"))[part]
    if not paths:
        raise JepaRosError(
            f"no run_*.npz files in {folder}: collect some with `python -m jepa_ros_simulation.collect --out {folder}`"
        )
    images, actions, poses, steps = [], [], [], set()
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
    length = np.array([len(part) for part in images])
    first = np.concatenate([[0], np.cumsum(length)[:-1]])
    return Runs(np.concatenate(images), np.concatenate(actions), np.concatenate(poses), first, length, steps.pop())
