"""Camera messages → the encoder's input, exactly as the manifest says. Everything here is uint8, RGB until the
encoder asks for grey; scaling is in the graph."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import cv2
import numpy as np

from jepa_ros.bundle.manifest import CameraSpec
from jepa_ros.errors import ImageError
from jepa_ros.resize import centered, resize, shorter_side_to
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


@dataclass(frozen=True)
class _Layout:
    """How an image becomes the encoder's, in pixels.

    Attributes:
        box: left, top, width and height of the part that is resized.
        resized: width and height that it is resized to.
        offset: left and top of the encoder's image in that; negative where it begins with a border.
    """

    box: tuple[int, int, int, int]
    resized: tuple[int, int]
    offset: tuple[int, int] = (0, 0)


class Preprocessor:
    """Crops and resizes RGB images to the encoder's native size, in grey where it takes one channel. Frames are not
    stacked here: one goes in, one comes out.

    Args:
        camera: the manifest's camera block.

    Raises:
        ImageError: two channels, which no camera gives.
    """

    def __init__(self, camera: CameraSpec) -> None:
        if camera.channels == 2:
            raise ImageError(
                "camera.channels is 2, and no camera gives two; frames must be given ready-made to the world model, "
                f"as uint8 [{camera.height}, {camera.width}, 2]"
            )
        self._camera = camera
        self._size = (camera.width, camera.height)

    def __call__(self, rgb: UInt8) -> UInt8:
        """RGB `[h, w, 3]` of any size → `[camera.height, camera.width, camera.channels]`, contiguous.

        One channel is grey by BT.601, made before resizing; a grey camera's values come through unchanged.

        Raises:
            ImageError: not `[h, w, 3]` uint8, or smaller than what the crop takes away.
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise ImageError(f"image must be uint8 [h, w, 3], not {rgb.dtype} {list(rgb.shape)}")
        layout = self._layout(rgb.shape[1], rgb.shape[0])
        left, top, wide, high = layout.box
        image = rgb[top : top + high, left : left + wide]
        if self._camera.channels == 1:
            image = np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        if (wide, high) != layout.resized:
            image = resize(image, layout.resized, self._camera.interpolation, self._camera.antialias)
        if layout.resized != self._size:
            image = self._windowed(image, layout.offset)
        # OpenCV's grey images have no third axis.
        return np.ascontiguousarray(image).reshape(self._camera.height, self._camera.width, -1)

    def _layout(self, width: int, height: int) -> _Layout:
        """Of an image of this size: what `crop` leaves, and then what `resize` makes of it."""
        top, bottom, left, right = self._camera.crop
        x, y = round(left * width), round(top * height)
        wide, high = width - x - round(right * width), height - y - round(bottom * height)
        if wide <= 0 or high <= 0:
            raise ImageError(f"image of {width}×{height} pixels has nothing left after the bundle's crop")
        box, size = (x, y, wide, high), self._size
        if self._camera.resize == "stretch":
            return _Layout(box, size)
        if self._camera.resize == "center_crop":
            scale = min(wide / size[0], high / size[1])
            inner_wide, inner_high = max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
            return _Layout((x + (wide - inner_wide) // 2, y + (high - inner_high) // 2, inner_wide, inner_high), size)
        if self._camera.resize_to is not None:
            resized = shorter_side_to(self._camera.resize_to, wide, high)
            return _Layout(box, resized, (centered(resized[0], size[0]), centered(resized[1], size[1])))
        scale = min(size[0] / wide, size[1] / high)
        resized = (max(round(wide * scale), 1), max(round(high * scale), 1))
        return _Layout(box, resized, (-((size[0] - resized[0]) // 2), -((size[1] - resized[1]) // 2)))

    def _windowed(self, image: UInt8, offset: tuple[int, int]) -> UInt8:
        """The encoder's window of an image that was resized beyond it, or the image in black borders that fill it."""
        (left, top), (wide, high) = offset, self._size
        if self._camera.resize != "letterbox":
            return image[top : top + high, left : left + wide]
        framed = np.zeros((high, wide, *image.shape[2:]), np.uint8)
        framed[-top : -top + image.shape[0], -left : -left + image.shape[1]] = image
        return framed

    def check_field_of_view(self, horizontal_rad: float, width: int | None = None, height: int | None = None) -> None:
        """Compare a camera's field of view with the training camera's: warn when off, refuse when far off.

        The manifest's is that of the part which is kept, so the camera's is narrowed to the same part first.

        Args:
            horizontal_rad: of the camera's whole image, a pinhole's: 2 atan(width / (2 fx)).
            width, height: of that image in pixels; None takes an image of the encoder's shape.

        Raises:
            ImageError: more than three tolerances off, not an angle between 0 and π, or an image that the crop leaves
                nothing of.
        """
        expected = self._camera.horizontal_fov_rad
        if expected is None:
            return
        if not 0 < horizontal_rad < math.pi:
            raise ImageError(f"the camera's field of view is {horizontal_rad} rad, not in 0 to π; check camera_info")
        across = self._size[0] if width is None else width
        layout = self._layout(across, self._size[1] if height is None else height)
        share = layout.box[2] / across * min(self._size[0] / layout.resized[0], 1.0)
        kept = 2 * math.atan(math.tan(horizontal_rad / 2) * share)
        off, tolerance = abs(kept - expected), self._camera.fov_tolerance_rad
        seen, trained = math.degrees(kept), math.degrees(expected)
        text = f"the camera sees {seen:.0f}° across, the bundle was trained with {trained:.0f}°"
        if off > 3 * tolerance:
            raise ImageError(f"{text}; crop or change the lens, or train for this camera")
        if off > tolerance:
            _LOG.warning("%s; expect worse plans", text)
