"""H.264 → RGB, by PyAV: from packets that somebody else brings, or from a stream, a multicast group or a file."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import av
import numpy as np
from av.codec.context import Flags, ThreadType
from av.video.reformatter import Interpolation, VideoReformatter

from jepa_ros.errors import ImageError
from jepa_ros.types import UInt8

GO2_MULTICAST = "rtp://230.1.1.1:1720"
_OPEN_S, _READ_S = 10.0, 2.0
_SDP = """v=0
o=- 0 0 IN IP4 {host}
s=H.264
c=IN IP4 {host}
t=0 0
m=video {port} RTP/AVP 96
a=rtpmap:96 H264/90000
"""  # RTP itself does not say what it carries
_NO_BUFFERS = {"fflags": "nobuffer", "flags": "low_delay", "probesize": "32000", "analyzeduration": "100000"}


class Decoder:
    """Decodes pictures as they come, and counts what cannot be.

    Attributes:
        broken: packets that were no H.264, and pictures that what was lost before them has spoiled.
        misshapen: pictures of another shape than wanted.

    Args:
        width, height: of the images wanted; a picture of the same shape is scaled to it.
    """

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._scaler = VideoReformatter()
        self.broken = self.misshapen = 0
        self.reset()

    def reset(self, codec: av.VideoCodecContext | None = None) -> None:
        """Begin a new stream; with the codec that its container has set up, if it has one."""
        self._codec = codec or av.CodecContext.create("h264", "r")
        # one thread a frame would hold back as many frames as there are threads
        self._codec.thread_type = ThreadType.SLICE
        self._codec.flags |= Flags.low_delay

    def decode(self, packet: av.Packet | bytes) -> UInt8 | None:
        """The newest picture that a packet completes, RGB `[height, width, 3]`; None if there is none."""
        whole = packet if isinstance(packet, av.Packet) else av.Packet(packet)
        if not whole.size:  # to the codec that would be the end of the stream
            self.broken += 1
            return None
        try:
            frames = self._codec.decode(whole)
        except av.error.FFmpegError:
            self.broken += 1
            return None
        good = [frame for frame in frames if not frame.is_corrupt]
        self.broken += len(frames) - len(good)
        return self._image(good[-1]) if good else None

    def _image(self, frame: av.VideoFrame) -> UInt8 | None:
        if frame.width * self._height != frame.height * self._width:
            self.misshapen += 1
            return None
        method = Interpolation.AREA if frame.width > self._width else Interpolation.FAST_BILINEAR
        scaled = self._scaler.reformat(frame, self._width, self._height, "rgb24", interpolation=method)
        rgb: UInt8 = np.ascontiguousarray(scaled.to_ndarray())
        return rgb


class Stream:
    """Packets of a URL (`rtp://GROUP:PORT`, `udp://…`, `rtsp://…`) or of a file, which is read at its own rate.

    Args:
        source: which.
        local_address: address of the interface that a multicast group is joined on; empty for the machine's own choice.
        rate_hz: of a file that does not know its rate.

    Raises:
        ImageError: it cannot be opened, or has no H.264 in it.
    """

    def __init__(self, source: str, local_address: str, rate_hz: float) -> None:
        self._is_file = "://" not in source
        self._rate = rate_hz
        if self._is_file and not Path(source).is_file():
            raise ImageError(f"source {source}: no such file; give topic, multicast, a URL or a file")
        try:
            self._container = self._open(source, local_address)
            self._video = self._container.streams.video[0]
        except (av.error.FFmpegError, OSError, ValueError, IndexError) as error:
            raise ImageError(f"source {source}: {error}") from error
        if self._video.codec_context.name != "h264":
            name = self._video.codec_context.name
            self.close()
            raise ImageError(f"source {source}: holds {name}; only h264 is decoded")

    def _open(self, source: str, local_address: str) -> av.container.InputContainer:
        options = {} if self._is_file else dict(_NO_BUFFERS)
        url = urlsplit(source)
        if url.scheme == "rtp":
            options |= {"protocol_whitelist": "rtp,udp"} | ({"localaddr": local_address} if local_address else {})
            description = io.BytesIO(_SDP.format(host=url.hostname, port=url.port).encode())
            return av.open(description, format="sdp", options=options, timeout=(_OPEN_S, _READ_S))
        return av.open(source, options=options, timeout=(_OPEN_S, _READ_S))

    @property
    def codec(self) -> av.VideoCodecContext:
        """What decodes it: a file keeps in its head what a stream repeats."""
        return self._video.codec_context

    def packets(self) -> Iterator[av.Packet]:
        """Packets as they come, until the file or the stream ends."""
        period = 1.0 / float(self._video.average_rate or self._rate)
        due = time.monotonic()
        try:
            for packet in self._container.demux(self._video):
                if packet.size:
                    yield packet
                if self._is_file:
                    due += period
                    time.sleep(max(due - time.monotonic(), 0.0))
        except av.error.FFmpegError:  # silent for _READ_S, or gone
            return

    def close(self) -> None:
        """Give the socket or file back."""
        self._container.close()
