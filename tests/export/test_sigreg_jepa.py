from __future__ import annotations

import numpy as np
import pytest
import torch

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.errors import BundleError, JepaRosError
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_export import sigreg_jepa
from jepa_ros_export.sigreg_jepa import export
from jepa_ros_training.checkpoint import load_average
from jepa_ros_training.dataset import read_runs
from jepa_ros_training.value import load_value

from ..training.synthetic_runs import write_runs
from .tiny_models import CAMERA, export_of, trained


@pytest.fixture
def made(own_bundle):
    return own_bundle.start, own_bundle.path, own_bundle.errors


def test_graphs_say_what_pytorch_says(made):
    found, out, errors = made
    derived = {"predictor_vjp.onnx", "heads/value_vjp.onnx"}
    assert set(errors) == {"encoder.onnx", "predictor.onnx", "heads/value.onnx"} | derived
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
    assert (manifest.camera.horizontal_fov_rad, manifest.camera.mount) == (CAMERA["fov_rad"], CAMERA["mount"])
    assert load_bundle(made[1]).goal_names() == ["door"]


def test_golden_values_hold_edge_and_random_inputs_beside_recorded_ones(made):
    golden = load_bundle(made[1]).golden()
    assert [len(golden[name]) for name in ("image", "latent")] == [8 + 2 + 2] * 2
    assert golden["image"][8].max() == 0
    assert golden["image"][9].min() == 255
    assert len(np.unique(golden["image"][10])) > 100
    actions = golden["action"]
    assert len(golden["context"]) == len(actions) == len(golden["next"]) == 8 + 8 + 2
    np.testing.assert_allclose(actions.min((0, 1)), [-0.4, -0.3, -0.9])
    np.testing.assert_allclose(actions.max((0, 1)), [0.6, 0.3, 0.9])
    nothing = ~golden["context"].any((1, 2))
    assert nothing.sum() == 3
    assert (~actions[nothing].any((1, 2))).sum() == 1, "zero latents at rest"
    assert len(golden["head_value_latent"]) == len(golden["head_value_output"]) == 8 + 5 + 2
    assert golden["head_value_output"][8] < 0.01, "at the goal there is no way to go"


@pytest.mark.parametrize(("graph", "group"), [("encoder.onnx", "edge"), ("predictor.onnx", "random")])
def test_a_graph_that_differs_only_off_the_recorded_inputs_is_refused(tmp_path, monkeypatch, graph, group):
    found = trained(tmp_path)
    truth, calls = sigreg_jepa.evaluate, []

    def evaluate(module, inputs, outputs):
        """PyTorch's answer, changed in the last row of one group."""
        calls.append("encoder.onnx" if "image" in inputs else "predictor.onnx")
        (name,) = outputs
        result = truth(module, inputs, outputs)[name].copy()
        if calls[-1] == graph and calls.count(graph) == ["recorded", "edge", "random"].index(group) + 1:
            result[-1] += 0.01
        return {name: result}

    monkeypatch.setattr(sigreg_jepa, "evaluate", evaluate)
    with pytest.raises(BundleError, match=rf"{graph} differs from PyTorch by .* on {group} inputs"):
        export(export_of(found.checkpoint, tmp_path / "bundle", cost="latent"), found.runs)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(("folder", "says"), [("viws", "is no folder"), ("views", r"holds no \.png views")])
def test_a_folder_of_goals_without_goals_is_refused(tmp_path, folder, says):
    found = trained(tmp_path)
    (tmp_path / "views").mkdir()
    request = export_of(found.checkpoint, tmp_path / "bundle", cost="latent", goals=tmp_path / folder)
    with pytest.raises(BundleError, match=rf"--goals .*{folder} {says}"):
        export(request, found.runs)
    assert not (tmp_path / "bundle").exists()


def test_held_out_runs_too_short_to_calibrate_on_are_refused(tmp_path):
    found = trained(tmp_path)
    short = read_runs(write_runs(tmp_path / "short", length=3))
    with pytest.raises(JepaRosError, match=r"held-out runs: 4 frames .* run_00000\.npz, has 3"):
        export(export_of(found.checkpoint, tmp_path / "bundle", cost="latent"), short)


def test_no_path_of_this_machine_is_in_the_graphs(made):
    for graph in made[1].rglob("*.onnx"):
        assert b"/site-packages/" not in graph.read_bytes()


def test_without_a_value_head_the_energy_is_the_latent_distance(tmp_path):
    found = trained(tmp_path, poses=False)
    export(export_of(found.checkpoint, tmp_path / "bundle", cost="latent", derivative=False), found.runs)
    manifest = load_bundle(tmp_path / "bundle").manifest
    assert manifest.heads == {}
    assert {(term.source, term.metric) for term in manifest.cost} == {("latent", "l2")}
    assert manifest.calibration.arrival_energy > 0


def test_a_graph_that_differs_is_refused_and_nothing_is_left(tmp_path, monkeypatch):
    found = trained(tmp_path)
    truth = sigreg_jepa.evaluate

    def evaluate(*given):
        return {name: found + 0.01 for name, found in truth(*given).items()}

    monkeypatch.setattr(sigreg_jepa, "evaluate", evaluate)
    with pytest.raises(BundleError, match=r"encoder\.onnx differs from PyTorch"):
        export(export_of(found.checkpoint, tmp_path / "out" / "bundle", cost="latent"), found.runs)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_failed_export_leaves_the_bundle_that_was_there(tmp_path, monkeypatch):
    found = trained(tmp_path)
    request = export_of(found.checkpoint, tmp_path / "bundle", cost="latent", derivative=False)
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
        export(export_of(found.checkpoint, found.data, cost="latent"), found.runs)
    assert len(list(found.data.glob("run_*.npz"))) == 3


def test_a_checkpoint_of_another_family_is_refused(tmp_path):
    found = trained(tmp_path)
    torch.save({"weights": torch.zeros(3)}, found.checkpoint)
    with pytest.raises(JepaRosError, match=r"checkpoint\.pt: not one of this family"):
        export(export_of(found.checkpoint, tmp_path / "bundle", cost="latent"), found.runs)
    assert not (tmp_path / "bundle").exists()


def test_the_value_cost_needs_a_head(tmp_path):
    found = trained(tmp_path)
    with pytest.raises(BundleError, match="needs a value head"):
        export(export_of(found.checkpoint, tmp_path / "bundle", cost="value"), found.runs)
