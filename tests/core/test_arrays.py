"""Named arrays from anybody: nothing is unpickled, and no more memory is asked for than allowed."""

from __future__ import annotations

import io
import os
import zipfile

import numpy as np
import pytest

from jepa_ros.arrays import read_arrays
from jepa_ros.errors import JepaRosError

from .bounded import bounded

__all__ = ["bounded"]


def packed(folder, name, data):
    path = folder / "arrays.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, data)
    return path


def array_file(dtype, shape, data=b""):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": dtype, "fortran_order": False, "shape": shape})
    return head.getvalue() + data


@pytest.mark.usefixtures("bounded")
def test_arrays_that_unpack_to_more_than_allowed(tmp_path):
    path = packed(tmp_path, "zeros.npy", array_file("|u1", (200_000_000,), bytes(200_000_000)))
    assert path.stat().st_size < 1e6
    with pytest.raises(JepaRosError, match=r"its arrays have 2000001\d\d bytes unpacked"):
        read_arrays(path, 100_000_000)


@pytest.mark.parametrize("shape", [(2**40,), (2**62,), (2**31, 2**31, 2**31), (-1,)])
@pytest.mark.usefixtures("bounded")
def test_an_array_of_a_shape_that_nothing_stands_behind(tmp_path, shape):
    with pytest.raises(JepaRosError, match="cannot be read as named arrays"):
        read_arrays(packed(tmp_path, "giant.npy", array_file("<f8", shape, bytes(64))))


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_objects_in_arrays_are_not_unpickled(tmp_path):
    mark = tmp_path / "unpickled"
    np.savez(tmp_path / "arrays.npz", image=np.array([Touch(mark)], dtype=object))
    with pytest.raises(JepaRosError, match="cannot be read as named arrays"):
        read_arrays(tmp_path / "arrays.npz")
    assert not mark.exists()


def test_one_array_without_a_name(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(JepaRosError, match="File is not a zip file"):
        read_arrays(tmp_path / "one.npy")


def test_an_array_with_an_archive_behind_it(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros(3))
    np.savez(tmp_path / "two.npz", a=np.zeros(3))
    (tmp_path / "both.npz").write_bytes((tmp_path / "one.npy").read_bytes() + (tmp_path / "two.npz").read_bytes())
    with pytest.raises(JepaRosError, match="it is a single array"):
        read_arrays(tmp_path / "both.npz")


def test_what_was_written(tmp_path):
    np.savez_compressed(tmp_path / "two.npz", a=np.arange(3), b=np.ones((2, 2), np.float32))
    found = read_arrays(tmp_path / "two.npz")
    assert {name: array.shape for name, array in found.items()} == {"a": (3,), "b": (2, 2)}
