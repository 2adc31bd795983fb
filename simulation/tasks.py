"""Reaching tasks: which start and goal poses are posed, and when a goal counts as reached."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jepa_ros.errors import JepaRosError
from jepa_ros_simulation.rooms import ROBOT_RADIUS_M, Room

Pose = tuple[float, float, float]

NEAREST_M, FARTHEST_M = 0.6, 1.5
WIDEST_TURN_RAD = np.radians(60.0)
EPISODE_S, HELD_S = 10.0, 1.0
WITHIN_M, WITHIN_RAD = 0.25, np.radians(15.0)


@dataclass(frozen=True)
class Task:
    """Poses in the room, x m, y m, yaw rad; `invalid` says why a task that was given cannot be posed."""

    start: Pose
    goal: Pose
    invalid: str | None = None


def wrap(angle: float) -> float:
    """An angle in rad brought into (−π, π]."""
    return float(-((-angle + np.pi) % (2 * np.pi) - np.pi))


def why_invalid(room: Room, start: Pose, goal: Pose) -> str | None:
    """Why a task is rejected: a pose in collision, or the straight way between them blocked; None if it is sound."""
    for name, pose in (("start", start), ("goal", goal)):
        if not room.free(pose[0], pose[1], ROBOT_RADIUS_M):
            return f"{name} is in collision"
    return None if room.clear(start[:2], goal[:2], ROBOT_RADIUS_M) else "the straight way is blocked"


def sample_tasks(room: Room, count: int, seed: int) -> tuple[list[Task], float]:
    """Draw tasks: distance uniform in 0.6–1.5 m, bearing uniform, yaw difference uniform in ±60°.

    The start's position and heading are uniform over the whole floor. Distance, bearing and turn are drawn together
    with it, and the whole draw is rejected if a pose is in collision or the way is blocked.

    Returns:
        The tasks and the share of draws that were rejected.
    """
    rng = np.random.default_rng(seed)
    tasks: list[Task] = []
    draws = 0
    while len(tasks) < count:
        draws += 1
        x, y = rng.uniform(-3.0, 3.0, 2)
        yaw, bearing = rng.uniform(-np.pi, np.pi, 2)
        distance, turn = rng.uniform(NEAREST_M, FARTHEST_M), rng.uniform(-WIDEST_TURN_RAD, WIDEST_TURN_RAD)
        start = (float(x), float(y), float(yaw))
        goal = (float(x + distance * np.cos(bearing)), float(y + distance * np.sin(bearing)), wrap(yaw + turn))
        if why_invalid(room, start, goal) is None:
            tasks.append(Task(start, goal))
    return tasks, 1.0 - count / draws


def read_tasks(path: Path, room: Room) -> list[Task]:
    """Tasks from a JSON list of `{"start": [x, y, yaw], "goal": [x, y, yaw]}`, m and rad.

    Raises:
        JepaRosError: the file is not such a list; the entry and the field are named.
    """
    try:
        entries = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise JepaRosError(f"goals file {path}: {error}") from error
    if not isinstance(entries, list):
        raise JepaRosError(f"goals file {path}: must be a JSON list of objects with start and goal")
    tasks = []
    for number, entry in enumerate(entries):
        poses = []
        for field in ("start", "goal"):
            value = entry.get(field) if isinstance(entry, dict) else None
            if not _is_pose(value):
                raise JepaRosError(
                    f"goals file {path}: entry {number}, field {field} must be three finite numbers [x, y, yaw]"
                )
            poses.append((float(value[0]), float(value[1]), float(value[2])))
        tasks.append(Task(poses[0], poses[1], why_invalid(room, poses[0], poses[1])))
    return tasks


def _is_pose(value: object) -> bool:
    """Whether a JSON value is a list of three finite numbers."""
    numbers = isinstance(value, list) and len(value) == 3 and all(isinstance(v, int | float) for v in value)
    return numbers and bool(np.isfinite(value).all())  # type: ignore[call-overload]


def errors_to(goal: Pose, pose: Pose) -> tuple[float, float]:
    """Distance in m and absolute yaw difference in rad."""
    return float(np.hypot(goal[0] - pose[0], goal[1] - pose[1])), abs(wrap(goal[2] - pose[2]))


def reached(goal: Pose, last_second: Sequence[Pose]) -> bool:
    """Whether every pose of the last second is within 0.25 m and 15° of the goal."""
    return all(d <= WITHIN_M and a <= WITHIN_RAD for d, a in (errors_to(goal, pose) for pose in last_second))


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % confidence interval of a rate (Wilson 1927)."""
    if trials == 0:
        return 0.0, 1.0
    z, rate = 1.959964, successes / trials
    middle = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * np.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    return max(float(middle - half), 0.0), min(float(middle + half), 1.0)
