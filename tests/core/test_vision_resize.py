"""Every interpolation and crop against formulas written out in float64: what a bundle says is what the model sees."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_ros.bundle.manifest import CameraSpec
from jepa_ros.errors import ImageError
from jepa_ros.resize import centered, resize, shorter_side_to
from jepa_ros.vision import Preprocessor


def kernel(interpolation, antialias, x):
    x = np.abs(x)
    if interpolation == "linear":
        return np.maximum(1 - x, 0)
    a = -0.5 if antialias else -0.75
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def weights(before, after, interpolation, antialias):
    """`[after, before]`: pixels' centres at halves; beyond the edge the last pixel, or nothing where it averages."""
    scale = before / after
    centres = (np.arange(after) + 0.5) * scale - 0.5
    if antialias:
        reach = max(scale, 1.0)
        found = kernel(interpolation, True, (np.arange(before) - centres[:, None]) / reach)
        return found / found.sum(axis=1, keepdims=True)
    found = np.zeros((after, before))
    for row, centre in enumerate(centres):
        for column in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            found[row, np.clip(column, 0, before - 1)] += kernel(interpolation, False, column - centre)
    return found


def expected(image, size, interpolation, antialias):
    """In levels, not rounded. Where it averages, first across, then down, and overshoot is clipped after each."""
    across = weights(image.shape[1], size[0], interpolation, antialias)
    down = weights(image.shape[0], size[1], interpolation, antialias)
    wide = np.einsum("xw,hwc->hxc", across, image.astype(float))
    if antialias:
        wide = wide.clip(0, 255)
    return np.einsum("yh,hxc->yxc", down, wide).clip(0, 255)


@settings(max_examples=150, deadline=None)
@given(
    interpolation=st.sampled_from(["linear", "cubic"]),
    antialias=st.booleans(),
    before=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    after=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 99),
)
def test_linear_and_cubic_are_their_formulas_within_a_level(interpolation, antialias, before, after, seed):
    image = np.random.default_rng(seed).integers(0, 256, (*before, 3), dtype=np.uint8)
    off = np.abs(resize(image, after, interpolation, antialias) - expected(image, after, interpolation, antialias))
    assert off.max() <= 1.13  # half a level from each pass, the first of them through weights that sum to 1.25 at most


@pytest.mark.parametrize("size", [(224, 224), (64, 48), (700, 500)])
@pytest.mark.parametrize(("name", "flag"), [("area", cv2.INTER_AREA), ("nearest", cv2.INTER_NEAREST)])
def test_area_and_nearest_are_opencvs_whatever_antialias_says(size, name, flag):
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    for antialias in (False, True):
        np.testing.assert_array_equal(resize(image, size, name, antialias), cv2.resize(image, size, interpolation=flag))


def test_antialias_decides_what_stripes_become():
    """Stripes of one pixel, a third as wide: an average is grey, samples keep black and white."""
    stripes = np.zeros((30, 90, 3), np.uint8)
    stripes[:, ::2] = 255
    for interpolation in ("linear", "cubic"):
        assert np.ptp(resize(stripes, (30, 30), interpolation, antialias=True)[:, 2:-2]) <= 60
        assert np.ptp(resize(stripes, (30, 30), interpolation, antialias=False)) == 255


@pytest.mark.parametrize("interpolation", ["area", "linear", "cubic", "nearest"])
@pytest.mark.parametrize("antialias", [False, True])
def test_grey_is_resized_as_each_colour_is(interpolation, antialias):
    values = np.random.default_rng(1).integers(0, 256, (48, 64, 1), dtype=np.uint8)
    spec = {"width": 20, "height": 20, "interpolation": interpolation, "antialias": antialias}
    grey = Preprocessor(CameraSpec(**spec, channels=1))(np.repeat(values, 3, axis=2))
    rgb = Preprocessor(CameraSpec(**spec))(np.repeat(values, 3, axis=2))
    np.testing.assert_array_equal(np.repeat(grey, 3, axis=2), rgb)


