"""Exploration in the simulator: random body velocities, held for a while, kept clear of furniture. Writes run files.

A run file is one unbroken episode, `run_00000.npz`: images uint8 `[N, h, w, 3]` (already through the camera
preprocessing), actions float32 `[N, 3]` (vx m/s, vy m/s, wz rad/s; row i was applied from frame i to frame i + 1),
poses float32 `[N, 3]` (x m, y m, yaw rad; the simulator's truth, for diagnostics only), step_s, and the camera's
horizontal_fov_rad and camera_mount `[4]` (x, y, z in m from base_link, rad nose-down).
"""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jepa_ros_simulation.dog import HEAD_CAMERA_FOV_RAD, HEAD_CAMERA_MOUNT_M, DogSim
from jepa_ros_simulation.rooms import Room
from jepa_ros_simulation.walker import Walker

STEP_S = 0.2
ACTION_LOW = np.array([-0.4, -0.3, -0.9])
ACTION_HIGH = np.array([0.6, 0.3, 0.9])
_KEEP_AWAY_M = 0.3
_LONGEST_HOLD = 8
_TRIES = 20


def draw_action(rng: np.random.Generator) -> NDArray[np.float64]:
    """One body velocity: 10 % stand still, 15 % along one axis only, 20 % slow, the rest uniform within bounds."""
    action = rng.uniform(ACTION_LOW, ACTION_HIGH)
    kind = rng.uniform()
    if kind < 0.10:
        return np.zeros(3)
    if kind < 0.25:
        return action * (np.arange(3) == rng.integers(3))
    return action * 0.35 if kind < 0.45 else action


def path_clearance(room: Room, pose: tuple[float, float, float], action: NDArray[np.float64], steps: int) -> float:
    """Least clearance in m along the way that a body velocity, if tracked perfectly, leads in `steps` model steps."""
    at = np.arange(0, steps + 3) * STEP_S
    yaw = pose[2] + action[2] * at
    vx, vy = action[0] * np.cos(yaw) - action[1] * np.sin(yaw), action[0] * np.sin(yaw) + action[1] * np.cos(yaw)
    way = np.stack([pose[0] + np.cumsum(vx) * STEP_S, pose[1] + np.cumsum(vy) * STEP_S], 1)
    return float(room.clearance(way).min())


def explore(walker: Walker, room: Room, steps: int, rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
    """One run of at most `steps` model steps; ends early when the dog has fallen."""
    walker.start(*room.sample_pose(rng, radius=_KEEP_AWAY_M))
    images, actions, poses = [], [], []
    action, hold = np.zeros(3), 1
    for _ in range(steps):
        pose = walker.sim.pose()
        if hold == 0:
            hold = int(rng.integers(1, _LONGEST_HOLD + 1))
            best = -np.inf
            for _ in range(_TRIES):
                candidate = draw_action(rng)
                clearance = path_clearance(room, pose, candidate, hold)
                if clearance > best:
                    best, action = clearance, candidate
                if best > _KEEP_AWAY_M:
                    break
        images.append(cv2.resize(walker.sim.render(), (64, 64), interpolation=cv2.INTER_AREA))
        actions.append(action)
        poses.append(pose)
        walker.drive(action, STEP_S)
        hold -= 1
        if walker.sim.status().fallen:
            break
    return {
        "images": np.stack(images),
        "actions": np.array(actions, np.float32),
        "poses": np.array(poses, np.float32),
        "step_s": np.float64(STEP_S),
        "horizontal_fov_rad": np.float64(HEAD_CAMERA_FOV_RAD),
        "camera_mount": np.array([*HEAD_CAMERA_MOUNT_M, 0.0]),
    }


def _worker(room_seed: int, out: Path, numbers: list[int], steps: int, seed: int) -> int:
    """Collect some runs in a process of its own; returns how many model steps were recorded."""
    room = Room(room_seed)
    walker = Walker(DogSim(room))
    total = 0
    for number in numbers:
        run = explore(walker, room, steps, np.random.default_rng([seed, number]))
        partial = out / f".run_{number:05d}.npz"
        np.savez(partial, **run)
        partial.rename(out / f"run_{number:05d}.npz")
        total += len(run["images"])
    walker.sim.close()
    return total


def main(
    out: Annotated[Path, typer.Option(help="folder for run files; runs that are there already are kept")] = Path(
        "data/room0"
    ),
    runs: Annotated[int, typer.Option(min=1, help="how many runs in all")] = 500,
    steps: Annotated[int, typer.Option(min=2, help="model steps of 0.2 s a run")] = 250,
    room: Annotated[int, typer.Option(help="which room (its seed)")] = 0,
    seed: Annotated[int, typer.Option(help="of the exploration")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="processes")] = os.cpu_count() or 1,
) -> None:
    """Collect runs of the simulated dog exploring a room."""
    out.mkdir(parents=True, exist_ok=True)
    todo = [n for n in range(runs) if not (out / f"run_{n:05d}.npz").exists()]
    parts = [todo[i : i + 4] for i in range(0, len(todo), 4)]
    columns = [
        TextColumn("collecting runs"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    context = multiprocessing.get_context("spawn")
    with Progress(*columns) as progress, ProcessPoolExecutor(workers, mp_context=context) as pool:
        bar = progress.add_task("runs", total=runs, completed=runs - len(todo))
        futures = {pool.submit(_worker, room, out, part, steps, seed): part for part in parts}
        frames = 0
        for future in as_completed(futures):
            frames += future.result()
            progress.advance(bar, len(futures[future]))
    typer.echo(f"{frames} model steps in {len(todo)} new runs; {runs} runs in {out}")


if __name__ == "__main__":
    typer.run(main)
