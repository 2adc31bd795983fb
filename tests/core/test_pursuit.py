"""From camera frames to the chunks that a robot carries out, with what a robot has not refused, by field."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

import numpy as np
import pytest

from jepa_ros.bundle.loader import load_bundle, write_manifest
from jepa_ros.bundle.manifest import read_manifest
from jepa_ros.errors import BundleError, ImageError
from jepa_ros.planning.pursuit import GoalPursuit, PursuitSettings

from .made_bundles import Made

STEP_S = 0.2


def image(seed):
    return np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)


def pursuing(folder, **fields):
    """With a goal, on a bundle of such fields."""
    bundle = load_bundle(Made(folder, **fields).folder)
    pursuit = GoalPursuit(bundle)
    pursuit.begin(b"goal", pursuit.model.encode_goal(image(9)))
    return pursuit


def changed(folder, block, **fields):
    """The bundle with some fields of a block of its manifest changed."""
    manifest = read_manifest(folder)
    new = getattr(manifest, block).model_copy(update=fields)
    write_manifest(folder, manifest.model_copy(update={block: new}))
    return load_bundle(folder)


@pytest.mark.parametrize("block", [1, 2, 4])
def test_a_block_of_actions_is_carried_out_one_after_another_within_the_step(tmp_path, block):
    """2 steps of 0.2 s are planned from 10 s on and take effect a step later."""
    pursuit = pursuing(tmp_path / "made", block=block)
    found = pursuit.pursue(image(0), 10.0)
    plan, chunk = found.step.plan, found.chunk
    assert plan.actions.shape == (2, 2 * block)
    assert chunk.values.shape == (2 * block, 2)
    for step in range(2):
        for part in range(block):
            expected = plan.actions[step, 2 * part : 2 * part + 2]
            np.testing.assert_allclose(chunk.values[step * block + part], expected)
    assert len(np.unique(chunk.values)) > 2
    assert chunk.names == ("vx", "vy")
    assert chunk.step == pytest.approx(STEP_S / block)
    assert chunk.start == pytest.approx(10.0 + STEP_S)
    assert chunk.valid_until == pytest.approx(10.0 + 3 * STEP_S)


def test_what_was_carried_out_is_told_part_by_part(tmp_path):
    pursuit = pursuing(tmp_path / "made", block=2)
    assert pursuit.applied.size == 2
    assert pursuit.pursue(image(0), 10.0).applied is None
    for at, value in ((10.05, 0.1), (10.1, 0.3), (10.15, 0.5)):
        pursuit.applied.put(at, np.array([value, -value]))
    np.testing.assert_allclose(pursuit.pursue(image(1), 10.2).applied, [0.2, -0.2, 0.5, -0.5], rtol=1e-6)
    assert pursuit.pursue(image(2), 10.4).applied is None


def test_surprise_takes_the_parts_that_were_carried_out(tmp_path):
    """Against a prediction of the model's own from the same two frames."""
    pursuit = pursuing(tmp_path / "made", block=2, output="sequence")
    first = pursuit.pursue(image(0), 10.0).step.latent
    for at, value in ((10.1, 0.3), (10.2, 0.5)):
        pursuit.applied.put(at, np.array([value, -value]))
    step = pursuit.pursue(image(1), 10.2).step
    done = np.array([[[0.3, -0.3, 0.5, -0.5]]], np.float32)
    predicted = pursuit.model.rollout(first[None], np.zeros((0, 4), np.float32), done)[0, 0]
    assert step.surprise == pytest.approx(np.mean((predicted - step.latent) ** 2) / 0.04, rel=1e-4)


def test_a_stack_is_made_of_the_frames_that_were_taken(tmp_path):
    pursuit = pursuing(tmp_path / "made", stack=2)
    frames = [image(seed) for seed in range(3)]
    latents = [pursuit.pursue(frame, 10.0 + i * STEP_S).step.latent for i, frame in enumerate(frames)]
    for i, latent in enumerate(latents):
        np.testing.assert_array_equal(latent, pursuit.model.encode(np.stack([frames[max(i - 1, 0)], frames[i]])))
    late = pursuit.pursue(frames[0], 20.0)
    assert late.restarted
    np.testing.assert_array_equal(late.step.latent, latents[0])


def test_a_model_that_measures_has_no_robot(tmp_path):
    bundle = load_bundle(Made(tmp_path / "made", measured=2).folder)
    with pytest.raises(BundleError, match="bundle made: proprio asks for m0, m1, which no node measures"):
        GoalPursuit(bundle)


