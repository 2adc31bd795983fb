"""Small made-up run files: a bright square moves as the actions say, so that there is something to learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SIZE = 16


def write_runs(
    folder: Path, count: int = 3, length: int = 30, seed: int = 0, poses: bool = True, **extra: object
) -> Path:
    """Write `count` run files of `length` frames of 16 × 16 pixels; pixel (0, 0) holds the number of the run.

    `extra` are further fields of every file.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for run in range(count):
        actions = rng.uniform([-0.4, -0.3, -0.9], [0.6, 0.3, 0.9], (length, 3)).astype(np.float32)
        place = np.cumsum(np.concatenate([np.zeros((1, 3)), actions[:-1]]), 0).astype(np.float32)
        images = np.zeros((length, SIZE, SIZE, 3), np.uint8)
        for frame, (x, y, _) in enumerate(place):
            column, row = int(4 + 3 * x) % SIZE, int(8 + 6 * y) % SIZE
            images[frame, row, column] = 255
            images[frame, (row + 1) % SIZE, column, 1] = 200
        images[:, 0, 0] = run
        truth = place if poses else np.full_like(place, np.nan)
        np.savez(folder / f"run_{run:05d}.npz", images=images, actions=actions, poses=truth, step_s=0.2, **extra)
    return folder
