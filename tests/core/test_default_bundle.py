"""The default bundle's derivatives, against differences of the graphs that they are of: no PyTorch is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jepa_ros.bundle.loader import PREDICTOR, PREDICTOR_VJP, load_bundle
from jepa_ros.golden import check_golden
from jepa_ros.runtime import Session

DEFAULT = Path(__file__).parents[2] / "bundles" / "default"
STEP = 5e-3
HEAD, GRADIENT = "heads/value.onnx", "heads/value_vjp.onnx"


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(DEFAULT)


def along(rng, arrays):
    """A random direction in each array, of one length a row."""
    found = {name: rng.standard_normal(array.shape).astype(np.float32) for name, array in arrays.items()}
    return {
        name: d / np.linalg.norm(d.reshape(len(d), -1), axis=1).reshape(-1, *[1] * (d.ndim - 1))
        for name, d in found.items()
    }


def differences(session, output, inputs, moved, direction):
    """Central differences of an output for inputs that move along a direction."""
    ends = [session.run(**{**inputs, moved: inputs[moved] + sign * STEP * direction})[output] for sign in (1, -1)]
    return (ends[0].astype(np.float64) - ends[1]) / (2 * STEP)


def test_they_hold_their_golden_values(bundle):
    found = check_golden(bundle, {file: Session(bundle.file(file)) for file in (PREDICTOR_VJP, GRADIENT)})
    assert set(found) == {"predictor_vjp", "head value vjp"}
    assert max(found.values()) < 1e-5


@pytest.mark.parametrize("moved", ["latent", "action"])
def test_the_predictors_is_its_slope(bundle, moved):
    golden, rng = bundle.golden(), np.random.default_rng(0)
    inputs = {"latent": golden["context"][:8], "action": golden["action"][:8]}
    cotangent = rng.standard_normal((8, 128)).astype(np.float32)
    grad = Session(bundle.file(PREDICTOR_VJP)).run(**inputs, cotangent_next=cotangent)[f"grad_{moved}"]
    direction = along(rng, inputs)[moved]
    slope = (differences(Session(bundle.file(PREDICTOR)), "next", inputs, moved, direction) * cotangent).sum(1)
    np.testing.assert_allclose((grad * direction).sum((1, 2)), slope, rtol=0.02, atol=0.02 * np.abs(slope).max())


def test_the_heads_is_its_slope(bundle):
    golden, rng = bundle.golden(), np.random.default_rng(0)
    inputs = {"latent": golden["head_value_latent"][:8], "goal": golden["head_value_goal"][:8]}
    cotangent = rng.standard_normal(8).astype(np.float32)
    grad = Session(bundle.file(GRADIENT)).run(**inputs, cotangent=cotangent)["grad_latent"]
    direction = along(rng, inputs)["latent"]
    slope = differences(Session(bundle.file(HEAD)), "value", inputs, "latent", direction) * cotangent
    np.testing.assert_allclose((grad * direction).sum(1), slope, rtol=0.02, atol=0.02 * np.abs(slope).max())
