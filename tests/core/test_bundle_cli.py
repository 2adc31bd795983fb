"""`jepa-bundle` check, keygen, sign and verify: what they print, what they leave, how they exit."""

from __future__ import annotations

import re

import numpy as np
import pytest

from jepa_ros.bundle import checks
from jepa_ros.bundle.manifest import read_manifest

from .bundle_command import invoke, rehashed


def with_golden(folder, **changes):
    """Other golden values."""
    with np.load(folder / "golden.npz") as arrays:
        found = {name: arrays[name] for name in arrays}
    np.savez(folder / "golden.npz", **{**found, **changes})
    return rehashed(folder)


def test_check_prints_a_line_for_each_thing_that_holds(tiny_bundle_with_head):
    code, text = invoke("check", tiny_bundle_with_head)
    assert code == 0
    assert "ok hashes: 4 files have the sha256" in text
    assert "ok signatures: inputs and outputs of 3 graphs" in text
    for what in ("encoder", "predictor", "head value"):
        assert re.search(rf"ok CPUExecutionProvider: {what} is off by \d\.\de[-+]\d\d, 1\.0e-04 is allowed", text)
    assert text.endswith(
        "the world model opens ok planner: cem plans 4 steps with 32 samples "
        "ok robot: nothing in the manifest keeps it from driving one"
    )


@pytest.mark.parametrize(
    ("block", "change", "says"),
    [
        ("planner", {"samples": 4, "elites": 2}, "'samples' is 4 and must be above 4, the guesses always scored"),
        ("planner", {"elites": 33}, "'elites' (33) must not be above samples (32)"),
        ("planner", {"policy_samples": 28}, "'samples' is 32 and must be above 32"),
        ("planner", {"policy_samples": 2}, "'policy_samples' needs a bundle with a policy head"),
        ("planner", {"name": "icem", "elites": 33}, "'elites' (33) must not be above samples (32)"),
        ("predictor", {"sliding": False}, "'horizon' is 4, and this bundle's predictor, which does not slide, goes 3"),
        (
            "action",
            {"low": [0.3, -0.3, -0.9], "norm_limit": 0.2},
            "no action within the bounds has a norm under norm_limit 0.2",
        ),
    ],
)
def test_check_refuses_what_nothing_can_plan_with(tiny_bundle, block, change, says):
    changed = getattr(read_manifest(tiny_bundle), block).model_copy(update=change)
    code, text = invoke("check", rehashed(tiny_bundle, **{block: changed}))
    assert code == 1
    assert "the world model opens" in text
    assert "tiny: nothing can plan with it: " in text
    assert says in text


@pytest.mark.parametrize(
    ("block", "change", "says"),
    [
        ("action", {"delta": True}, "action.delta is true"),
        ("action", {"units": ["km/h", "m/s", "rad/s"]}, "action.units: vx is in km/h"),
        ("planner", {"name": "hybrid"}, "planner.name is hybrid, which is not available: it needs predictor_vjp.onnx"),
    ],
)
def test_check_says_what_no_robot_can_run(tiny_bundle, block, change, says):
    changed = getattr(read_manifest(tiny_bundle), block).model_copy(update=change)
    code, text = invoke("check", rehashed(tiny_bundle, **{block: changed}))
    assert code == 0
    assert "ok robot: plans in the core; no robot can run it: bundle tiny: " + says in text


def test_check_says_that_a_planner_is_not_available(tiny_bundle):
    planner = read_manifest(tiny_bundle).planner.model_copy(update={"name": "gradient"})
    _, text = invoke("check", rehashed(tiny_bundle, planner=planner))
    assert "ok planner: gradient is not available, another must be asked for (cem, mppi, icem): plans 4 steps" in text


def test_check_tells_the_error_that_it_measured(tiny_bundle):
    """Golden values moved by half of what is allowed: relative to their root mean square."""
    with np.load(tiny_bundle / "golden.npz") as arrays:
        latent = arrays["latent"]
    moved = latent.copy()
    moved[0, 0] += 0.5e-4 * np.sqrt(np.mean(np.square(latent, dtype=np.float64)))
    code, text = invoke("check", with_golden(tiny_bundle, latent=moved))
    assert code == 0
    off = re.search(r"encoder is off by (\S+),", text)
    assert float(off[1]) == pytest.approx(0.5e-4, rel=0.1)


def test_check_refuses_golden_outputs_out_of_tolerance(tiny_bundle):
    """After what still holds."""
    code, text = invoke("check", with_golden(tiny_bundle, next=np.zeros((4, 8), np.float32)))
    assert code == 1
    assert "CPUExecutionProvider: encoder is off by" in text
    assert "jepa-bundle: bundle tiny: next is off its golden value by" in text
    assert "predictor is off" not in text
    assert "Traceback" not in text


