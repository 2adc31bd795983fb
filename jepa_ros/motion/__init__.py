"""Motions: the world model's actions → joint targets."""

from jepa_ros.motion.locomotion import LocomotionMotion

__all__ = ["LocomotionMotion"]
