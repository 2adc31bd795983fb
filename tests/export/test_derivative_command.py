"""Derivatives added to a bundle that is there: the graphs it has stay as they are, and the gradients are theirs."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from jepa_ros.bundle.loader import PREDICTOR_VJP, load_bundle, sha256, write_manifest
from jepa_ros.bundle.manifest import read_manifest
from jepa_ros.errors import BundleError, JepaRosError
from jepa_ros.runtime import Session
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_export import cli
from jepa_ros_export.derivative_command import derive_bundle
from jepa_ros_export.sigreg_jepa import export
from jepa_ros_training.checkpoint import load_average
from jepa_ros_training.value import load_value

from .tiny_models import export_of, trained

GRADIENT = "heads/value_vjp.onnx"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bundle without derivatives, what it was made from, and the same with them."""
    folder = tmp_path_factory.mktemp("derive")
    found = trained(folder)
    plain = export_of(found.checkpoint, folder / "plain", value=found.value, derivative=False)
    export(plain, found.runs)
    (plain.out / "README.md").write_text("a card\n")
    errors = derive_bundle(plain.out, folder / "derived")
    return found, plain.out, folder / "derived", errors


def test_what_was_there_stays_as_it_was(made):
    _, plain, derived, errors = made
    before, after = load_bundle(plain), load_bundle(derived)
    assert set(errors) == {PREDICTOR_VJP, GRADIENT}
    assert max(errors.values()) < 1e-4
    assert set(after.manifest.files) - set(before.manifest.files) == {PREDICTOR_VJP, GRADIENT}
    same = {name for name, digest in before.manifest.files.items() if after.manifest.files[name] == digest}
    assert same == set(before.manifest.files) - {"golden.npz"}
    golden = after.golden()
    for name, array in before.golden().items():
        np.testing.assert_array_equal(golden[name], array)
    assert after.manifest.heads["value"].gradient == GRADIENT
    assert (derived / "README.md").read_text() == "a card\n"


def test_the_gradients_are_pytorchs(made):
    found, _, derived, _ = made
    bundle, rng = load_bundle(derived), np.random.default_rng(3)
    model, head = load_average(found.checkpoint), load_value(found.value)
    latent, goal = (torch.from_numpy(rng.standard_normal((5, 6)).astype(np.float32)) for _ in range(2))
    weighed = torch.from_numpy(rng.standard_normal(5).astype(np.float32))
    leaf = latent.clone().requires_grad_()
    (head(leaf, goal) * weighed).sum().backward()
    session = Session(bundle.file(GRADIENT))
    said = session.run(latent=latent.numpy(), goal=goal.numpy(), cotangent=weighed.numpy())
    np.testing.assert_allclose(said["grad_latent"], leaf.grad, rtol=1e-4, atol=1e-5)
    past = torch.from_numpy(rng.standard_normal((5, 3, 6)).astype(np.float32)).requires_grad_()
    action = torch.from_numpy(rng.uniform(-0.3, 0.3, (5, 3, 3)).astype(np.float32)).requires_grad_()
    cotangent = torch.from_numpy(rng.standard_normal((5, 6)).astype(np.float32))
    (model.predictor(past, action) * cotangent).sum().backward()
    session = Session(bundle.file(PREDICTOR_VJP))
    given = {"latent": past, "action": action, "cotangent_next": cotangent}
    said = session.run(**{name: tensor.detach().numpy() for name, tensor in given.items()})
    np.testing.assert_allclose(said["grad_latent"], past.grad, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(said["grad_action"], action.grad, rtol=1e-4, atol=1e-5)


def test_an_export_writes_them_itself(made, own_bundle):
    """Of equal weights: those of tiny models are always the same."""
    _, _, derived, _ = made
    assert {PREDICTOR_VJP, GRADIENT} <= set(own_bundle.errors)
    for name in (PREDICTOR_VJP, GRADIENT):
        assert sha256(own_bundle.path / name) == sha256(derived / name), "the weights read back are the checkpoint's"


def test_without_a_head_the_predictor_alone_is_derived(tmp_path):
    found = trained(tmp_path)
    request = export_of(found.checkpoint, tmp_path / "bundle", cost="latent", derivative=False)
    export(request, found.runs)
    result = CliRunner().invoke(cli.app, ["derivative", str(request.out)], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "predictor_vjp        differs from PyTorch by" in result.output
    OnnxWorldModel(load_bundle(request.out)).open_derivatives()
    again = CliRunner().invoke(cli.app, ["derivative", str(request.out)], env={"COLUMNS": "200"})
    assert again.exit_code == 1
    assert "has predictor_vjp.onnx already" in again.output


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"family": "lewm"}, "family lewm cannot be read back from its graphs; export it again from the checkpoint"),
        ({"precision": "fp16"}, "is fp16; add the derivatives to the fp32 one"),
    ],
)
def test_what_cannot_be_derived_is_refused(made, tmp_path, changed, says):
    folder = shutil.copytree(made[1], tmp_path / "bundle")
    write_manifest(folder, read_manifest(folder).model_copy(update=changed))
    before = sha256(folder / "manifest.yaml")
    with pytest.raises(BundleError, match=says):
        derive_bundle(folder, folder)
    assert sha256(folder / "manifest.yaml") == before


def test_weights_that_do_not_make_the_graph_are_refused(made, tmp_path):
    """Bounds other than those that the predictor scales its actions by: another module comes of them."""
    folder = shutil.copytree(made[1], tmp_path / "bundle")
    said = read_manifest(folder)
    wider = said.action.model_copy(update={"low": [-0.8, -0.3, -0.9]})
    write_manifest(folder, said.model_copy(update={"action": wider}))
    with pytest.raises(BundleError, match=r"weights of predictor\.onnx does not say what the graph says"):
        derive_bundle(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bundle_of_other_modules_is_refused_by_its_weight(tiny_bundle, tmp_path):
    said = read_manifest(tiny_bundle)
    write_manifest(tiny_bundle, said.model_copy(update={"family": "sigreg_jepa"}))
    with pytest.raises(JepaRosError, match=r"weight enter\.bias is missing"):
        derive_bundle(tiny_bundle, tmp_path / "out")
