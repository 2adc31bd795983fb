"""Resizing of uint8 images by the formulas that training pipelines use. A model that is shown another interpolation
than it was trained with still runs, and plans badly without a word; so each is reproduced, not approximated.

| manifest | library | the same as |
|---|---|---|
| `linear`, `cubic`, `antialias: true` | Pillow | `Image.resize`, torchvision's `Resize(antialias=True)` |
| `linear`, `cubic`, `antialias: false` | OpenCV | `F.interpolate(align_corners=False)`, `cv2.resize` |
| `area`, `nearest` | OpenCV | `cv2.resize` |

The two cubics differ in more than averaging: Pillow's kernel has a = −0.5, as torch's has with antialias; OpenCV's has
a = −0.75, as torch's has without.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from jepa_ros.types import UInt8

_AVERAGED = {"linear": Image.Resampling.BILINEAR, "cubic": Image.Resampling.BICUBIC}
_SAMPLED = {
    "area": cv2.INTER_AREA,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "nearest": cv2.INTER_NEAREST,
}


def resize(image: UInt8, size: tuple[int, int], interpolation: str, antialias: bool) -> UInt8:
    """An image `[h, w, 3]`, or grey `[h, w]`, at `size` (width, height) in pixels; the third axis is as it was.

    Args:
        interpolation, antialias: as in the manifest's camera block.
    """
    if antialias and interpolation in _AVERAGED:
        # Across and then down, one call each, as torch does and Pillow did up to 12: from 13 on a single call begins
        # with the dearer direction, and cubic's overshoot, which every pass clips, comes out up to 20 levels different.
        across = Image.fromarray(image).resize((size[0], image.shape[0]), _AVERAGED[interpolation])
        # A copy, because what Pillow hands to NumPy cannot be written to.
        return np.array(across.resize(size, _AVERAGED[interpolation]))
    return np.asarray(cv2.resize(image, size, interpolation=_SAMPLED[interpolation]), dtype=np.uint8)


def shorter_side_to(pixels: int, width: int, height: int) -> tuple[int, int]:
    """Width and height once the shorter of them is `pixels`; the longer is cut to whole pixels, as torchvision's
    `Resize(pixels)` cuts it."""
    longer = int(pixels * max(width, height) / min(width, height))
    return (pixels, longer) if width <= height else (longer, pixels)


def centered(outer: int, inner: int) -> int:
    """Where the middle `inner` of `outer` pixels begin, as torchvision's `CenterCrop` rounds it: halves to even."""
    return round((outer - inner) / 2)
