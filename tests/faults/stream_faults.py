"""Cameras, joints and inertial units that tell nothing, the past, or nonsense."""

from __future__ import annotations

from .fault import (
    DAMP,
    STATE_PERIOD_S,
    STOP,
    WALK,
    WALK_OR_STOP,
    Fault,
    altering,
    first,
    frozen,
    next_frame,
    old_picture,
    plan_ends,
    stale,
)

_CAMERA, _JOINTS, _IMU, _FEET = "camera/image_raw", "joint_states", "imu", "foot_contacts"
_JOINTS_STALE, _IMU_STALE = stale(_JOINTS, STATE_PERIOD_S), stale(_IMU, STATE_PERIOD_S)
_OLD = ("camera_stale", "plan_stale", "plan_expired")
_FUTURE = (*_OLD, "plan_from_future")

CAMERA = [
    Fault("camera_lost", altering("lose", _CAMERA), STOP, _OLD, plan_ends),
    Fault("camera_frozen_stamp", altering("repeat", _CAMERA), STOP, _OLD, plan_ends),
    # A picture that cannot be right, with a stamp that can: nothing here looks at what is in it. The dog may walk on or
    # stop; its body is never in danger.
    Fault("camera_frozen_picture", altering("same_picture", _CAMERA), WALK_OR_STOP, watch_s=2.5),
    Fault("camera_black", altering("black", _CAMERA), WALK_OR_STOP, watch_s=2.5),
    Fault("camera_noise", altering("noise", _CAMERA), WALK_OR_STOP, watch_s=2.5),
    Fault("camera_half_lost", altering("lose_half", _CAMERA), WALK_OR_STOP, watch_s=2.5),
    Fault("camera_wrong_size", altering("half_size", _CAMERA), STOP, ["planner: camera"], next_frame),
    Fault("camera_wrong_encoding", altering("depth", _CAMERA), STOP, ["planner: camera"], next_frame),
    Fault("camera_old_stamps", altering("stamp_-2", _CAMERA), STOP, _OLD, plan_ends),
    Fault("camera_future_stamps", altering("stamp_+5", _CAMERA), STOP, _FUTURE, old_picture),
]

BODY = [
    Fault("joints_shuffled", altering("shuffle", _JOINTS), WALK, watch_s=1.5),
    Fault(
        "joint_missing", altering("one_joint_missing", _JOINTS), DAMP, ["joint_state", "policy_silent"], _JOINTS_STALE
    ),
    Fault("joint_nan", altering("one_joint_nan", _JOINTS), DAMP, ["joint_state_not_finite"], first(_JOINTS)),
    Fault("joints_lost", altering("lose", _JOINTS), DAMP, ["joint_state_stale"], _JOINTS_STALE),
    Fault(
        "joints_frozen",
        altering("repeat", _JOINTS),
        DAMP,
        ["joint_state_stale"],
        frozen(_JOINTS, STATE_PERIOD_S),
    ),
    Fault("imu_nan", altering("gyro_nan", _IMU), DAMP, ["imu_not_finite", "imu_implausible"], first(_IMU)),
    Fault("imu_lost", altering("lose", _IMU), DAMP, ["imu_stale"], _IMU_STALE),
    Fault("imu_old_stamps", altering("stamp_-5", _IMU), DAMP, ["imu_stale", "clock_jump"], _IMU_STALE),
    Fault("imu_on_its_side", altering("tilted", _IMU), DAMP, ["tilt"], first(_IMU)),
    Fault(
        "feet_lost",
        altering("lose", _FEET),
        DAMP | STOP,
        ["no_foot_contact", "foot_contacts"],
        stale(_FEET, STATE_PERIOD_S),
        needs=_FEET,
    ),
]

FAULTS = [*CAMERA, *BODY]
