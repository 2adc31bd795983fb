"""Camera messages to the encoder's input: every encoding, every fault."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_ros.bundle.manifest import CameraSpec
from jepa_ros.errors import ImageError
from jepa_ros.vision import ImageMessage, Preprocessor, decode, decode_compressed

SIZES = {"rgb8": 3, "bgr8": 3, "mono8": 1, "rgba8": 4, "bgra8": 4, "yuv422": 2, "uyvy": 2, "yuv422_yuy2": 2, "yuyv": 2}


def message(encoding, pixels, padding=0):
    """A message of `[h, w, c]` bytes whose rows end in padding of value 77."""
    height, width, channels = pixels.shape
    rows = np.full((height, width * channels + padding), 77, np.uint8)
    rows[:, : width * channels] = pixels.reshape(height, -1)
    return ImageMessage(encoding, width, height, rows.shape[1], rows.tobytes())


@settings(max_examples=60, deadline=None)
@given(
    encoding=st.sampled_from(sorted(SIZES)),
    height=st.integers(1, 9),
    half=st.integers(1, 6),
    padding=st.integers(0, 7),
    seed=st.integers(0, 99),
)
def test_padding_never_reaches_the_image(encoding, height, half, padding, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, 2 * half, SIZES[encoding]), dtype=np.uint8)
    plain, padded = decode(message(encoding, pixels)), decode(message(encoding, pixels, padding))
    assert plain.shape == (height, 2 * half, 3)
    assert plain.dtype == np.uint8
    np.testing.assert_array_equal(plain, padded)


def test_channels_in_their_order():
    rgb = np.array([[[10, 20, 30], [40, 50, 60]]], np.uint8)
    alpha = np.full((1, 2, 1), 9, np.uint8)
    np.testing.assert_array_equal(decode(message("rgb8", rgb)), rgb)
    np.testing.assert_array_equal(decode(message("bgr8", rgb[..., ::-1])), rgb)
    np.testing.assert_array_equal(decode(message("rgba8", np.concatenate([rgb, alpha], 2))), rgb)
    np.testing.assert_array_equal(decode(message("bgra8", np.concatenate([rgb[..., ::-1], alpha], 2))), rgb)
    np.testing.assert_array_equal(decode(message("mono8", rgb[..., :1])), np.repeat(rgb[..., :1], 3, 2))


@pytest.mark.parametrize(
    ("encoding", "order"), [("yuv422", "uyvy"), ("uyvy", "uyvy"), ("yuyv", "yuyv"), ("yuv422_yuy2", "yuyv")]
)
def test_yuv_in_its_two_orders(encoding, order):
    """Red in BT.601 with studio range: Y 82, U 90, V 240."""
    values = {"u": 90, "y": 82, "v": 240}
    spelt = {"uyvy": "uyvy", "yuyv": "yuyv"}[order]
    pixels = np.array([values[c] for c in spelt] * 2, np.uint8).reshape(1, 4, 2)
    np.testing.assert_allclose(decode(message(encoding, pixels))[0, 0], [255, 0, 0], atol=3)


@pytest.mark.parametrize("encoding", ["mono16", "16UC1", "32FC1", "rgb16"])
def test_deep_images_are_refused_by_name(encoding):
    with pytest.raises(ImageError, match=f"{encoding} has more than 8 bits a channel; publish rgb8"):
        decode(ImageMessage(encoding, 2, 1, 16, bytes(16)))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (("nv12", 2, 1, 6, bytes(6)), "'nv12' is not supported; use one of rgb8"),
        (("rgb8", 0, 1, 6, bytes(6)), "0×1 pixels"),
        (("rgb8", 2, 1, 5, bytes(6)), "step is 5 bytes, a row of 2 pixels in rgb8 takes 6"),
        (("rgb8", 2, 2, 6, bytes(11)), "data is 11 bytes, 2 rows of 6 bytes need 12"),
        (("yuyv", 3, 1, 6, bytes(6)), "needs an even width, not 3"),
    ],
)
def test_sizes_that_do_not_fit(fields, says):
    with pytest.raises(ImageError, match=says):
        decode(ImageMessage(*fields))


@settings(max_examples=200, deadline=None)
@given(
    encoding=st.one_of(st.sampled_from(sorted(SIZES)), st.text(max_size=8)),
    width=st.integers(-2, 40),
    height=st.integers(-2, 40),
    step=st.integers(-2, 200),
    data=st.binary(max_size=600),
)
def test_any_message_is_an_image_or_an_image_error(encoding, width, height, step, data):
    try:
        image = decode(ImageMessage(encoding, width, height, step, data))
    except ImageError:
        return
    assert image.shape == (height, width, 3)


def test_jpeg_and_png():
    rgb = np.zeros((8, 8, 3), np.uint8)
    rgb[..., 0] = 200
    png, jpeg = (cv2.imencode(kind, rgb[..., ::-1])[1].tobytes() for kind in (".png", ".jpg"))
    np.testing.assert_array_equal(decode_compressed(png, "png"), rgb)
    np.testing.assert_allclose(decode_compressed(jpeg, "jpeg").astype(int), rgb, atol=4)
    grey = cv2.imencode(".png", rgb[..., 0])[1].tobytes()
    assert decode_compressed(grey).shape == (8, 8, 3)


def test_a_png_of_16_bits_is_refused():
    deep = cv2.imencode(".png", np.zeros((4, 4), np.uint16))[1].tobytes()
    with pytest.raises(ImageError, match="more than 8 bits"):
        decode_compressed(deep, "png")


@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_an_image_or_an_image_error(data):
    with pytest.raises(ImageError, match="not a whole JPEG or PNG"):
        decode_compressed(data, "jpeg")


def spec(**fields):
    return CameraSpec(**{"width": 8, "height": 8, **fields})


@settings(max_examples=60, deadline=None)
@given(
    resize=st.sampled_from(["stretch", "letterbox", "center_crop"]),
    interpolation=st.sampled_from(["area", "linear", "cubic", "nearest"]),
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    grey=st.integers(0, 255),
    channels=st.sampled_from([1, 3]),
)
def test_every_image_becomes_the_native_size(resize, interpolation, height, width, grey, channels):
    prepare = Preprocessor(spec(resize=resize, interpolation=interpolation, channels=channels))
    image = prepare(np.full((height, width, 3), grey, np.uint8))
    assert image.shape == (8, 8, channels)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    if resize != "letterbox":
        assert (image == grey).all()


def test_native_images_pass_unchanged():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(Preprocessor(spec())(image), image)


def test_one_channel_is_grey():
    colours = np.zeros((8, 8, 3), np.uint8)
    colours[0, 0], colours[0, 1], colours[0, 2] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    grey = Preprocessor(spec(channels=1))(colours)
    np.testing.assert_array_equal(grey[0, :4, 0], [76, 150, 29, 0])  # BT.601: 0.299, 0.587, 0.114 of 255


def test_a_grey_camera_gives_a_grey_model_its_own_values():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    seen = Preprocessor(spec(width=16, height=16, channels=1))(decode(message("mono8", values)))
    np.testing.assert_array_equal(seen, values)


def test_letterbox_keeps_the_shape_with_black_borders():
    image = Preprocessor(spec(resize="letterbox"))(np.full((10, 20, 3), 99, np.uint8))
    assert (image[2:6] == 99).all()
    assert not image[:2].any()
    assert not image[6:].any()


def test_center_crop_keeps_the_middle():
    image = np.zeros((10, 30, 3), np.uint8)
    image[:, 10:20] = 50
    assert (Preprocessor(spec(resize="center_crop"))(image) == 50).all()


def test_the_crop_is_top_bottom_left_right():
    image = np.zeros((10, 10, 3), np.uint8)
    image[2:9, 3:6] = 50
    assert (Preprocessor(spec(crop=(0.2, 0.1, 0.3, 0.4)))(image) == 50).all()


def test_a_crop_that_leaves_nothing():
    with pytest.raises(ImageError, match="1×1 pixels has nothing left"):
        Preprocessor(spec(crop=(0.6, 0.0, 0.0, 0.0)))(np.zeros((1, 1, 3), np.uint8))


def test_not_an_rgb_image():
    with pytest.raises(ImageError, match=r"must be uint8 \[h, w, 3\]"):
        Preprocessor(spec())(np.zeros((4, 4), np.uint8))


def test_the_field_of_view(caplog):
    check = Preprocessor(spec(horizontal_fov_rad=1.57, fov_tolerance_rad=0.1)).check_field_of_view
    with caplog.at_level(logging.WARNING):
        check(1.6)
        assert not caplog.records
        check(1.4)
        assert "sees 80° across, the bundle was trained with 90°" in caplog.text
    with pytest.raises(ImageError, match="sees 60° across"):
        check(1.05)


HALF = 2 * np.arctan(0.5)  # what the middle half of a 90° image spans, rad


@pytest.mark.parametrize(
    ("fields", "size", "kept"),
    [
        ({}, (640, 480), np.pi / 2),
        ({"resize": "letterbox"}, (640, 480), np.pi / 2),
        ({"crop": (0.4, 0.1, 0.0, 0.0)}, (640, 480), np.pi / 2),
        ({"crop": (0.0, 0.0, 0.25, 0.25)}, (640, 480), HALF),
        ({"resize": "center_crop"}, (960, 480), HALF),
        ({"resize": "center_crop"}, (480, 960), np.pi / 2),
        ({"resize": "center_crop", "crop": (0.5, 0.0, 0.0, 0.0)}, (480, 480), HALF),
        ({"resize": "center_crop", "crop": (0.0, 0.0, 0.25, 0.25)}, (480, 240), HALF),
        ({"crop": (0.0, 0.0, 0.25, 0.25)}, (), HALF),
    ],
)
def test_the_field_of_view_is_that_of_the_part_that_is_kept(caplog, fields, size, kept):
    prepare = Preprocessor(spec(horizontal_fov_rad=kept, fov_tolerance_rad=1e-3, **fields))
    with caplog.at_level(logging.WARNING):
        prepare.check_field_of_view(np.pi / 2, *size)
    assert not caplog.records
    wrong = Preprocessor(spec(horizontal_fov_rad=kept + 0.01, fov_tolerance_rad=1e-3, **fields))
    with pytest.raises(ImageError, match=f"sees {np.degrees(kept):.0f}° across"):
        wrong.check_field_of_view(np.pi / 2, *size)


@pytest.mark.parametrize("angle", [0.0, -1.0, np.pi, np.nan])
def test_an_angle_that_no_pinhole_camera_has(angle):
    with pytest.raises(ImageError, match=r"field of view is .* rad, not in 0 to π"):
        Preprocessor(spec(horizontal_fov_rad=1.57)).check_field_of_view(angle, 640, 480)


def test_the_field_of_view_of_an_image_that_the_crop_leaves_nothing_of():
    with pytest.raises(ImageError, match="0×480 pixels has nothing left"):
        Preprocessor(spec(horizontal_fov_rad=1.57)).check_field_of_view(1.57, 0, 480)
