"""Models and planners gone wrong, and plans that nobody asked for."""

from __future__ import annotations

from .bench import Setup
from .fault import DAMP, STOP, WALK_OR_STOP, Fault, altering, first, next_frame, plan_ends
from .machine_faults import let_loose, stranger

_CAMERA, _PLAN = "camera/image_raw", "plan"
_PAST = ("plan_stale", "plan_expired", "camera_stale")
_NO_ENERGY = ("planner:", "energy_not_finite")
# The spoiled model goes wrong once it sees white.
_WHITE = altering("white", _CAMERA)

FAULTS = [
    Fault("plan_out_of_order", altering("swap", _PLAN), WALK_OR_STOP, watch_s=2.5),
    Fault("plan_from_future", altering("plan_+5", _PLAN), STOP, ["plan_from_future", "camera_stale"], first(_PLAN)),
    Fault("plan_from_past", altering("plan_-5", _PLAN), STOP, _PAST, plan_ends),
    Fault("plan_nan", altering("plan_nan", _PLAN), DAMP | STOP, ["plan_not_finite"], first(_PLAN)),
    Fault("plan_huge", altering("plan_huge", _PLAN), WALK_OR_STOP, watch_s=2.0),
    Fault("plan_flood", let_loose, WALK_OR_STOP, arm=stranger("plans"), watch_s=2.5),
    Fault("model_nan", _WHITE, STOP, _NO_ENERGY, next_frame, setup=Setup(bundle="nan")),
    Fault("model_inf", _WHITE, STOP, _NO_ENERGY, next_frame, setup=Setup(bundle="inf")),
    Fault("model_constant", _WHITE, WALK_OR_STOP, setup=Setup(bundle="constant"), watch_s=2.5),
]
