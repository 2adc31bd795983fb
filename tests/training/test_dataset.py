from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.errors import JepaRosError
from jepa_ros_training.dataset import read_runs

from .synthetic_runs import write_runs


def test_windows_never_cross_from_one_run_to_the_next(tmp_path):
    runs = read_runs(write_runs(tmp_path, count=4, length=9))
    starts = runs.starts(5)
    assert len(starts) == 4 * (9 - 5 + 1)
    images, actions = runs.batch(starts, 5)
    assert images.shape == (20, 5, 16, 16, 3)
    assert actions.shape == (20, 5, 3)
    run_of_frame = images[:, :, 0, 0, 0]
    assert (run_of_frame == run_of_frame[:, :1]).all()
    assert set(run_of_frame[:, 0].tolist()) == {0, 1, 2, 3}


def test_a_run_shorter_than_the_window_gives_none(tmp_path):
    write_runs(tmp_path, count=2, length=9)
    assert len(read_runs(tmp_path).starts(10)) == 0


def test_the_action_of_a_row_leads_to_the_next_frame(tmp_path):
    runs = read_runs(write_runs(tmp_path, count=1, length=12))
    _, actions = runs.batch(np.array([3]), 4)
    np.testing.assert_allclose(np.diff(runs.poses[3:7], axis=0), actions[0, :3], atol=1e-6)


def test_a_part_holds_runs_out(tmp_path):
    write_runs(tmp_path, count=5, length=6)
    assert len(read_runs(tmp_path, slice(0, -2)).first) == 3
    assert read_runs(tmp_path, slice(-2, None)).images[0, 0, 0, 0] == 3


def test_an_empty_folder_says_how_to_collect(tmp_path):
    with pytest.raises(JepaRosError, match=r"no run_\*\.npz files .* collect"):
        read_runs(tmp_path)


def test_a_file_without_a_field_is_named(tmp_path):
    write_runs(tmp_path, count=2)
    np.savez(tmp_path / "run_00001.npz", images=np.zeros((3, 16, 16, 3), np.uint8))
    with pytest.raises(JepaRosError, match=r"run_00001\.npz.*actions"):
        read_runs(tmp_path)


def test_a_damaged_file_is_named(tmp_path):
    write_runs(tmp_path, count=2)
    (tmp_path / "run_00000.npz").write_bytes(b"PK\x03\x04 not much of an archive")
    with pytest.raises(JepaRosError, match=r"run_00000\.npz"):
        read_runs(tmp_path)


def test_runs_of_another_rate_are_refused(tmp_path):
    write_runs(tmp_path, count=2)
    with np.load(tmp_path / "run_00001.npz") as run:
        fields = dict(run)
    np.savez(tmp_path / "run_00001.npz", **{**fields, "step_s": 0.1})
    with pytest.raises(JepaRosError, match="step_s differs"):
        read_runs(tmp_path)
