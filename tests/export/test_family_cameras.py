"""The camera block of every family's manifest is that of `CAMERAS`, which is held against the originals."""

from __future__ import annotations

import pytest

from jepa_ros.bundle.manifest import CameraSpec, ProprioSpec
from jepa_ros_export.cameras import CAMERAS
from jepa_ros_export.families import FAMILIES, family_module

pytestmark = pytest.mark.families
KEYS = {name: name for name in FAMILIES if name != "generic"} | {"jepa_wms": "jepa_wms_sim"}


def manifest_of(family, settings):
    module = family_module(family)
    return module.build(module.random_checkpoint(settings), settings).manifest


def agrees(camera, key):
    """Another size is no other preprocessing, except that `resize_to` goes with it."""
    expected = CameraSpec(**CAMERAS[key])
    for field in ("resize", "interpolation", "antialias", "frame_stack"):
        assert getattr(camera, field) == getattr(expected, field), field
    if expected.resize_to is not None:
        assert camera.resize_to == expected.resize_to * camera.width // expected.width


@pytest.mark.parametrize("family", KEYS)
def test_the_manifest_has_the_originals_preprocessing(family):
    settings = family_module(family).tiny()
    agrees(manifest_of(family, settings).camera, KEYS[family])


def test_so_has_a_maze_of_pldm():
    maze = family_module("pldm").Config(
        latent="map", size=64, channels=3, min_max=False, normalize=False,
        proprio=ProprioSpec(names=["vx", "vy"], units=["m/s", "m/s"]),
    )  # fmt: skip
    camera = manifest_of("pldm", maze).camera
    agrees(camera, "pldm")
    assert (camera.interpolation, camera.antialias) == ("linear", True)
    assert (camera.width, camera.height, camera.channels) == (64, 64, 3)


def test_nothing_is_left_out():
    assert set(CAMERAS) == {*KEYS.values(), "jepa_wms_droid"}
