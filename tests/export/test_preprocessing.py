"""Camera images through each family's own order of operations, written out here, and through `Preprocessor` with the
camera block that the family's exporter writes: the pixels must be the same within a rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from jepa_ros.bundle.manifest import CameraSpec
from jepa_ros.errors import ImageError
from jepa_ros.vision import Preprocessor
from jepa_ros_export.cameras import CAMERAS

pytestmark = pytest.mark.families

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5,) * 3, (0.5,) * 3)
SIZES = ((480, 640), (720, 1280), (1280, 720), (100, 80))  # height, width


def images():
    """Of every size: noise, which shows every weight; and checks of a few pixels on a slope, where samples alias and
    bicubic overshoots."""
    rng = np.random.default_rng(0)
    for height, width in SIZES:
        yield rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        y, x = np.mgrid[0:height, 0:width]
        checks = ((x // 7 + y // 5) % 2 * 255).astype(np.uint8)
        yield np.stack([checks, 255 - checks, (x * 255 // width).astype(np.uint8)], axis=-1)


def tensor(image):
    """uint8 `[h, w, c]` → `[1, c, h, w]`."""
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def column(values):
    return torch.tensor(values).view(1, 3, 1, 1)


def normalised(x, statistics):
    return (x - column(statistics[0])) / column(statistics[1])


def in_levels(x, statistics):
    """A normalised `[1, 3, h, w]` as `[h, w, 3]` between 0 and 255, not rounded: what the model saw."""
    levels = (x.double() * column(statistics[1]) + column(statistics[0])) * 255
    return levels[0].permute(1, 2, 0).numpy()


def resized_size(height, width, short):
    """torchvision's Resize(short): height and width."""
    if width <= height:
        return int(short * height / width), short
    return short, int(short * width / height)


def middle(array, size, height_axis):
    """torchvision's CenterCrop(size)."""
    for axis in (height_axis, height_axis + 1):
        begin = int(round((array.shape[axis] - size) / 2.0))  # noqa: RUF046
        array = array[(slice(None),) * axis + (slice(begin, begin + size),)]
    return array


def fallback_crop(x, ratio):
    """What vjepa2's random_resized_crop comes to where no crop of the drawn area fits: the middle, as wide or as high
    as the ratio's bounds allow."""
    height, width = x.shape[-2:]
    if width / height < ratio[0]:
        high, wide = round(width / ratio[0]), width
    elif width / height > ratio[1]:
        high, wide = height, round(height * ratio[1])
    else:
        high, wide = height, width
    top, left = (height - high) // 2, (width - wide) // 2
    return x[..., top : top + high, left : left + wide]


def vjepa2_ac(image, ratio=(1.0, 1.0)):
    x = fallback_crop(tensor(image).float(), ratio)
    x = interpolate(x, (256, 256), mode="bilinear", align_corners=False)
    statistics = [[255 * value for value in values] for values in IMAGENET]
    return in_levels(normalised(x, statistics), IMAGENET)


def jepa_wms(image, size):
    x = fallback_crop(tensor(image).float() / 255, (1.0, 1.0))
    return in_levels(normalised(interpolate(x, (size, size), mode="bilinear", align_corners=False), IMAGENET), IMAGENET)


def dino_wm(image):
    x = tensor(image).float() / 255
    x = interpolate(x, resized_size(*x.shape[-2:], 224), mode="bilinear", antialias=True)
    return in_levels(normalised(middle(x, 224, 2), HALF), HALF)


def lewm(image):
    x = normalised(tensor(image).float() / 255, IMAGENET)
    x = interpolate(x, resized_size(*x.shape[-2:], 224), mode="bilinear", antialias=True)
    return in_levels(middle(x, 224, 2), IMAGENET)


def pldm(image):
    square = Image.fromarray(middle(image, min(image.shape[:2]), 0))
    return np.asarray(pillow_12(square, (64, 64), Image.Resampling.BILINEAR), dtype=float)


def pillow_12(image, size, kernel):
    """Resized across and then down, the order of every Pillow that a published model was trained with."""
    return image.resize((size[0], image.height), kernel).resize(size, kernel)


def ijepa(image):
    return np.asarray(pillow_12(Image.fromarray(image), (224, 224), Image.Resampling.BILINEAR), dtype=float)


def vjepa2(image):
    x = tensor(image)  # stays uint8: torchvision hands it to torch as it is
    x = interpolate(x, resized_size(*x.shape[-2:], int(256 * 256 / 224)), mode="bilinear", antialias=True)
    return in_levels(normalised(middle(x, 256, 2).float() / 255, IMAGENET), IMAGENET)


def dinov2(image):
    size = resized_size(*image.shape[:2], 256)[::-1]
    whole = np.asarray(pillow_12(Image.fromarray(image), size, Image.Resampling.BICUBIC), dtype=float)
    return middle(whole, 224, 0)


def dinov3(image):
    x = interpolate(tensor(image).float() / 255, (224, 224), mode="bilinear", antialias=True)
    return in_levels(normalised(x, IMAGENET), IMAGENET)


# The family's own order, and the largest and the mean difference from it in levels of 255, over all images. Rounding
# a float to uint8 alone is 0.5 and 0.25 (of noise); Pillow rounds twice, and OpenCV's weights have 11 bits.
FAMILIES = {
    "vjepa2_ac": (vjepa2_ac, 0.80, 0.19),
    "jepa_wms_sim": (lambda image: jepa_wms(image, 224), 0.80, 0.19),
    "jepa_wms_droid": (lambda image: jepa_wms(image, 256), 0.80, 0.19),
    "dino_wm": (dino_wm, 1.0, 0.25),
    "lewm": (lewm, 1.0, 0.25),
    "pldm": (pldm, 0.0, 0.0),
    "ijepa": (ijepa, 0.0, 0.0),
    "vjepa2": (vjepa2, 1.0, 0.01),
    "dinov2": (dinov2, 0.0, 0.0),
    "dinov3": (dinov3, 1.0, 0.26),
}


