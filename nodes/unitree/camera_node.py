"""`go2_camera`: the Go2's H.264 as `camera/image_raw` and `camera/camera_info`.

In: `frontvideostream` (source `topic`), the robot's multicast group (`multicast`), or any H.264 URL or file. Out: the
camera topic of the robot file with its `camera_info`, stamped on receipt since the stream has no clock;
`camera/stage_latency`, how long decoding took; `/diagnostics`. Any other camera needs its own driver and a remap.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from jepa_ros_msgs.msg import StageLatency
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from unitree_go.msg import Go2FrontVideoData

from jepa_ros.errors import ImageError, RobotError, WireError
from jepa_ros.robots import load_robot
from jepa_ros.robots.camera import RobotCamera
from jepa_ros.unitree.front_video import read_front_video
from jepa_ros_nodes import qos
from jepa_ros_nodes.conversions import image_to_message, stamp
from jepa_ros_nodes.diagnostics import diagnostic
from jepa_ros_nodes.params import declare
from jepa_ros_nodes.running_node import run
from jepa_ros_nodes.unitree.video import GO2_MULTICAST, Decoder, Stream

# A packet builds on those before it: none may be passed over, unlike with whole images.
_PACKETS = QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=30, reliability=ReliabilityPolicy.BEST_EFFORT)
_AGAIN_S, _SILENT_S, _REMEMBERED = 1.0, 2.0, 300


def camera_info(camera: RobotCamera) -> CameraInfo:
    """What the robot file says of its lens; rectification is identity."""
    k = camera.matrix
    message = CameraInfo(width=camera.width, height=camera.height, distortion_model="plumb_bob")
    message.header.frame_id = camera.frame
    message.d = list(camera.d) or [0.0] * 5
    message.k, message.r = k, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [*k[0:3], 0.0, *k[3:6], 0.0, *k[6:9], 0.0]
    return message


class Go2CameraNode(Node):
    """Decodes in the executor's thread (a topic) or in one of its own (a stream)."""

    def __init__(self) -> None:
        super().__init__("go2_camera")
        name = declare(self, "robot", "go2", "name of a shipped robot, or path of a robot YAML")
        source = declare(self, "source", "topic", "topic, multicast, a URL (rtp://GROUP:PORT, udp://…) or a file")
        topic = declare(self, "video_topic", "frontvideostream", "of Go2FrontVideoData, where the source is topic")
        self._local_address = declare(
            self, "local_address", "", "address of the interface to join a multicast group on, 192.168.123.99 say"
        )
        camera = load_robot(name).camera
        if camera is None:
            raise RobotError(f"robot {name}: its file has no camera block; say width, height and lens there")
        self._camera, self._source = camera, GO2_MULTICAST if source == "multicast" else source
        self._decoder = Decoder(camera.width, camera.height)
        self._info = camera_info(camera)
        self._latency = StageLatency()
        info_topic = f"{camera.topic.rpartition('/')[0]}/camera_info".lstrip("/")
        self._publish_image = self.create_publisher(Image, camera.topic, qos.STATE).publish
        self._publish_info = self.create_publisher(CameraInfo, info_topic, qos.STATE).publish
        self._publish_latency = self.create_publisher(StageLatency, "camera/stage_latency", qos.STATE).publish
        self._publish_diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS).publish
        self._took: deque[float] = deque(maxlen=_REMEMBERED)
        self._frames = self._reported = self._refused = self._opened = 0
        self._shown_at, self._trouble = -math.inf, ""
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        if source == "topic":
            self.create_subscription(Go2FrontVideoData, topic, self._on_video, _PACKETS, raw=True)
        else:
            self._thread = threading.Thread(target=self._read_stream, name="video", daemon=True)
            self._thread.start()
        self.create_timer(1.0, self._report)

    def _on_video(self, message: bytes) -> None:
        received = self.get_clock().now().nanoseconds
        try:
            packet = read_front_video(message)
        except WireError as error:
            self._refused += 1
            self.get_logger().error(f"refused: {error}", throttle_duration_sec=2.0)
            return
        self._show(received, packet)

    def _read_stream(self) -> None:
        """A file once; a stream again and again, since a robot is switched off and on."""
        while not self._end.is_set():
            try:
                stream = Stream(self._source, self._local_address, self._camera.rate_hz)
            except ImageError as error:
                self._trouble = str(error)
                self.get_logger().error(self._trouble, throttle_duration_sec=10.0)
                self._end.wait(_AGAIN_S)
                continue
            self._opened += 1
            self._decoder.reset(stream.codec)
            for packet in stream.packets():
                if self._end.is_set():
                    break
                self._show(self.get_clock().now().nanoseconds, packet)
            stream.close()
            if "://" not in self._source:
                self._trouble = f"{self._source} is at its end"
                return
            self._trouble = f"{self._source} is silent"

    def _show(self, received: int, packet: object) -> None:
        """Decode, and publish what comes of it under the time of receipt, ns."""
        began = time.perf_counter()
        image = self._decoder.decode(packet)
        took = time.perf_counter() - began
        if image is None:
            return
        at = stamp(received * 1e-9)
        self._info.header.stamp = self._latency.header.stamp = at
        self._publish_image(image_to_message(image, at, self._camera.frame))
        self._publish_info(self._info)
        self._latency.decode = took
        self._latency.total = (self.get_clock().now().nanoseconds - received) * 1e-9
        self._publish_latency(self._latency)
        self._took.append(took)
        self._frames += 1
        self._shown_at, self._trouble = time.monotonic(), ""

    def _report(self) -> None:
        """Once a second: what came, how long decoding took, and what was wrong."""
        rate, self._reported = self._frames - self._reported, self._frames
        took = np.array(self._took or [0.0]) * 1e3
        silent = time.monotonic() - self._shown_at > _SILENT_S
        text = self._trouble or ("no image" if silent else "")
        if self._decoder.misshapen and not text:
            text = f"pictures are not of the shape {self._camera.width} × {self._camera.height} of the robot file"
        level = "error" if silent else "warning" if text else "ok"
        values = {
            "source": self._source,
            "frames": self._frames,
            "rate_hz": rate,
            "decode_median_ms": f"{np.median(took):.2f}",
            "decode_p99_ms": f"{np.quantile(took, 0.99):.2f}",
            "refused_messages": self._refused,
            "broken_packets": self._decoder.broken,
            "misshapen_frames": self._decoder.misshapen,
            "streams_opened": self._opened,
        }
        array = diagnostic("go2_camera", level, text, values)
        array.header.stamp = self.get_clock().now().to_msg()
        self._publish_diagnostics(array)

    def close(self) -> None:
        """Read no more."""
        self._end.set()
        if self._thread is not None:
            self._thread.join(3.0)


def main() -> None:
    """Entry point."""
    run(Go2CameraNode)


if __name__ == "__main__":
    main()
