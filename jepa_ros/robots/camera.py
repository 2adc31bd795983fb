"""The `camera` block of a robot file: what the camera is, and where on the body it sits."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, model_validator

from jepa_ros.robots.strict import Strict

Three = Annotated[list[float], Field(min_length=3, max_length=3)]


class Mount(Strict):
    """Where `camera_link` is in base_link (REP-103: x forward, y left, z up).

    Attributes:
        xyz: m.
        rpy: roll, pitch, yaw in rad; a pitch above zero looks down.
    """

    xyz: Three = Field(default_factory=lambda: [0.0, 0.0, 0.0])
    rpy: Three = Field(default_factory=lambda: [0.0, 0.0, 0.0])


class RobotCamera(Strict):
    """One colour camera.

    Attributes:
        width, height: of its image in pixels.
        rate_hz: images a second that it gives.
        horizontal_fov_rad: across the width; 0 where `k` says it.
        k: the 3 × 3 camera matrix of a calibration, row by row; empty where `horizontal_fov_rad` says it.
        d: plumb_bob distortion; empty for none.
        topic: of its images. Another driver's is remapped (launch argument `camera_topic`).
        frame: of its images (REP-105: z forward, x right, y down).
        mount: where it sits.
    """

    width: int = Field(gt=0)
    height: int = Field(gt=0)
    rate_hz: float = Field(gt=0)
    horizontal_fov_rad: float = Field(default=0.0, ge=0, lt=math.pi)
    k: list[float] = Field(default_factory=list)
    d: list[float] = Field(default_factory=list)
    topic: str = Field(default="camera/image_raw", min_length=1)
    frame: str = Field(default="camera_optical_frame", min_length=1)
    mount: Mount = Mount()

    @model_validator(mode="after")
    def _has_one_lens(self) -> RobotCamera:
        if bool(self.k) == bool(self.horizontal_fov_rad):
            raise ValueError("give either horizontal_fov_rad or k")
        if self.k and (len(self.k) != 9 or self.k[0] <= 0 or self.k[4] <= 0):
            raise ValueError("k: must be 9 numbers, row by row, with focal lengths above zero")
        return self

    @property
    def matrix(self) -> list[float]:
        """The camera matrix, 9 numbers row by row; square pixels where only a field of view is known."""
        if self.k:
            return self.k
        focal = self.width / 2 / math.tan(self.horizontal_fov_rad / 2)
        return [focal, 0.0, self.width / 2, 0.0, focal, self.height / 2, 0.0, 0.0, 1.0]

    @property
    def fov_rad(self) -> float:
        """Field of view across the width, rad."""
        return 2 * math.atan(self.width / (2 * self.matrix[0]))
