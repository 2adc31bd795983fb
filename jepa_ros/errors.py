"""What the core raises. Each message is one sentence that names the file or field, and the fix where there is one."""

from __future__ import annotations


class JepaRosError(Exception):
    """Base of every error the core raises on bad input."""


class BundleError(JepaRosError):
    """A bundle is missing, altered, inconsistent, or of an unknown version."""


class ImageError(JepaRosError):
    """An image message cannot be used: encoding, size, row step or data do not fit."""


class RobotError(JepaRosError):
    """A robot description, joint name or joint value does not fit."""


class ModelError(JepaRosError):
    """A graph could not be opened or run, or returned something that is not a number."""


class PlanningError(JepaRosError):
    """A planning problem is malformed: shapes, bounds, horizon or cost terms."""


class WireError(JepaRosError):
    """Bytes that a robot sent are not the message that they should be, or were changed on the way."""
