"""go2_camera: real H.264, over the robot's topic, over RTP, multicast and from a file."""

from __future__ import annotations

import socket
import struct

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from jepa_ros_msgs.msg import StageLatency
from sensor_msgs.msg import CameraInfo, Image
from unitree_go.msg import Go2FrontVideoData

from jepa_ros.errors import ImageError
from jepa_ros.messages import image_view
from jepa_ros_nodes import qos

pytest.importorskip("av", reason="the extra go2 is not installed")

from jepa_ros_nodes.unitree.video import Decoder, Stream

from .made_video import HEIGHT, WIDTH, Sender, packets, write

COUNT = 60


@pytest.fixture
def robot(tmp_path):
    """A Go2 whose camera is as small as the test's pictures."""
    path = tmp_path / "small_go2.yaml"
    path.write_text(
        "extends: go2\nname: small_go2\n"
        f"camera: {{width: {WIDTH}, height: {HEIGHT}, rate_hz: 30.0, horizontal_fov_rad: 1.5}}\n"
    )
    return path


def report(rows):
    found = [status for _, array in rows for status in array.status if status.name == "go2_camera"]
    return {pair.key: pair.value for pair in found[-1].values} | {"message": found[-1].message} if found else {}


def listen(rig):
    return (
        rig.listen(Image, "camera/image_raw", qos.RECENT),
        rig.listen(CameraInfo, "camera/camera_info", qos.RECENT),
        rig.listen(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS),
    )


def assert_is_the_picture(message):
    """Grey at the left, red at the right."""
    rgb = image_view(message)
    assert rgb.shape == (HEIGHT, WIDTH, 3)
    left, right = rgb[:, : WIDTH // 2 - 8].mean((0, 1)), rgb[:, WIDTH // 2 + 8 :].mean((0, 1))
    assert np.ptp(left) < 8
    assert right[0] > 150 > 60 > right[1:].max()


def test_pictures_come_without_delay_and_in_their_colours():
    decoder = Decoder(WIDTH, HEIGHT)
    images = [decoder.decode(bytes(packet)) for packet in packets(10)]
    assert all(image is not None for image in images)
    assert [image[90, 40].mean() for image in images] == pytest.approx([40 + 18 * i for i in range(10)], abs=6)


def test_a_picture_is_scaled_to_the_robots_size_but_not_bent():
    decoder = Decoder(WIDTH // 2, HEIGHT // 2)
    assert decoder.decode(bytes(next(packets(1)))).shape == (HEIGHT // 2, WIDTH // 2, 3)
    square = Decoder(100, 100)
    assert square.decode(bytes(next(packets(1)))) is None
    assert square.misshapen == 1


@pytest.mark.parametrize("garbage", [b"", b"\x00" * 50, bytes(range(256)), b"\x00\x00\x00\x01\x67\xff\xff"])
def test_a_broken_packet_is_counted_and_the_next_key_frame_mends_it(garbage):
    decoder, seen = Decoder(WIDTH, HEIGHT), []
    for i, packet in enumerate(packets(30)):
        seen.append(decoder.decode(garbage if i == 5 else bytes(packet)))
    assert seen[5] is None
    assert all(image is not None for image in seen[20:])
    assert seen[29][90, 40].mean() == pytest.approx(40 + 180 * 29 / 30, abs=6)


def test_a_file_that_is_not_there_or_no_video_is_refused(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        Stream(str(tmp_path / "none.mp4"), "", 30.0)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ImageError, match=r"text\.mp4"):
        Stream(str(tmp_path / "text.mp4"), "", 30.0)


@pytest.mark.dds
def test_the_robots_topic_in_both_layouts_with_a_damaged_packet(rig, robot):
    images, infos, reports = listen(rig)
    stages = rig.listen(StageLatency, "camera/stage_latency", qos.RECENT)
    send = rig.probe.create_publisher(Go2FrontVideoData, "frontvideostream", qos.RECORD)
    rig.start("unitree.camera", robot=robot)
    rig.wait("the camera", lambda: send.get_subscription_count() and report(reports))
    for i, packet in enumerate(packets(COUNT)):
        data = bytes(packet)
        if i == 15:
            data = b"\x00\x00\x00\x01\x65" + bytes(100)
        if i < 30:
            send.publish(Go2FrontVideoData(time_frame=i, video720p=data))
        else:  # the older firmware's layout under the same name: bytes that this machine's type does not describe
            send.publish(b"\x00\x01\x00\x00" + struct.pack("<QhxxI", i, 720, len(data)) + data)
        rig.spin(0.02)
    rig.wait("images", lambda: len(images) >= COUNT - 10)
    assert_is_the_picture(images[-1][1])
    assert images[-1][1].header.frame_id == "camera_optical_frame"
    info = infos[-1][1]
    assert (info.width, info.height) == (WIDTH, HEIGHT)
    assert info.k[0] == pytest.approx(WIDTH / 2 / np.tan(0.75))
    assert infos[0][1].header.stamp == images[0][1].header.stamp
    rig.wait("the report", lambda: int(report(reports).get("broken_packets", 0)) >= 1)
    values = report(reports)
    assert values["refused_messages"] == "0"
    decode = [message.decode for _, message in stages]
    print(f"\n{WIDTH} × {HEIGHT} H.264: decoding takes {np.median(decode) * 1e3:.1f} ms")  # noqa: T201
    assert float(values["decode_median_ms"]) == pytest.approx(np.median(decode) * 1e3, abs=2.0)


@pytest.mark.dds
@pytest.mark.parametrize("group", ["127.0.0.1", "230.1.1.1"])
def test_rtp_from_one_sender_and_from_the_robots_multicast_group(rig, robot, group):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1] // 2 * 2  # RTP's is even, RTCP's is the next
    images, _, reports = listen(rig)
    rig.start("unitree.camera", robot=robot, source=f"rtp://{group}:{port}", local_address="127.0.0.1")
    sender = Sender(f"rtp://{group}:{port}?localaddr=127.0.0.1", "rtp")
    try:
        rig.wait("images", lambda: len(images) > 20, 60.0)
        assert_is_the_picture(images[-1][1])
        age = images[-1][0] - images[-1][1].header.stamp.sec - images[-1][1].header.stamp.nanosec * 1e-9
        assert age < 0.5
    finally:
        sender.close()
    rig.wait("the silence to be noticed", lambda: "is silent" in report(reports)["message"], 60.0)


@pytest.mark.dds
def test_a_file_plays_at_its_own_rate_and_ends(rig, robot, tmp_path):
    write(tmp_path / "walk.mp4", COUNT)
    images, _, reports = listen(rig)
    rig.start("unitree.camera", robot=robot, source=tmp_path / "walk.mp4")
    rig.wait("the end", lambda: "end" in report(reports).get("message", ""))
    assert len(images) > COUNT // 2
    assert_is_the_picture(images[-1][1])
    took = images[-1][0] - images[0][0]
    assert took == pytest.approx((len(images) - 1) / 30, rel=0.3)
