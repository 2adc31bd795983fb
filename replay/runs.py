"""Bags → run files that training reads: `python -m jepa_ros_replay.runs BAG… --out data/mine`.

A run file is one unbroken stretch of a drive, its frames one model step apart on average, each with the mean action
that was carried out until the next (see `jepa_ros_simulation.collect` for the fields). Poses are taken from odometry
where the bag has some, and are zero otherwise: training needs none, its pose figures then mean nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from jepa_ros.bundle.manifest import CameraSpec
from jepa_ros.errors import ImageError, JepaRosError
from jepa_ros.messages import horizontal_fov, image_view, seconds
from jepa_ros.planning.frames import AppliedActions, FrameCadence
from jepa_ros.types import Float32, UInt8
from jepa_ros.vision import Preprocessor
from jepa_ros_replay.bags import Bag, BagError, find_bags
from jepa_ros_replay.topics import find_topics

_SHORTEST = 16


@dataclass
class Stretch:
    """Frames without a hole between them.

    Attributes:
        images: uint8 `[h, w, c]` each; actions: `[A]` from each frame to the next, one fewer; poses: x m, y m, yaw rad.
    """

    images: list[UInt8] = field(default_factory=list)
    actions: list[Float32] = field(default_factory=list)
    poses: list[tuple[float, float, float]] = field(default_factory=list)


@dataclass
class Drive:
    """What one bag gives: stretches, and the horizontal field of view in rad of its camera; 0 where it is not known."""

    stretches: list[Stretch]
    fov_rad: float
    has_poses: bool


def stretches_of(bag: Bag, step_s: float, camera: CameraSpec, action_names: tuple[str, ...]) -> Drive:
    """Cut a bag into stretches.

    Args:
        bag: holds camera images and applied actions.
        step_s: time between frames in s: the model step.
        camera: how images are cropped and resized.
        action_names: components of an action; a bag with others is refused.

    Raises:
        BagError: it lacks one of the two, or its actions have other names.
    """
    topics = find_topics(bag.topics)
    if missing := [name for name in ("camera", "applied_action") if name not in topics]:
        raise BagError(f"bag {bag.path}: has no {' and no '.join(missing)}; training needs both")
    roles = {topic: role for role, topic in topics.items()}
    prepare = Preprocessor(camera)
    cadence, applied = FrameCadence(step_s), AppliedActions(len(action_names))
    found, pose, fov = [Stretch()], (0.0, 0.0, 0.0), 0.0
    wanted = [topics[name] for name in ("camera", "camera_info", "applied_action", "odometry") if name in topics]
    for record in bag.messages(wanted):
        message, role = bag.deserialize(record), roles[record.topic]
        if role == "camera_info":
            fov = horizontal_fov(message)
        elif role == "odometry":
            pose = _pose(message)
        elif role == "applied_action":
            if tuple(message.names) != action_names:
                raise BagError(f"bag {bag.path}: its actions are {', '.join(message.names)}, not {action_names}")
            applied.put(seconds(message.header.stamp), np.asarray(message.values, dtype=np.float64))
        else:
            _take(found, message, cadence, applied, prepare, pose)
    kept = [stretch for stretch in found if len(stretch.images) >= _SHORTEST]
    return Drive(kept, fov, "odometry" in topics)


def _take(
    found: list[Stretch],
    message: Any,
    cadence: FrameCadence,
    applied: AppliedActions,
    prepare: Preprocessor,
    pose: tuple[float, float, float],
) -> None:
    """Put a frame into the last stretch, or begin another; one that cannot be decoded leaves a hole."""
    stamp = seconds(message.header.stamp)
    cadence.saw(stamp)
    if not cadence.due(stamp):
        return
    try:
        image = prepare(image_view(message))
    except ImageError:
        return
    previous = cadence.previous
    if cadence.take(stamp) or previous is None:
        found.append(Stretch())
    else:
        action = applied.mean(previous, stamp)
        found[-1].actions.append(np.zeros(applied.size, np.float32) if action is None else action)
    found[-1].images.append(image)
    found[-1].poses.append(pose)


def _pose(message: Any) -> tuple[float, float, float]:
    at, q = message.pose.pose.position, message.pose.pose.orientation
    return at.x, at.y, float(np.arctan2(2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y * q.y + q.z * q.z)))


def write_run(path: Path, stretch: Stretch, step_s: float, fov_rad: float, mount: tuple[float, ...] | None) -> int:
    """Write a stretch as a run file; returns its frames. The last one has no action after it and is left out."""
    count = len(stretch.actions)
    fields: dict[str, NDArray[np.generic]] = {
        "images": np.stack(stretch.images[:count]),
        "actions": np.stack(stretch.actions).astype(np.float32),
        "poses": np.array(stretch.poses[:count], np.float32),
        "step_s": np.array(step_s),
    }
    if fov_rad > 0:
        fields["horizontal_fov_rad"] = np.array(fov_rad)
    if mount is not None:
        fields["camera_mount"] = np.array(mount)
    partial = path.with_name(f".{path.name}")
    np.savez(partial, **fields)  # type: ignore[arg-type]
    partial.replace(path)
    return count


def main(
    bags: Annotated[list[Path], typer.Argument(help="bags, or folders that hold some")],
    out: Annotated[Path, typer.Option(help="folder for run files; numbering goes on after those that are there")],
    step: Annotated[float, typer.Option(min=0.01, help="model step in s")] = 0.2,
    size: Annotated[int, typer.Option(min=16, help="width and height of the images in pixels")] = 64,
    actions: Annotated[str, typer.Option(help="components of an action")] = "vx,vy,wz",
    mount: Annotated[
        tuple[float, float, float, float] | None, typer.Option(help="camera from base_link: x y z in m, pitch in rad")
    ] = None,
) -> None:
    """Turn recordings into run files for training."""
    console = Console()
    try:
        found = find_bags(bags)
        out.mkdir(parents=True, exist_ok=True)
        number, frames, poses = len(list(out.glob("run_*.npz"))), 0, True
        for path in track(found, description="reading bags"):
            bag = Bag(path)
            drive = stretches_of(bag, step, CameraSpec(width=size, height=size), tuple(actions.split(",")))
            for fault in bag.faults:
                console.print(f"[yellow]{fault.path}: {fault.what}[/yellow]")
            if not drive.stretches:
                console.print(f"[yellow]{path}: no stretch of {_SHORTEST} frames or more[/yellow]")
            poses &= drive.has_poses
            for stretch in drive.stretches:
                frames += write_run(out / f"run_{number:05d}.npz", stretch, step, drive.fov_rad, mount)
                number += 1
    except JepaRosError as error:
        console.print(f"[red]runs: {error}[/red]")
        raise typer.Exit(1) from error
    if not frames:
        console.print("[red]runs: nothing that training could use[/red]")
        raise typer.Exit(1)
    console.print(f"{frames} frames; {number} runs in {out}" + ("" if poses else "; no odometry: poses are zero"))


if __name__ == "__main__":
    typer.run(main)