@pytest.mark.parametrize(
    ("pixels", "width", "height", "size"),
    [
        (256, 640, 480, (341, 256)),  # 341.33
        (292, 1280, 720, (519, 292)),  # 519.11
        (224, 80, 100, (224, 280)),
        (224, 300, 300, (224, 224)),
        (256, 256, 256, (256, 256)),
        (16, 1, 3, (16, 48)),
    ],
)
def test_the_shorter_side(pixels, width, height, size):
    assert shorter_side_to(pixels, width, height) == size


def test_the_middle_begins_where_torchvision_rounds_it_to():
    """int(round(x)) of 8.5 is 8 and of 9.5 is 10."""
    assert [centered(outer, 224) for outer in (224, 225, 227, 229, 231, 241, 243)] == [0, 0, 2, 2, 4, 8, 10]


def cropping(size, resize_to, **fields):
    return CameraSpec(width=size, height=size, resize="resize_center_crop", resize_to=resize_to, **fields)


@settings(max_examples=80, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    size=st.integers(1, 24),
    more=st.integers(0, 9),
    interpolation=st.sampled_from(["area", "linear", "cubic", "nearest"]),
    channels=st.sampled_from([1, 3]),
)
def test_resize_center_crop_is_the_middle_of_the_whole_resized_image(
    height, width, size, more, interpolation, channels
):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 1), dtype=np.uint8).repeat(3, axis=2)
    found = Preprocessor(cropping(size, size + more, interpolation=interpolation, channels=channels))(image)
    whole = image
    if (width, height) != (resized := shorter_side_to(size + more, width, height)):
        whole = resize(image, resized, interpolation, antialias=True)
    left, top = int(round((resized[0] - size) / 2.0)), int(round((resized[1] - size) / 2.0))  # noqa: RUF046
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, whole[top : top + size, left : left + size, :channels])


def test_resize_center_crop_without_a_margin_keeps_the_shorter_side():
    """Columns 6 to 13 of 20, 8 rows: nothing is resized, so the values come through."""
    image = np.arange(160, dtype=np.uint8).reshape(8, 20, 1).repeat(3, axis=2)
    np.testing.assert_array_equal(Preprocessor(cropping(8, 8))(image), image[:, 6:14])


def test_the_crop_comes_before_the_shorter_side():
    image = np.zeros((40, 40, 3), np.uint8)
    image[10:30, 10:30] = 50
    assert (Preprocessor(cropping(8, 10, crop=(0.25, 0.25, 0.25, 0.25)))(image) == 50).all()


@pytest.mark.parametrize(
    ("fields", "size", "share"),
    [
        ({"resize_to": 256}, (640, 480), 224 / 341),
        ({"resize_to": 256}, (480, 640), 224 / 256),
        ({"resize_to": 256}, (1280, 720), 224 / 455),
        ({"resize_to": 224}, (224, 224), 1.0),
        ({"resize_to": 256}, (), 224 / 256),
        ({"resize_to": 256, "crop": (0.0, 0.0, 0.25, 0.25)}, (640, 320), 0.5 * 224 / 256),
    ],
)
def test_the_field_of_view_is_that_of_what_the_middle_keeps(caplog, fields, size, share):
    """Of a camera that sees 90° across, so that half its width is a tangent of 1."""
    kept = 2 * np.arctan(share)
    prepare = Preprocessor(cropping(224, **fields, horizontal_fov_rad=kept, fov_tolerance_rad=1e-3))
    with caplog.at_level(logging.WARNING):
        prepare.check_field_of_view(np.pi / 2, *size)
    assert not caplog.records
    wrong = Preprocessor(cropping(224, **fields, horizontal_fov_rad=kept + 0.01, fov_tolerance_rad=1e-3))
    with pytest.raises(ImageError, match=f"sees {np.degrees(kept):.0f}° across"):
        wrong.check_field_of_view(np.pi / 2, *size)


def test_two_channels_are_refused_before_the_first_image():
    says = r"camera.channels is 2, .* ready-made to the world model, as uint8 \[65, 64, 2\]"
    with pytest.raises(ImageError, match=says):
        Preprocessor(CameraSpec(width=64, height=65, channels=2))
