"""What is written down while the dog drives to one goal, and the figures that come of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from jepa_ros.types import Float64, UInt8
from jepa_ros_simulation.tasks import WITHIN_M, WITHIN_RAD, Pose, errors_to


@dataclass
class GoalRecord:
    """One goal. Every series begins at the goal's acceptance; times are seconds since then.

    Attributes:
        start, goal: poses, x m, y m, yaw rad; truth, for scoring.
        start_view, goal_view, end_view: RGB `[h, w, 3]`.
        reached: what the robot itself reported from latents alone; `reason` is its sentence.
        poses: rows (t s, x m, y m, yaw rad), truth.
        body: rows (t s, x y z m, quaternion w x y z, 12 joint angles rad): what a film of the drive needs.
        plans: rows (t s, energy, surprise, iterations).
        stages: rows (image age, decode, encode, plan, total), each in s.
        commands: rows (t s, joint targets rad).
    """

    number: int
    start: Pose
    goal: Pose
    start_view: UInt8
    goal_view: UInt8
    end_view: UInt8 | None = None
    reached: bool = False
    reason: str = ""
    elapsed: float = 0.0
    poses: list[tuple[float, ...]] = field(default_factory=list)
    body: list[tuple[float, ...]] = field(default_factory=list)
    plans: list[tuple[float, ...]] = field(default_factory=list)
    stages: list[tuple[float, ...]] = field(default_factory=list)
    commands: list[tuple[float, ...]] = field(default_factory=list)

    def end_errors(self) -> tuple[float, float]:
        """Distance in m and yaw difference in rad at the end; infinite when nothing was seen of the drive."""
        if not self.poses:
            return float("inf"), float("inf")
        _, x, y, yaw = self.poses[-1]
        return errors_to(self.goal, (x, y, yaw))

    def at_goal(self) -> bool:
        """Truth: the dog ended within 0.25 m and 15° of the goal."""
        distance, turn = self.end_errors()
        return bool(distance <= WITHIN_M and turn <= WITHIN_RAD)


def percentiles_ms(records: list[GoalRecord], stage: int = -1) -> dict[str, float]:
    """Median and 99th percentile in ms of one stage's latency over all plans; `stage` indexes the rows of `stages`."""
    values: Float64 = np.array([row[stage] for record in records for row in record.stages]) * 1e3
    if len(values) == 0:
        return {"p50": float("nan"), "p99": float("nan")}
    return {"p50": round(float(np.percentile(values, 50)), 2), "p99": round(float(np.percentile(values, 99)), 2)}
