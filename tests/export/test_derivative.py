"""A predictor's derivative as a graph: the numbers of autograd, for every batch, whatever sizes coincide."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from jepa_ros.bundle.loader import PREDICTOR_VJP, load_bundle
from jepa_ros.bundle.manifest import Head
from jepa_ros.errors import BundleError
from jepa_ros.golden import tolerance
from jepa_ros.runtime import Session
from jepa_ros_export import derivative as derivatives
from jepa_ros_export import writer
from jepa_ros_export.derivative import by_autograd, derivative, rounding
from jepa_ros_export.family import Parts
from jepa_ros_export.graphs import write_graph
from jepa_ros_export.writer import write_bundle

from .plain_parts import Predictor, plain_parts


class Product(nn.Module):
    """z · w(a), and z²: gradients by hand are easy."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Linear(2, width, bias=False)

    def forward(self, latent, action):
        return latent * self.scale(action), latent**2


@pytest.mark.parametrize("width", [2, 4, 5, 7])
def test_the_numbers_are_those_worked_out_by_hand(tmp_path, width):
    """Whatever the width, which may be that of the batch it is traced with."""
    torch.manual_seed(0)
    module = Product(width).eval().requires_grad_(False)
    given = [torch.randn(4, 3, width), torch.randn(4, 3, 2), torch.randn(4, 3, width), torch.randn(4, 3, width)]
    names = ["latent", "action", "cotangent_a", "cotangent_b"]
    traced = derivative(module, given[:2], given[2:])
    write_graph(traced, dict(zip(names, given, strict=True)), ["grad_latent", "grad_action"], tmp_path / "d.onnx")
    session = Session(tmp_path / "d.onnx")
    for rows in (1, 3, 4):
        z, a, first, second = (tensor[:rows] for tensor in given)
        found = session.run(**{name: t[:rows].numpy() for name, t in zip(names, given, strict=True)})
        np.testing.assert_allclose(found["grad_latent"], first * module.scale(a) + 2 * z * second, atol=1e-5)
        np.testing.assert_allclose(found["grad_action"], (first * z) @ module.scale.weight, atol=1e-5)


def test_what_an_input_does_not_change_has_gradient_zero(tmp_path):
    class Deaf(nn.Module):
        def forward(self, latent, action):
            return 2 * latent

    found = by_autograd(Deaf(), [torch.ones(2, 3), torch.ones(2, 1), torch.ones(2, 3)], 2)
    assert [tensor.tolist() for tensor in found] == [[[2.0] * 3] * 2, [[0.0]] * 2]


def test_rounding_is_large_where_weights_are_steep():
    class Steep(nn.Module):
        def __init__(self, slope):
            super().__init__()
            self.slope = slope

        def forward(self, latent, action):
            return torch.sin(self.slope * latent)

    given = [torch.rand(16, 4) + 1, torch.zeros(16, 1), torch.ones(16, 4)]
    assert rounding(Steep(1.0), given, 2) < 1e-6
    assert rounding(Steep(1e4), given, 2) > 1e-5


def off_by_a_little(monkeypatch, own):
    """Autograd's answer a thousandth larger, and what PyTorch's own rounding is said to be."""
    truth = writer.by_autograd
    monkeypatch.setattr(writer, "by_autograd", lambda *given: [1.001 * found for found in truth(*given)])
    monkeypatch.setattr(derivatives, "rounding", lambda *_: own)