def test_changes_as_actions_have_no_robot(tmp_path):
    bundle = changed(Made(tmp_path / "made").folder, "action", delta=True)
    with pytest.raises(BundleError, match=r"bundle made: action\.delta is true"):
        GoalPursuit(bundle)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"units": ["km/h", "m/s"]}, r"action\.units: vx is in km/h, and motions take m/s"),
        ({"names": ["vx", "wz"], "units": ["m/s", "deg/s"]}, r"action\.units: wz is in deg/s, and motions take rad/s"),
        (
            {"names": ["FL_hip_joint", "b"], "units": ["rad", "deg"]},
            r"action\.units: b is in deg, and motions take rad",
        ),
        ({"frame": "map"}, r"action\.frame is map, and body velocities are of base_link"),
    ],
)
def test_units_and_a_frame_that_motions_do_not_take_have_no_robot(tmp_path, fields, says):
    """Plans go out as they are: 3.6 km/h would be walked as 3.6 m/s."""
    bundle = changed(Made(tmp_path / "made").folder, "action", **fields)
    with pytest.raises(BundleError, match=f"bundle made: {says}"):
        GoalPursuit(bundle)


def test_joints_in_rad_have_a_robot_in_any_frame(tmp_path):
    fields = {"names": ["FL_hip_joint", "FR_hip_joint"], "units": ["rad", "rad"], "frame": "joints"}
    assert GoalPursuit(changed(Made(tmp_path / "made").folder, "action", **fields)).manifest.action.frame == "joints"


def test_a_planner_that_is_not_available_has_no_robot(tmp_path):
    bundle = changed(Made(tmp_path / "made").folder, "planner", name="gradient")
    says = r"planner\.name is gradient, which is not available: it needs predictor_vjp\.onnx.* of cem, mppi, icem$"
    with pytest.raises(BundleError, match=says):
        GoalPursuit(bundle)


def test_frames_that_no_camera_gives_have_no_robot(tiny_bundle, tmp_path):
    bundle = load_bundle(tiny_bundle)
    camera = bundle.manifest.camera.model_copy(update={"channels": 2})
    object.__setattr__(bundle, "manifest", bundle.manifest.model_copy(update={"camera": camera}))
    with pytest.raises((ImageError, BundleError), match=r"camera\.channels is 2"):
        GoalPursuit(bundle)


@pytest.mark.parametrize(("measured_on", "warned"), [("random", True), ("recordings", False)])
def test_a_calibration_on_random_inputs_is_warned_of(tmp_path, caplog, measured_on, warned):
    bundle = changed(Made(tmp_path / "made").folder, "calibration", measured_on=measured_on)
    with caplog.at_level(logging.WARNING):
        GoalPursuit(bundle)
    assert ("calibration was not measured on recordings" in caplog.text) == warned


@pytest.mark.parametrize(("rate", "iterations"), [(1.0, 10), (4.0, 2), (0.25, 40)])
def test_the_deadline_is_kept_in_time_that_runs_at_another_speed(tmp_path, monkeypatch, rate, iterations):
    """A step of 0.2 s less a margin of 0.03 s are left of it; an iteration takes 0.016 s of this machine's."""
    wall = [50.0]
    monkeypatch.setattr(time, "perf_counter", lambda: wall[0])
    pursuit = GoalPursuit(load_bundle(Made(tmp_path / "made").folder), PursuitSettings(engine="numpy"))
    pursuit.begin(b"goal", pursuit.model.encode_goal(image(9)))
    planner = pursuit._mpc._planner
    planner.config = replace(planner.config, iterations=50, convergence=0.0)
    planner._clock = lambda: wall[0]
    iterate = planner._iterate

    def slow(*given):
        wall[0] += 0.016
        return iterate(*given)

    monkeypatch.setattr(planner, "_iterate", slow)
    for frame in range(6):
        stamp = 100.0 + STEP_S * frame
        wall[0] = 50.0 + STEP_S * frame / rate
        found = pursuit.pursue(image(frame), stamp, lambda: 100.0 + rate * (wall[0] - 50.0))
        assert 100.0 + rate * (wall[0] - 50.0) <= found.chunk.start or frame == 0
    assert found.step.plan.iterations == pytest.approx(iterations, abs=2)