def test_check_refuses_a_changed_file(tiny_bundle):
    (tiny_bundle / "encoder.onnx").write_bytes(b"")
    code, text = invoke("check", tiny_bundle)
    assert code == 1
    assert "encoder.onnx does not have the sha256" in text
    assert "ok" not in text


def test_check_on_one_provider(tiny_bundle):
    code, text = invoke("check", tiny_bundle, "--provider", "CPUExecutionProvider")
    assert (code, text.count("the world model opens")) == (0, 1)
    code, text = invoke("check", tiny_bundle, "--provider", "NoSuchProvider")
    assert code == 1
    assert "provider NoSuchProvider is not installed; this ONNX Runtime has" in text


def test_a_provider_that_falls_back_is_said_and_where_it_was_asked_for_refused(tiny_bundle, monkeypatch):
    """A CUDA build on a machine without a card: installed, and of no use."""

    class FallsBack(checks.Session):
        def __init__(self, path, threads=1, providers=None):
            super().__init__(path, threads, ("CPUExecutionProvider",))

    monkeypatch.setattr(checks, "Session", FallsBack)
    both = ("CUDAExecutionProvider", "CPUExecutionProvider")
    monkeypatch.setattr(checks, "choose_providers", lambda requested: requested or both)
    code, text = invoke("check", tiny_bundle)
    assert code == 0
    assert "CUDAExecutionProvider: is installed and does not work here, it falls back to CPUExecutionProvider" in text
    assert "CPUExecutionProvider: the world model opens ok planner" in text
    code, text = invoke("check", tiny_bundle, "--provider", "CUDAExecutionProvider")
    assert code == 1
    assert "encoder.onnx does not run on CUDAExecutionProvider here, it fell back" in text


def test_from_a_key_to_a_verified_bundle(tiny_bundle, tmp_path):
    code, text = invoke("keygen", "--out", tmp_path / "owner")
    assert code == 0
    made = text.rpartition(" ")[2]
    invoke("keygen", "--out", tmp_path / "other")
    code, text = invoke("verify", tiny_bundle, "--trust", tmp_path / "owner.pub")
    assert code == 1
    assert "is not signed" in text
    code, text = invoke("sign", tiny_bundle, "--key", tmp_path / "owner")
    assert code == 0
    assert text.endswith(f"signed by key {made}")
    code, text = invoke("verify", tiny_bundle, "--trust", tmp_path / "other.pub", "--trust", tmp_path / "owner.pub")
    assert code == 0
    assert text.endswith(f"signed by key {made}")
    code, text = invoke("verify", tiny_bundle, "--trust", tmp_path / "other.pub")
    assert code == 1
    assert "none of the trusted" in text
    (tiny_bundle / "golden.npz").write_bytes(b"")
    code, text = invoke("verify", tiny_bundle, "--trust", tmp_path / "owner.pub")
    assert code == 1
    assert "golden.npz does not have the sha256" in text


def test_a_key_with_a_password_is_asked_for(tiny_bundle, tmp_path):
    assert invoke("keygen", "--out", tmp_path / "owner", "--password", typed="sesame\nsesame\n")[0] == 0
    code, text = invoke("sign", tiny_bundle, "--key", tmp_path / "owner")
    assert code == 1
    assert "is encrypted; give its password" in text
    assert invoke("sign", tiny_bundle, "--key", tmp_path / "owner", "--password", typed="sesame\n")[0] == 0
    assert invoke("verify", tiny_bundle, "--trust", tmp_path / "owner.pub")[0] == 0


def test_keygen_overwrites_nothing(tmp_path):
    (tmp_path / "owner").write_text("mine")
    code, text = invoke("keygen", "--out", tmp_path / "owner")
    assert code == 1
    assert "exists already" in text
    assert (tmp_path / "owner").read_text() == "mine"


@pytest.mark.parametrize(
    "words", [["sign", "b"], ["verify", "b"], ["keygen"], ["check"], ["diff", "b"], ["paint", "b"]]
)
def test_wrong_usage(words):
    assert invoke(*words)[0] == 2


def test_help_tells_the_exit_codes():
    assert "Exit codes: 0 fine, and for diff the same; 1 refused" in invoke("--help")[1]
    for command in ("check", "show", "verify"):
        assert "Exits 1" in invoke(command, "--help")[1]
    assert "Exits 0 where they are the same but for README.md, 1 where they differ, 2" in invoke("diff", "--help")[1]
