"""Motions: the world model's actions → joint targets."""

from jepa_ros.motion.direct import DirectMotion
from jepa_ros.motion.factory import check_units, make_motion, motion_kind
from jepa_ros.motion.locomotion import ACTION_NAMES, LocomotionMotion

__all__ = ["ACTION_NAMES", "DirectMotion", "LocomotionMotion", "check_units", "make_motion", "motion_kind"]