def differences(original, prepare):
    return np.concatenate([np.abs(original(image) - prepare(image)).ravel() for image in images()])


def camera(family, **fields):
    return Preprocessor(CameraSpec(**{**CAMERAS[family], **fields}))


def landscape(kind):
    """The noise (0) or the checks (1) of 480×640 and of 720×1280."""
    return list(images())[kind : kind + 3 : 2]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bundle_sees_what_the_original_saw(family):
    original, largest, mean = FAMILIES[family]
    off = differences(original, camera(family))
    assert off.max() <= largest + 1e-3  # float32, normalised and back
    assert off.mean() <= mean


def test_every_family_is_compared_or_has_nothing_to_compare():
    assert set(CAMERAS) == {*FAMILIES, "eb_jepa", "tdmpc2"}


def test_eb_jepa_takes_its_frames_ready_made():
    with pytest.raises(ImageError, match=r"camera\.channels is 2"):
        camera("eb_jepa")


def test_tdmpc2_takes_a_render_of_its_own_size_as_it_is():
    image = next(images())[:64, :64]
    np.testing.assert_array_equal(camera("tdmpc2")(image), image)


def test_vjepa2_ac_can_be_shown_what_its_training_was_shown():
    """DROID's 16:9 frames within shapes of 0.75 to 1.35, and whole images of 4:3."""
    narrow, wide = landscape(0)
    squeezed = camera("vjepa2_ac", resize="stretch", crop=(0.0, 0.0, 154 / 1280, 154 / 1280))
    assert np.abs(vjepa2_ac(wide, (0.75, 1.35)) - squeezed(wide)).max() <= 0.8
    whole = camera("vjepa2_ac", resize="stretch")
    assert np.abs(vjepa2_ac(narrow, (0.75, 1.35)) - whole(narrow)).max() <= 0.8


def test_a_maze_of_pldm_is_a_crop_of_its_render():
    """CenterCrop(346) of 500×500, Resize(64)."""
    image = next(images())[:480, :480].repeat(2, axis=0)[:500].repeat(2, axis=1)[:, :500]
    kept = Image.fromarray(middle(image, 346, 0))
    expected = np.asarray(pillow_12(kept, (64, 64), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(camera("pldm", crop=(0.154,) * 4)(image), expected)


def test_normalising_before_resizing_changes_nothing_but_the_rounding():
    """LeWM's order against the usual one, both in float: the weights of a resize sum to one."""
    for image in images():
        x = interpolate(
            tensor(image).float() / 255, resized_size(*image.shape[:2], 224), mode="bilinear", antialias=True
        )
        assert np.abs(lewm(image) - in_levels(normalised(middle(x, 224, 2), IMAGENET), IMAGENET)).max() <= 2e-3


def test_torchs_uint8_resize_is_pillows_within_a_level():
    """torchvision's tensor path for uint8, which transformers takes where torchvision is installed."""
    off = []
    for image in images():
        x = interpolate(tensor(image), resized_size(*image.shape[:2], 256), mode="bicubic", antialias=True)
        off.append(
            np.abs(middle(x, 224, 2)[0].permute(1, 2, 0).numpy().astype(float) - camera("dinov2")(image)).ravel()
        )
    off = np.concatenate(off)
    assert off.max() <= 1
    assert off.mean() <= 0.01


def test_bicubic_on_floats_is_what_uint8_cannot_hold():
    """Its overshoot leaves 0 to 255, and Pillow clips it twice. No family here does this; an encoder that did would
    need the resize in its graph."""
    image = landscape(1)[0]
    x = interpolate(tensor(image).float(), resized_size(480, 640, 256), mode="bicubic", antialias=True)
    off = np.abs(middle(x, 224, 2)[0].permute(1, 2, 0).numpy() - camera("dinov2")(image))
    assert off.max() > 20


@pytest.mark.parametrize(
    ("family", "fields", "mean"),
    [
        ("vjepa2_ac", {"antialias": True}, 16),
        ("vjepa2_ac", {"interpolation": "area"}, 10),
        ("dinov3", {"antialias": False}, 26),
        ("dinov3", {"interpolation": "area"}, 5),
        ("dinov2", {"antialias": False}, 14),
        ("dinov2", {"interpolation": "linear"}, 3),
    ],
)
def test_another_word_in_the_manifest_is_another_image(family, fields, mean):
    """In mean levels, at the least, of noise and of checks."""
    for image in [*landscape(0), *landscape(1)]:
        assert np.abs(camera(family)(image).astype(float) - camera(family, **fields)(image)).mean() >= mean


def test_transformers_own_processors():
    """In a single call of Pillow's, on landscape images, where every version of it goes across first."""
    pytest.importorskip("transformers")
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    raw = {"do_rescale": False, "do_normalize": False}
    squeezing = ViTImageProcessorPil(**raw)
    cropping = BitImageProcessorPil(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}, **raw)

    def pixels(processor, image):
        return processor(image, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)

    for image in [*landscape(0), *landscape(1)]:
        np.testing.assert_array_equal(camera("ijepa")(image), pixels(squeezing, image))
        theirs, ours = pixels(cropping, image), camera("dinov2")(image)
        if image.shape[0] == 480:
            np.testing.assert_array_equal(ours, theirs)
        else:
            # (455 − 224) / 2 = 115.5: torchvision, as DINOv2's own code uses it, begins at 116, transformers at 115.
            np.testing.assert_array_equal(ours[:, :-1], theirs[:, 1:])