@pytest.mark.parametrize("own", [1e-9, 1.0, float("inf"), float("nan")])
def test_a_derivative_that_differs_is_refused(tmp_path, monkeypatch, own):
    """Also where rounding would excuse anything."""
    off_by_a_little(monkeypatch, own)
    with pytest.raises(BundleError, match=r"predictor_vjp\.onnx differs from PyTorch by .* not written"):
        write_bundle(plain_parts(), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_steep_weights_widen_the_tolerance_of_the_derivative_alone(tmp_path, monkeypatch):
    off_by_a_little(monkeypatch, 9e-4)
    lines = []
    write_bundle(plain_parts(), tmp_path / "bundle", say=lines.append)
    assert any("PyTorch's own gradient is off by 9.0e-04" in line for line in lines)
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.manifest.calibration.tolerance["CPUExecutionProvider:fp32"] == 1e-4
    assert tolerance(bundle.manifest, "CPUExecutionProvider") == 1e-4
    assert tolerance(bundle.manifest, "CPUExecutionProvider", PREDICTOR_VJP) == pytest.approx(9e-3)


def test_a_gradient_that_is_no_number_is_refused(tmp_path):
    class Root(Predictor):
        """Its gradient at the zero latent, one of the edges, is infinite times zero."""

        def forward(self, latent, action):
            last = latent[:, -1]
            return last + (last**2).sum(1, keepdim=True).sqrt() + super().forward(latent, action)

    parts = plain_parts()
    steep = Parts(parts.encoder, Root().eval().requires_grad_(False), parts.manifest)
    with pytest.raises(BundleError, match=r"predictor_vjp\.onnx differs from PyTorch by inf"):
        write_bundle(steep, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_transposed_convolution_is_refused_with_the_way_out(tmp_path):
    class Upward(Predictor):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose1d(1, 1, 1)

        def forward(self, latent, action):
            return self.up(super().forward(latent, action)[:, None])[:, 0]

    plain = plain_parts()
    parts = Parts(plain.encoder, Upward().eval().requires_grad_(False), plain.manifest)
    with pytest.raises(BundleError, match=r"transposed convolution.*--no-derivative"):
        write_bundle(parts, tmp_path / "bundle")
    write_bundle(parts, tmp_path / "bundle", with_derivative=False)


class Steps(nn.Module):
    """The squared distance of a projected latent from a projected goal; inputs the other way round."""

    def __init__(self):
        super().__init__()
        self.look = nn.Linear(6, 4)

    def forward(self, goal, latent):
        return (self.look(latent) - self.look(goal)).square().sum(-1)


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = nn.Linear(6, 2)

    def forward(self, latent, noise):
        return self.act(latent) + noise


def parts_with_heads():
    plain = plain_parts()
    heads = {
        "steps": Head(file="heads/steps.onnx", inputs=["goal", "latent"], output="value"),
        "pi": Head(file="heads/pi.onnx", inputs=["latent", "noise"], output="does", kind="policy"),
    }
    modules = {"steps": Steps().eval().requires_grad_(False), "pi": Mean().eval().requires_grad_(False)}
    return Parts(plain.encoder, plain.predictor, plain.manifest.model_copy(update={"heads": heads}), modules)


def test_value_heads_have_their_gradients_by_the_latent_and_policies_none(tmp_path):
    parts = parts_with_heads()
    report = write_bundle(parts, tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    assert {n: head.gradient for n, head in bundle.manifest.heads.items()} == {
        "steps": "heads/steps_vjp.onnx", "pi": None,
    }  # fmt: skip
    assert report.errors["head steps vjp"] < 1e-5
    golden = bundle.golden()
    latent, goal, weighed = (golden[f"head_steps_{part}"] for part in ("latent", "goal", "cotangent"))
    look = parts.heads["steps"].look.weight.numpy()
    expected = 2 * weighed[:, None] * ((latent - goal) @ look.T @ look)
    np.testing.assert_allclose(golden["head_steps_grad_latent"], expected, atol=1e-5)
    for rows in (1, 3):
        given = {"latent": latent[:rows], "goal": goal[:rows], "cotangent": weighed[:rows]}
        found = Session(bundle.file("heads/steps_vjp.onnx")).run(**given)
        np.testing.assert_allclose(found["grad_latent"], expected[:rows], atol=1e-5)


def test_without_derivatives_heads_have_none(tmp_path):
    write_bundle(parts_with_heads(), tmp_path / "bundle", with_derivative=False)
    manifest = load_bundle(tmp_path / "bundle").manifest
    assert {head.gradient for head in manifest.heads.values()} == {None}
    assert not [name for name in manifest.files if name.endswith("_vjp.onnx")]
