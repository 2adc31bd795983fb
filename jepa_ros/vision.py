"""Camera messages → the encoder's input, exactly as the manifest says. Everything here is uint8 RGB; scaling is in
the graph."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import cv2
import numpy as np

from jepa_ros.bundle.manifest import CameraSpec
from jepa_ros.errors import ImageError
from jepa_ros.types import UInt8

_LOG = logging.getLogger(__name__)

# bytes a pixel, and OpenCV's conversion to RGB (None: it is RGB already); names as in sensor_msgs/image_encodings.hpp
_ENCODINGS: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
}
_DEEP = ("mono16", "16UC1", "16UC3", "16SC1", "rgb16", "bgr16", "rgba16", "bgra16", "32FC1", "32FC3")
_INTERPOLATION = {
    "area": cv2.INTER_AREA,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "nearest": cv2.INTER_NEAREST,
}


@dataclass(frozen=True)
class ImageMessage:
    """The fields of sensor_msgs/Image that matter, without ROS. `step` is the length of a row in bytes, padding
    included."""

    encoding: str
    width: int
    height: int
    step: int
    data: bytes | bytearray | memoryview | UInt8


def decode(message: ImageMessage) -> UInt8:
    """An uncompressed image → RGB `[height, width, 3]`.

    For rgb8 it is a view of the message's data and not to be written to.

    Raises:
        ImageError: an encoding that is not supported (by name), or sizes that do not fit the data.
    """
    if message.encoding in _DEEP:
        raise ImageError(f"image encoding {message.encoding} has more than 8 bits a channel; publish rgb8 or bgr8")
    if message.encoding not in _ENCODINGS:
        raise ImageError(f"image encoding {message.encoding!r} is not supported; use one of {', '.join(_ENCODINGS)}")
    size, conversion = _ENCODINGS[message.encoding]
    width, height, step = message.width, message.height, message.step
    if width <= 0 or height <= 0:
        raise ImageError(f"image is {width}×{height} pixels")
    if size == 2 and width % 2:
        raise ImageError(f"image encoding {message.encoding} needs an even width, not {width}")
    if step < width * size:
        raise ImageError(
            f"image step is {step} bytes, a row of {width} pixels in {message.encoding} takes {width * size}"
        )
    data = np.frombuffer(message.data, dtype=np.uint8)
    if len(data) < height * step - (step - width * size):
        raise ImageError(f"image data is {len(data)} bytes, {height} rows of {step} bytes need {height * step}")
    rows = np.lib.stride_tricks.as_strided(data, (height, width, size), (step, size, 1), writeable=False)
    if conversion is None:
        return rows
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(rows), conversion), dtype=np.uint8)


def decode_compressed(data: bytes | bytearray | memoryview | UInt8, format_: str = "") -> UInt8:
    """A JPEG or PNG (sensor_msgs/CompressedImage) → RGB `[h, w, 3]`.

    Raises:
        ImageError: not an image that can be decoded, or one of more than 8 bits a channel.
    """
    encoded = np.frombuffer(data, dtype=np.uint8)
    image = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION) if len(encoded) else None
    if image is None:
        raise ImageError(
            f"compressed image ({format_ or 'no format given'}, {len(encoded)} bytes) is not a whole JPEG or PNG"
        )
    if image.dtype != np.uint8:
        raise ImageError(f"compressed image ({format_}) has more than 8 bits a channel")
    channels = 1 if image.ndim == 2 else image.shape[2]
    conversion = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}[channels]
    return np.asarray(cv2.cvtColor(image, conversion), dtype=np.uint8)


class Preprocessor:
    """Crops and resizes RGB images to the encoder's native size.

    Args:
        camera: the manifest's camera block.
    """

    def __init__(self, camera: CameraSpec) -> None:
        self._camera = camera
        self._size = (camera.width, camera.height)
        self._interpolation = _INTERPOLATION[camera.interpolation]

    def __call__(self, rgb: UInt8) -> UInt8:
        """RGB `[h, w, 3]` of any size → RGB `[camera.height, camera.width, 3]`, contiguous.

        Raises:
            ImageError: not `[h, w, 3]` uint8.
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise ImageError(f"image must be uint8 [h, w, 3], not {rgb.dtype} {list(rgb.shape)}")
        image = self._shape(self._crop(rgb))
        if image.shape[1::-1] != self._size:
            if self._camera.resize == "letterbox":
                image = self._letterbox(image)
            else:
                image = np.asarray(cv2.resize(image, self._size, interpolation=self._interpolation), dtype=np.uint8)
        return np.ascontiguousarray(image)

    def _crop(self, image: UInt8) -> UInt8:
        height, width = image.shape[:2]
        top, bottom, left, right = self._camera.crop
        image = image[
            round(top * height) : height - round(bottom * height), round(left * width) : width - round(right * width)
        ]
        if image.size == 0:
            raise ImageError(f"image of {width}×{height} pixels has nothing left after the bundle's crop")
        return image

    def _shape(self, image: UInt8) -> UInt8:
        """For `center_crop`: the largest middle part of the encoder's shape."""
        if self._camera.resize != "center_crop":
            return image
        height, width = image.shape[:2]
        scale = min(width / self._size[0], height / self._size[1])
        wide, high = max(round(self._size[0] * scale), 1), max(round(self._size[1] * scale), 1)
        left, top = (width - wide) // 2, (height - high) // 2
        return image[top : top + high, left : left + wide]

    def _letterbox(self, image: UInt8) -> UInt8:
        height, width = image.shape[:2]
        scale = min(self._size[0] / width, self._size[1] / height)
        wide, high = max(round(width * scale), 1), max(round(height * scale), 1)
        framed = np.zeros((self._size[1], self._size[0], 3), np.uint8)
        left, top = (self._size[0] - wide) // 2, (self._size[1] - high) // 2
        framed[top : top + high, left : left + wide] = cv2.resize(
            image, (wide, high), interpolation=self._interpolation
        )
        return framed

    def check_field_of_view(self, horizontal_rad: float) -> None:
        """Compare a camera's field of view with the training camera's: warn when off, refuse when far off.

        Raises:
            ImageError: more than three tolerances off.
        """
        expected = self._camera.horizontal_fov_rad
        if expected is None:
            return
        off, tolerance = abs(horizontal_rad - expected), self._camera.fov_tolerance_rad
        seen, trained = np.degrees(horizontal_rad), np.degrees(expected)
        text = f"the camera sees {seen:.0f}° across, the bundle was trained with {trained:.0f}°"
        if off > 3 * tolerance:
            raise ImageError(f"{text}; crop or change the lens, or train for this camera")
        if off > tolerance:
            _LOG.warning("%s; expect worse plans", text)
