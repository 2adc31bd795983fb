"""Calibration on recordings: the numbers, and runs that do not fit the bundle."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.bundle.loader import load_bundle, write_manifest
from jepa_ros.bundle.manifest import ProprioSpec
from jepa_ros.errors import BundleError, JepaRosError
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_export.recordings import calibrate, fitting
from jepa_ros_training.dataset import read_runs

from ..training.synthetic_runs import write_runs


def test_the_numbers_are_those_of_the_runs(tmp_path, tiny_bundle):
    """One run of exactly one window: context 3, and the frame after it."""
    runs = read_runs(write_runs(tmp_path / "data", count=1, length=4))
    found = calibrate(tiny_bundle, runs)
    bundle = load_bundle(tiny_bundle)
    latents = OnnxWorldModel(bundle).encode_batch(runs.images)
    predicted = latents[2] + runs.actions[2] @ np.eye(3, 8, dtype=np.float32)
    assert found.surprise_p50 == pytest.approx(np.mean((predicted - latents[3]) ** 2), rel=1e-4)
    assert found.surprise_p99 == pytest.approx(found.surprise_p50)
    assert found.arrival_energy == pytest.approx(np.mean((latents[2] - latents[3]) ** 2), rel=1e-4)
    assert found.measured_on == "recordings"
    assert bundle.manifest.calibration == found, "and it is in the bundle, which still opens"


def test_surprise_is_measured_with_the_history_that_a_robot_keeps(tmp_path, tiny_bundle):
    """Two latents of the three that the predictor could take: one window more, and the newest two go in."""
    manifest = load_bundle(tiny_bundle).manifest
    timing = manifest.timing.model_copy(update={"history_min": 1, "history_max": 2})
    write_manifest(tiny_bundle, manifest.model_copy(update={"timing": timing}))
    runs = read_runs(write_runs(tmp_path / "data", count=1, length=8))
    seen, own = [], OnnxWorldModel.rollout

    def rollout(self, history, past, actions):
        seen.append((len(history), len(past), actions.shape[1]))
        return own(self, history, past, actions)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OnnxWorldModel, "rollout", rollout)
        calibrate(tiny_bundle, runs)
    assert seen == [(2, 1, 1)] * 6


def test_images_that_no_camera_gives_are_refused(tmp_path, tiny_bundle):
    manifest = load_bundle(tiny_bundle).manifest
    drawn = manifest.model_copy(update={"camera": manifest.camera.model_copy(update={"channels": 2})})
    with pytest.raises(BundleError, match=r"--data: .*camera\.channels is 2"):
        fitting(drawn, read_runs(write_runs(tmp_path / "data", count=1, length=8)))


def test_percentiles_are_over_windows_of_all_runs(tmp_path, tiny_bundle):
    found = calibrate(tiny_bundle, read_runs(write_runs(tmp_path / "data", count=3, length=30)))
    assert 0 < found.surprise_p50 < found.surprise_p99


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda runs, _: setattr(runs, "step_s", 0.1), "frames are 0.1 s apart; a model step of 0.2 s with 1 actions"),
        (lambda runs, _: setattr(runs, "actions", runs.actions[:, :2]), "have 2 values, the bundle's are vx, vy, wz"),
        (lambda runs, _: setattr(runs, "length", np.array([3])), "--data: 4 frames in a row are needed"),
        (
            lambda _, manifest: manifest.model_copy(update={"proprio": ProprioSpec(names=["x"], units=["m"])}),
            "run files hold no x",
        ),
    ],
)
def test_runs_that_do_not_fit_are_refused(tmp_path, tiny_bundle, monkeypatch, spoil, says):
    runs = read_runs(write_runs(tmp_path / "data", count=1, length=8))
    manifest = load_bundle(tiny_bundle).manifest
    changed = spoil(runs, manifest)
    if changed is not None:
        monkeypatch.setattr("jepa_ros_export.recordings.load_bundle", lambda _: _Stub(changed))
        monkeypatch.setattr("jepa_ros_export.recordings.OnnxWorldModel", lambda bundle: bundle)
    with pytest.raises(JepaRosError, match=says):
        calibrate(tiny_bundle, runs)
    assert load_bundle(tiny_bundle).manifest == manifest


class _Stub:
    """A bundle of which only the manifest is looked at."""

    def __init__(self, manifest):
        self.manifest = manifest
