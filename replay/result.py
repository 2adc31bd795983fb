"""What a replay of one bag found: rows as they happened, and the figures that come of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jepa_ros.planning.recorded import RecordedPlans
from jepa_ros.types import Float32, Float64, UInt8
from jepa_ros_replay.bags import BagFault

STAGES = ("decode", "prepare", "encode", "plan")


@dataclass(frozen=True)
class PlanRow:
    """One camera frame that was taken.

    Attributes:
        t: the frame's stamp, s.
        energy: the frame's distance to the goal, latent units; NaN without a goal.
        surprise: 1.0 is the 99th percentile of the bundle's calibration; NaN where there was nothing to predict from.
        iterations, plan_energy: of the plan; 0 and NaN without one.
        stage_ms: time of each of `STAGES`.
        restarted: why the history began anew with this frame, or nothing.
        actions: `[H, A]` the plan; None without one.
        latent: `[D]`; None where only the plan is known (through ROS).
    """

    t: float
    energy: float
    surprise: float
    iterations: int
    plan_energy: float
    stage_ms: tuple[float, ...]
    restarted: str
    actions: Float32 | None
    latent: Float32 | None


@dataclass(frozen=True)
class CommandRow:
    """Joint targets at a time: `position` `[n]` rad, in the robot's order."""

    t: float
    position: Float64


@dataclass(frozen=True)
class SafetyRow:
    """One event of the shadow safety filter."""

    t: float
    severity: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Gap:
    """A topic that was silent from `begin` to `end` s, though it had a rate before."""

    topic: str
    begin: float
    end: float


@dataclass
class ReplayResult:
    """Everything that a replay of one bag says. Times are seconds of the bag's clock.

    Attributes:
        bag, bundle, bundle_sha256, robot: what was replayed with what; the hash is the manifest's.
        through: `core`, or `ros` for a replay through the nodes.
        joint_names, action_names: what the columns of commands and actions are.
        began, ended: first and last message, s.
        wall_s: how long the replay took.
        topics: the bag's topic for each role that was found.
        frames: camera messages; late: arrived more than one frame period after their stamp; dropped: missing by count.
        plans: one row for each frame that was taken.
        commands, recorded: joint targets of the shadow, and those in the bag.
        applied, recorded_applied: rows (t, action `[A]`) of the shadow, and those in the bag.
        safety: events of the shadow's safety filter.
        open_loop: rows (horizon in steps, mean squared error of the model, of copying the last latent, windows).
        views: (t, RGB `[h, w, 3]`, surprise) of the frames where the world disobeyed the model most, most first.
        gaps, faults: silent stretches of topics; what was wrong with the bag.
        images_refused: sentence → count, frames that could not be used.
        goals: (t, sentence) what was driven to from when on.
        recorded_plans: the plans whole, from where to where; None unless they were asked for and there are some.
    """

    bag: Path
    bundle: str
    bundle_sha256: str
    robot: str
    through: str = "core"
    joint_names: tuple[str, ...] = ()
    action_names: tuple[str, ...] = ()
    began: float = 0.0
    ended: float = 0.0
    wall_s: float = 0.0
    topics: dict[str, str] = field(default_factory=dict)
    frames: int = 0
    late: int = 0
    dropped: int = 0
    plans: list[PlanRow] = field(default_factory=list)
    commands: list[CommandRow] = field(default_factory=list)
    recorded: list[CommandRow] = field(default_factory=list)
    applied: list[tuple[float, Float64]] = field(default_factory=list)
    recorded_applied: list[tuple[float, Float64]] = field(default_factory=list)
    safety: list[SafetyRow] = field(default_factory=list)
    open_loop: list[tuple[int, float, float, int]] = field(default_factory=list)
    views: list[tuple[float, UInt8, float]] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    faults: list[BagFault] = field(default_factory=list)
    images_refused: Counter[str] = field(default_factory=Counter)
    goals: list[tuple[float, str]] = field(default_factory=list)
    recorded_plans: RecordedPlans | None = None

    @property
    def plan_sha256(self) -> str:
        """Of every plan's actions and energy, in order: two replays that planned alike bit for bit have the same."""
        digest = hashlib.sha256()
        for row in self.plans:
            if row.actions is not None:
                digest.update(np.ascontiguousarray(row.actions, dtype="<f4").tobytes())
                digest.update(np.array(row.plan_energy, dtype="<f4").tobytes())
        return digest.hexdigest()

    def command_difference(self) -> dict[str, float]:
        """Root mean square difference in rad by joint, shadow against recorded, over the time in which both command.

        A command holds until the next one. Empty where either commanded nothing.
        """
        if not self.commands or not self.recorded:
            return {}
        times = np.array([row.t for row in self.recorded])
        positions = np.stack([row.position for row in self.recorded])
        mine = [row for row in self.commands if times[0] <= row.t <= times[-1]]
        if not mine:
            return {}
        where = np.searchsorted(times, [row.t for row in mine], side="right") - 1
        off = np.stack([row.position for row in mine]) - positions[where]
        return dict(zip(self.joint_names, np.sqrt(np.mean(off**2, axis=0)).tolist(), strict=True))

    def summary(self) -> dict[str, Any]:
        """What summary.json holds."""
        length = self.ended - self.began
        surprise = np.array([row.surprise for row in self.plans])
        surprise = surprise[np.isfinite(surprise)]
        planned = [row for row in self.plans if row.actions is not None]
        stages = {
            name: _percentiles([row.stage_ms[i] for row in (planned or self.plans)]) for i, name in enumerate(STAGES)
        }
        return {
            "bag": str(self.bag),
            "bundle": self.bundle,
            "bundle_sha256": self.bundle_sha256,
            "robot": self.robot,
            "through": self.through,
            "plan_sha256": self.plan_sha256,
            "seconds": round(length, 3),
            "wall_s": round(self.wall_s, 3),
            "realtime_factor": round(length / self.wall_s, 3) if self.wall_s > 0 else None,
            "frames": self.frames,
            "frames_taken": len(self.plans),
            "frames_late": self.late,
            "frames_dropped": self.dropped,
            "frames_refused": dict(self.images_refused),
            "plans": len(planned),
            "goals": [{"t": round(t - self.began, 3), "goal": what} for t, what in self.goals],
            "surprise": {**_percentiles(surprise), "above_1": float(np.mean(surprise > 1)) if len(surprise) else None},
            "stage_ms": stages,
            "open_loop": [
                {"steps": steps, "model": model, "copy_last": copied, "windows": windows}
                for steps, model, copied, windows in self.open_loop
            ],
            "command_difference_rad": self.command_difference(),
            "safety_events": dict(Counter(row.reason for row in self.safety)),
            "gaps": [
                {"topic": g.topic, "from": round(g.begin - self.began, 3), "to": round(g.end - self.began, 3)}
                for g in self.gaps
            ],
            "faults": [{"path": f.path, "offset": f.offset, "what": f.what} for f in self.faults],
            "topics": self.topics,
        }


def _percentiles(values: Any) -> dict[str, float | None]:
    """Median, 99th percentile and largest; None where there is nothing."""
    found = np.asarray(values, dtype=np.float64)
    found = found[np.isfinite(found)]
    if not len(found):
        return {"p50": None, "p99": None, "max": None}
    return {
        "p50": round(float(np.percentile(found, 50)), 4),
        "p99": round(float(np.percentile(found, 99)), 4),
        "max": round(float(found.max()), 4),
    }
