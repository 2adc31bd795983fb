from __future__ import annotations

import numpy as np
import pytest
import torch

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.errors import BundleError, JepaRosError
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_export import sigreg_jepa
from jepa_ros_export.sigreg_jepa import Export, export
from jepa_ros_training.checkpoint import load_average
from jepa_ros_training.value import load_value

from .tiny_models import trained


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    found = trained(folder)
    views = folder / "views"
    views.mkdir()
    # A PNG's first bytes are enough: the exporter copies views, it does not read them.
    (views / "door.png").write_bytes(b"\x89PNG")
    request = Export(found.checkpoint, folder / "bundles" / "tiny", value=found.value, name="tiny", goals=views)
    errors = export(request, found.runs)
    return found, request.out, errors


def test_graphs_say_what_pytorch_says(made):
    found, out, errors = made
    assert set(errors) == {"encoder.onnx", "predictor.onnx", "heads/value.onnx"}
    assert max(errors.values()) < 1e-4
    model, world = load_average(found.checkpoint), OnnxWorldModel(load_bundle(out))
    images = found.runs.images[:7]
    with torch.no_grad():
        latents = model.encoder(torch.from_numpy(images))
        np.testing.assert_allclose(world.encode_batch(images), latents.numpy(), atol=1e-4)
        past, actions = torch.from_numpy(found.runs.actions[:2]), torch.from_numpy(found.runs.actions[2:7])
        whole = torch.cat([past, actions])[None]
        expected = model.rollout(latents[None, :3], whole)[0]
        rolled = world.rollout(latents[:3].numpy(), past.numpy(), actions[None].numpy())[0]
        np.testing.assert_allclose(rolled, expected.numpy(), atol=1e-4)
        steps = load_value(found.value)(latents, latents[:1].expand(7, -1))
        np.testing.assert_allclose(world.head("value", latents.numpy(), latents[0].numpy()), steps.numpy(), atol=1e-4)


@pytest.mark.parametrize("batch", [1, 5, 64])
def test_any_batch_size_runs(made, batch):
    world = OnnxWorldModel(load_bundle(made[1]))
    rolled = world.rollout(
        np.zeros((3, 6), np.float32), np.zeros((2, 3), np.float32), np.zeros((batch, 4, 3), np.float32)
    )
    assert rolled.shape == (batch, 4, 6)


def test_the_manifest_says_what_the_checkpoint_was_trained_for(made):
    manifest = load_bundle(made[1]).manifest
    assert (manifest.family, manifest.name, manifest.licence) == ("sigreg_jepa", "tiny", "Apache-2.0")
    assert (manifest.camera.width, manifest.timing.step_s, manifest.predictor.max_context) == (16, 0.2, 3)
    assert manifest.action.names == ["vx", "vy", "wz"]
    assert manifest.action.low == pytest.approx([-0.4, -0.3, -0.9])
    assert [term.source for term in manifest.cost] == ["head:value", "head:value"]
    assert 0 < manifest.calibration.surprise_p50 < manifest.calibration.surprise_p99
    assert load_bundle(made[1]).goal_names() == ["door"]


def test_no_path_of_this_machine_is_in_the_graphs(made):
    for graph in made[1].rglob("*.onnx"):
        assert b"/site-packages/" not in graph.read_bytes()


def test_without_a_value_head_the_energy_is_the_latent_distance(tmp_path):
    found = trained(tmp_path, poses=False)
    export(Export(found.checkpoint, tmp_path / "bundle", cost="latent"), found.runs)
    manifest = load_bundle(tmp_path / "bundle").manifest
    assert manifest.heads == {}
    assert {(term.source, term.metric) for term in manifest.cost} == {("latent", "l2")}
    assert manifest.calibration.arrival_energy > 0


def test_a_graph_that_differs_is_refused_and_nothing_is_left(tmp_path, monkeypatch):
    found = trained(tmp_path)
    truth = sigreg_jepa.evaluate
    monkeypatch.setattr(sigreg_jepa, "evaluate", lambda module, inputs: truth(module, inputs) + 0.01)
    with pytest.raises(BundleError, match=r"encoder\.onnx differs from PyTorch"):
        export(Export(found.checkpoint, tmp_path / "out" / "bundle", cost="latent"), found.runs)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_failed_export_leaves_the_bundle_that_was_there(tmp_path, monkeypatch):
    found = trained(tmp_path)
    request = Export(found.checkpoint, tmp_path / "bundle", cost="latent")
    export(request, found.runs)
    before = (request.out / "manifest.yaml").read_text()
    monkeypatch.setattr(sigreg_jepa, "surprise", lambda *_: (float("nan"), 1.0))
    with pytest.raises(ValueError, match="surprise_p50"):
        export(request, found.runs)
    assert (request.out / "manifest.yaml").read_text() == before
    OnnxWorldModel(load_bundle(request.out))


def test_a_folder_that_is_no_bundle_is_not_replaced(tmp_path):
    found = trained(tmp_path)
    with pytest.raises(BundleError, match="exists and is not a bundle"):
        export(Export(found.checkpoint, found.data, cost="latent"), found.runs)
    assert len(list(found.data.glob("run_*.npz"))) == 3


def test_a_checkpoint_of_another_family_is_refused(tmp_path):
    found = trained(tmp_path)
    torch.save({"weights": torch.zeros(3)}, found.checkpoint)
    with pytest.raises(JepaRosError, match=r"checkpoint\.pt: not one of this family"):
        export(Export(found.checkpoint, tmp_path / "bundle", cost="latent"), found.runs)
    assert not (tmp_path / "bundle").exists()


def test_the_value_cost_needs_a_head(tmp_path):
    found = trained(tmp_path)
    with pytest.raises(BundleError, match="needs a value head"):
        export(Export(found.checkpoint, tmp_path / "bundle", cost="value"), found.runs)
