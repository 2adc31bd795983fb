"""Made-up results of replays: full, and with nothing in them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from jepa_ros_replay.bags import BagFault
from jepa_ros_replay.result import CommandRow, Gap, PlanRow, ReplayResult, SafetyRow

BEGAN = 1_700_000_000.0
JOINTS = ("FL_hip", "FL_thigh", "FL_calf", "FR_hip")


def full_result(bag: Path | str = "drives/walk <1>.mcap", seed: int = 0, worse: float = 1.0) -> ReplayResult:
    """Ten seconds with everything in it; errors and surprise are `worse` times as large."""
    rng = np.random.default_rng(seed)
    times = BEGAN + np.arange(0.2, 10, 0.2)
    plans = [
        PlanRow(
            t=float(t),
            energy=float(3 - 0.05 * i),
            surprise=float("nan") if i == 0 else worse * float(0.4 + 0.3 * rng.random()),
            iterations=4,
            plan_energy=float(2.5 - 0.05 * i),
            stage_ms=(0.1, 0.3, 2.0 + float(rng.random()), 20.0 + float(rng.random())),
            restarted="the first frame" if i == 0 else "",
            actions=rng.standard_normal((5, 3)).astype(np.float32),
            latent=rng.standard_normal(8).astype(np.float32),
        )
        for i, t in enumerate(times)
    ]
    ticks = BEGAN + np.arange(0, 10, 0.05)
    views = [
        (BEGAN + t, np.full((12, 16, 3), colour, np.uint8), s) for t, colour, s in ((4.0, 200, 1.7), (2.0, 90, 1.2))
    ]
    return ReplayResult(
        bag=Path(bag),
        bundle="go2-room0",
        bundle_sha256="ab" * 32,
        robot="go2",
        joint_names=JOINTS,
        action_names=("vx", "vy", "wz"),
        began=BEGAN,
        ended=BEGAN + 10,
        wall_s=2.0,
        topics={"camera": "/camera/image_raw", "imu": "/imu"},
        frames=150,
        late=3,
        dropped=2,
        plans=plans,
        commands=[CommandRow(float(t), np.full(4, 0.5)) for t in ticks],
        recorded=[CommandRow(float(t), np.full(4, 0.25)) for t in ticks[::2]],
        applied=[(float(t), np.zeros(3)) for t in ticks],
        recorded_applied=[(float(t), np.ones(3)) for t in ticks],
        safety=[
            SafetyRow(BEGAN + 3.5, "warning", "plan_stale", "the plan was 0.6 s old & no other came"),
            SafetyRow(BEGAN + 1.0, "info", "damped_on_request", "asked to"),
        ],
        open_loop=[(1, 0.1 * worse, 0.4, 48), (8, 0.5 * worse, 1.25, 41)],
        views=views,
        gaps=[Gap("/imu", BEGAN + 6.0, BEGAN + 7.5)],
        faults=[BagFault(str(bag), 1234, "the chunk at byte 1234 is damaged")],
        images_refused=Counter({"encoding bayer_rggb8 is not known": 2}),
        goals=[(BEGAN, "west")],
    )


def empty_result(bag: Path | str = "drives/still.mcap") -> ReplayResult:
    """A replay that found next to nothing: no goal, no joints, no latents."""
    return ReplayResult(bag=Path(bag), bundle="go2-room0", bundle_sha256="ab" * 32, robot="go2", through="ros")
