"""Place memory: what is kept comes back, and other bundles' places do not."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.errors import JepaRosError
from jepa_ros.memory import PlaceMemory


@pytest.fixture
def memory():
    found = PlaceMemory("tiny", 2)
    found.remember("sofa", np.array([1.0, 0.0], np.float32))
    found.remember("door", np.array([0.0, 1.0], np.float32))
    return found


def test_the_nearest_place_and_its_distance(memory):
    name, distance = memory.nearest(np.array([0.8, 0.0], np.float32))
    assert name == "sofa"
    assert distance == pytest.approx(0.02)


def test_saved_and_loaded_beside_what_is_there(memory, tmp_path):
    memory.save(tmp_path / "places.npz")
    other = PlaceMemory("tiny", 2)
    other.remember("hall", np.zeros(2, np.float32))
    other.load(tmp_path / "places.npz")
    assert other.names == ["door", "hall", "sofa"]
    np.testing.assert_array_equal(other.recall("sofa"), [1.0, 0.0])
    assert [p.name for p in tmp_path.iterdir()] == ["places.npz"]


def test_nothing_remembered_can_be_saved(tmp_path):
    PlaceMemory("tiny", 2).save(tmp_path / "places.npz")
    again = PlaceMemory("tiny", 2)
    again.load(tmp_path / "places.npz")
    assert again.names == []
    with pytest.raises(JepaRosError, match="no place is remembered"):
        again.nearest(np.zeros(2, np.float32))


def test_what_is_recalled_can_be_changed_without_harm(memory):
    memory.recall("sofa")[:] = 9
    np.testing.assert_array_equal(memory.recall("sofa"), [1.0, 0.0])


def test_another_bundles_places_are_refused(memory, tmp_path):
    memory.save(tmp_path / "places.npz")
    with pytest.raises(JepaRosError, match="made with bundle 'tiny', this one is 'other'"):
        PlaceMemory("other", 2).load(tmp_path / "places.npz")


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04half"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "places.npz"
    path.write_bytes(damage)
    with pytest.raises(JepaRosError, match=r"places\.npz: cannot be read as named arrays"):
        PlaceMemory("tiny", 2).load(path)


@pytest.mark.parametrize(("name", "latent"), [("", [0, 0]), ("a", [0, 0, 0]), ("a", [0, np.nan]), ("a", [np.inf, 0])])
def test_what_cannot_be_remembered(memory, name, latent):
    with pytest.raises(JepaRosError):
        memory.remember(name, np.array(latent, np.float32))
    assert memory.names == ["door", "sofa"]


def test_a_place_that_is_not_there(memory):
    with pytest.raises(JepaRosError, match="no place is named 'attic'; there are: door, sofa"):
        memory.recall("attic")
