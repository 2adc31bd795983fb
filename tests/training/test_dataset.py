from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.errors import JepaRosError
from jepa_ros_training.dataset import read_held_out, read_runs, read_split

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


def test_a_split_is_by_count_or_by_name(tmp_path):
    write_runs(tmp_path, count=5, length=6)
    kept, apart = read_split(tmp_path, 2)
    assert (len(kept.names), apart.names) == (3, ("run_00003.npz", "run_00004.npz"))
    kept, apart = read_split(tmp_path, ("run_00000.npz",))
    assert set(apart.images[:, 0, 0, 0]) == {0}
    assert set(kept.images[:, 0, 0, 0]) == {1, 2, 3, 4}
    assert read_held_out(tmp_path, ("run_00002.npz",)).images[0, 0, 0, 0] == 2


def test_too_few_runs_to_hold_out_are_counted(tmp_path):
    write_runs(tmp_path, count=3)
    with pytest.raises(JepaRosError, match=r"has 3 run files and --hold-out 3 leaves none to train on"):
        read_split(tmp_path, 3)


def test_a_held_out_run_that_is_gone_is_named(tmp_path):
    write_runs(tmp_path, count=3)
    with pytest.raises(JepaRosError, match=r"lacks run_00009\.npz.*--data"):
        read_held_out(tmp_path, ("run_00002.npz", "run_00009.npz"))


def test_the_longest_run_is_named_where_none_is_long_enough(tmp_path):
    write_runs(tmp_path, count=2, length=9)
    write_runs(tmp_path / "longer", count=1, length=12)
    (tmp_path / "longer" / "run_00000.npz").rename(tmp_path / "run_00001.npz")
    runs = read_runs(tmp_path)
    runs.need(12, "windows")
    with pytest.raises(JepaRosError, match=r"windows: 13 frames .* longest run, run_00001\.npz, has 12"):
        runs.need(13, "windows")


@pytest.mark.parametrize(("length", "farthest"), [(2, 1), (9, 4), (40, 20), (41, 40), (60, 40)])
def test_pairs_stay_in_their_run_and_as_near_as_it_allows(tmp_path, length, farthest):
    begin, end = read_runs(write_runs(tmp_path, count=3, length=length)).pairs(np.random.default_rng(0))
    assert len(begin) == len(end) == 2000
    assert (begin // length == end // length).all()
    assert ((end - begin).min(), (end - begin).max()) == (1, farthest)


def test_pairs_need_two_frames(tmp_path):
    with pytest.raises(JepaRosError, match="2 frames in a row"):
        read_runs(write_runs(tmp_path, length=1)).pairs(np.random.default_rng(0))


def test_runs_say_which_camera_saw_them(tmp_path):
    write_runs(tmp_path / "said", horizontal_fov_rad=1.2, camera_mount=[0.3, 0.0, 0.1, 0.05])
    runs = read_runs(tmp_path / "said")
    assert (runs.fov_rad, runs.mount) == (1.2, (0.3, 0.0, 0.1, 0.05))
    # One file that does not say leaves it open; two that say different things cannot be one data set.
    write_runs(tmp_path / "said", count=1)
    assert (read_runs(tmp_path / "said").fov_rad, read_runs(tmp_path / "said").mount) == (None, None)
    write_runs(tmp_path / "said", count=2, horizontal_fov_rad=1.5)
    with pytest.raises(JepaRosError, match=r"run_00002\.npz: horizontal_fov_rad or camera_mount differs"):
        read_runs(tmp_path / "said")


@pytest.mark.parametrize("mount", [[0.3, 0.0, 0.1], [0.3, 0.0, np.nan, 0.0], ["a", "b", "c", "d"]])
def test_a_mount_that_is_none_is_named(tmp_path, mount):
    write_runs(tmp_path, count=1, camera_mount=mount)
    with pytest.raises(JepaRosError, match=r"run_00000\.npz: camera_mount must be 4 finite numbers"):
        read_runs(tmp_path)


def test_runs_are_told_apart_by_length_and_actions(tmp_path):
    one, same = (read_runs(write_runs(tmp_path / name, length=9)).identity() for name in ("one", "same"))
    assert one == same
    assert one.startswith("3 runs, 27 frames, sha256 ")
    assert read_runs(write_runs(tmp_path / "other", length=9, seed=1)).identity() != one
    assert read_runs(write_runs(tmp_path / "longer", length=10)).identity() != one
