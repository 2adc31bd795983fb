"""`jepa-bundle show`: what it says of a bundle, to people and as JSON."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from jepa_ros.bundle.card_page import operations, size
from jepa_ros.bundle.cli import app
from jepa_ros.bundle.manifest import ActionSpec, read_manifest
from jepa_ros.share import default_bundle

from .bundle_command import invoke, rehashed


def card_of(folder, *arguments):
    code, _ = invoke("show", folder, *arguments)
    assert code == 0
    return json.loads(CliRunner().invoke(app, ["show", str(folder), "--json", *map(str, arguments)]).output)


def test_show_says_what_the_manifest_says(tiny_bundle_with_head):
    _, text = invoke("show", tiny_bundle_with_head)
    assert text.startswith("tiny (linear)")
    for words in (
        "licence Apache-2.0",
        "image RGB, 16 × 16",
        "resize stretch, area",
        "field of view 1.571 rad across",
        "model step 0.2 s",
        "history 3 to 3 latents; padded with the oldest",
        "latent vector [8], latent",
        "wz -0.9 … 0.9 rad/s",
        "max context 3",
        "value value, latent, goal → value (heads/value.onnx)",
        "2 0.5 × latent l2 (mean), steps: last",
        "samples 32",
        "arrival energy 0.01",
        "tolerance CPUExecutionProvider:fp32 0.0001",
        "precision fp32",
        "signature none",
        "search 32 samples, 2 iterations, 4 steps ahead",
        "topics camera/image_raw, camera/camera_info",
        "90° across, after the crop; off by 5.7° is warned about, by 17.2° refused",
        "motion that accepts vx (m/s), vy (m/s), wz (rad/s): locomotion, of robot go2",
        "rate 5 plans a second",
    ):
        assert words in text
    assert "warning" not in text


def test_show_as_json_has_the_whole_manifest_and_what_follows_from_it(tiny_bundle):
    card = card_of(tiny_bundle)
    manifest = read_manifest(tiny_bundle)
    for block in ("camera", "timing", "state", "action", "predictor", "heads", "cost", "calibration"):
        assert card[block] == manifest.model_dump(mode="json")[block]
    assert card["planner"]["min_std"] == 0.05, "open in the manifest, so the planner's own"
    assert card["planner"]["samples"] == 32
    for name, file in card["files"].items():
        assert file == {"bytes": (tiny_bundle / name).stat().st_size, "sha256": manifest.files[name]}
    needs, plan = card["needs"], card["plan"]
    assert plan["flops"] == sum(use["flops"] for use in plan["graphs"]) == 2 * 768 * 8 + 32 * 8 * (2 * 3 * 8)
    assert needs["flops_a_second"] == pytest.approx(plan["flops"] / 0.2)
    assert needs["memory_bytes"] == plan["weight_bytes"] + plan["buffer_bytes"] + plan["activation_bytes"]
    assert plan["rows_at_once"] == 32
    assert needs["history_s"] == pytest.approx(0.4)
    assert needs["plans_hz"] == pytest.approx(5.0)
    assert needs["providers_with_a_tolerance"] == ["CPUExecutionProvider"]
    assert "CPUExecutionProvider" in needs["providers_here"]


def test_show_warns_of_what_was_not_measured(tiny_bundle):
    manifest = read_manifest(tiny_bundle)
    camera = manifest.camera.model_copy(update={"horizontal_fov_rad": None})
    calibration = manifest.calibration.model_copy(update={"measured_on": "random"})
    _, text = invoke("show", rehashed(tiny_bundle, camera=camera, calibration=calibration))
    assert "warning: its calibration was measured on random inputs" in text
    assert "warning: the training camera's field of view is not known" in text
    assert "field of view any: the training camera's is not known" in text


def test_show_says_which_motion_takes_the_action(tiny_bundle):
    joints = ActionSpec(names=["FL_hip_joint", "FR_hip_joint", "vx"], units=["rad"] * 3, low=[-1] * 3, high=[1] * 3)
    needs = card_of(rehashed(tiny_bundle, action=joints))["needs"]["action"]
    assert needs["motion"] is None
    assert "no motion accepts the action" in needs["why_no_motion"]
    velocities = read_manifest(tiny_bundle).action.model_copy(update={"names": ["vx", "vy", "wz"], "frame": "map"})
    needs = card_of(rehashed(tiny_bundle, action=velocities))["needs"]["action"]
    assert needs["motion"] is None
    assert "no motion" not in needs["why_no_motion"]
    code, text = invoke("show", tiny_bundle, "--robot", "nobody")
    assert code == 1
    assert "shipped robots are generic, go2, go2_sim" in text


def test_show_goes_on_where_a_plan_cannot_be_counted(tiny_bundle):
    planner = read_manifest(tiny_bundle).planner.model_copy(update={"samples": 5, "elites": 6})
    card = card_of(rehashed(tiny_bundle, planner=planner))
    assert card["plan"] is None
    assert card["planner"]["elites"] == 6
    (warning,) = card["warnings"]
    assert "cannot be counted: planner setting 'elites' (6) must not be above samples (5)" in warning


def test_show_names_the_key_and_the_goals(tiny_bundle, tmp_path):
    (tiny_bundle / "goals").mkdir()
    cv2.imwrite(str(tiny_bundle / "goals" / "sofa.png"), np.zeros((16, 16, 3), np.uint8))
    rehashed(tiny_bundle)
    invoke("keygen", "--out", tmp_path / "owner")
    invoke("sign", tiny_bundle, "--key", tmp_path / "owner")
    card = card_of(tiny_bundle)
    assert re.fullmatch("[0-9a-f]{64}", card["identity"]["signed_by"])
    assert card["goals"] == ["sofa"]
    _, text = invoke("show", tiny_bundle)
    assert f"signature names key {card['identity']['signed_by']}; verify it" in text


def test_show_refuses_what_does_not_open(tmp_path):
    code, text = invoke("show", tmp_path)
    assert code == 1
    assert "manifest.yaml cannot be read" in text


def test_show_of_the_bundle_that_is_shipped():
    code, text = invoke("show", default_bundle())
    assert code == 0
    assert "go2-room0 (sigreg_jepa)" in text
    assert re.search(r"operations \d\.\d+ GFLOP weights 11\.6 MB", text)


@pytest.mark.parametrize(
    ("says", "count", "text"),
    [(size, 0, "0 B"), (size, 999, "999 B"), (size, 11_608_880, "11.6 MB"), (size, 2.5e9, "2.5 GB"),
     (operations, 1500, "1.5 kFLOP"), (operations, 3_432_579_072, "3.43 GFLOP"), (operations, 1e13, "10 TFLOP")],
)  # fmt: skip
def test_large_numbers(says, count, text):
    assert says(count) == text
