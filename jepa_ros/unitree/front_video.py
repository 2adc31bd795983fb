"""Go2FrontVideoData, in whichever of its two layouts the firmware fills it.

Both have the type name `unitree_go/msg/Go2FrontVideoData`, so that rclpy cannot tell them apart and reads nonsense out
of the one it was not built for. The bytes can: one layout fits them to the end, the other does not.

    published:   uint64 time_frame, uint8[] video720p, uint8[] video360p, uint8[] video180p
    older:       uint64 time_frame, int16 resolution, uint8[] data
"""

from __future__ import annotations

from jepa_ros.errors import WireError

_BODY = 4  # after the header of the message
_SLACK = 3  # some writers fill the last word


def _sequence(message: bytes, at: int) -> tuple[bytes, int]:
    """A sequence of bytes that begins at or after `at`, and where it ends; raises ValueError past the end."""
    at += (_BODY - at) % 4
    count = int.from_bytes(message[at : at + 4], "little")
    end = at + 4 + count
    if at + 4 > len(message) or end > len(message):
        raise ValueError
    return message[at + 4 : end], end


def _published(message: bytes) -> list[bytes]:
    pictures, at = [], _BODY + 8
    for _ in range(3):
        picture, at = _sequence(message, at)
        pictures.append(picture)
    if len(message) - at > _SLACK:
        raise ValueError
    return pictures


def _older(message: bytes) -> list[bytes]:
    picture, at = _sequence(message, _BODY + 10)
    if len(message) - at > _SLACK:
        raise ValueError
    return [picture]


def read_front_video(message: bytes) -> bytes:
    """The encoded picture of the highest resolution in a message's bytes.

    Raises:
        WireError: neither layout fits, or no picture is in it.
    """
    if message[:2] == b"\x00\x01":
        for layout in (_published, _older):
            try:
                pictures = layout(message)
            except ValueError:
                continue
            if any(pictures):
                return next(picture for picture in pictures if picture)
    raise WireError(f"frontvideostream: {len(message)} bytes hold no picture in any layout that is known")
