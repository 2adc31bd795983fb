"""The opset and the batch of the graphs: what is asked for is what is written, and gives the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from jepa_ros import prediction
from jepa_ros.bundle.difference import bundle_differences
from jepa_ros.bundle.loader import load_bundle
from jepa_ros.bundle.plan_cost import plan_cost
from jepa_ros.errors import BundleError
from jepa_ros.golden import relative_error
from jepa_ros.planning.cost import GoalObjective
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_export import cli
from jepa_ros_export.family_command import parts_of
from jepa_ros_export.family_probes import bounds
from jepa_ros_export.frames import graph_inputs, read_windows
from jepa_ros_export.graph_form import OPSETS, GraphForm
from jepa_ros_export.graphs import write_graph
from jepa_ros_export.low_precision import to_int8
from jepa_ros_export.precision import Request, lower_bundle
from jepa_ros_export.sigreg_jepa import export
from jepa_ros_export.writer import Report, write_bundle

from .lowered import BAG, DEFAULT
from .tiny_models import export_of

pytestmark = pytest.mark.families

# Of heads and outcomes; of convolutions and several tensors; of attention and what is measured.
FAMILIES = ("tdmpc2", "pldm", "dino_wm")
# With derivatives: of attention at the highest opset, of heads in a static batch, of the smallest model in all forms.
# Those at the default are what every other test of the families is about.
DERIVED = {"tdmpc2": {"static"}, "pldm": {"default", "highest", "static"}, "dino_wm": {"highest"}}


def opsets(folder):
    return {
        path.name: {entry.version for entry in onnx.load(str(path)).opset_import if entry.domain == ""}
        for path in folder.rglob("*.onnx")
    }


def sizes(folder, name):
    """First sizes of a graph's inputs and outputs; 0 where free."""
    graph = onnx.load(str(folder / name)).graph
    return {value.type.tensor_type.shape.dim[0].dim_value for value in (*graph.input, *graph.output)}


def made(family, out, derivative=True, **form):
    parts = parts_of(family, [], None, "tiny", "x")
    return write_bundle(parts, out, with_derivative=derivative, form=GraphForm(**form))


@dataclass(frozen=True)
class Exports:
    """Of each family, a bundle as it is by default, one at the highest opset and a static one, each made once."""

    root: Path
    reports: dict[str, Report] = field(default_factory=dict)

    def folder(self, family: str, kind: str) -> Path:
        """Where it is."""
        forms = {"default": {}, "highest": {"opset": OPSETS[-1]}, "static": {"batch": "static", "batch_size": 5}}
        name = f"{family}-{kind}"
        if name not in self.reports:
            self.reports[name] = made(family, self.root / name, kind in DERIVED[family], **forms[kind])
        return self.root / name


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    return Exports(tmp_path_factory.mktemp("forms"))


# ---- opset


@pytest.mark.parametrize(("kind", "opset"), [("default", OPSETS[0]), ("highest", OPSETS[-1])])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_lowest_and_the_highest_opset(exports, family, kind, opset):
    """Parity is held in writing it; the lowest is what one gets without asking."""
    folder = exports.folder(family, kind)
    assert set().union(*opsets(folder).values()) == {opset}
    assert max(exports.reports[f"{family}-{kind}"].errors.values()) <= 1e-4
    OnnxWorldModel(load_bundle(folder))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bundle_costs_the_same_at_any_opset(exports, family):
    costs = [plan_cost(load_bundle(exports.folder(family, kind))).flops for kind in ("default", "highest")]
    assert costs[0] == costs[1] > 0


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_highest_opset_can_be_lowered(tmp_path, exports, precision):
    lower_bundle(exports.folder("pldm", "highest"), tmp_path / "low", Request(precision, plans=0))
    OnnxWorldModel(load_bundle(tmp_path / "low"))


class Halves(nn.Module):
    """Split has a form of its own since opset 18, and no way back."""

    def forward(self, x):
        first, second = x.chunk(2, -1)
        return first * second


@pytest.mark.parametrize("opset", [16, 17])
def test_a_graph_that_cannot_be_had_at_an_opset_is_refused(tmp_path, opset):
    """Nobody can ask for these; what torch makes of them is a graph of another opset, or none."""
    with pytest.raises(BundleError, match=rf"g\.onnx .*opset {opset}.*; set --opset$") as error:
        write_graph(Halves(), {"x": torch.ones(2, 4)}, ["y"], tmp_path / "g.onnx", opset)
    assert "\n" not in str(error.value)


# ---- static batch


@pytest.mark.parametrize("family", FAMILIES)
def test_static_graphs_give_what_dynamic_ones_give(exports, family):
    folder, other = exports.folder(family, "static"), exports.folder(family, "default")
    assert max(exports.reports[f"{family}-static"].errors.values()) <= 1e-4
    free, fixed = (OnnxWorldModel(load_bundle(path)) for path in (other, folder))
    assert (free.manifest.predictor.batch, fixed.manifest.predictor.batch) == (None, 5)
    for path in folder.rglob("*.onnx"):
        name = path.relative_to(folder).as_posix()
        assert sizes(folder, name) == {1 if name == "encoder.onnx" else 5}
        assert not (other / name).exists() or sizes(other, name) == {0}
        assert all(node.op_type != "Shape" for node in onnx.load(str(path)).graph.node)
    golden = free.bundle.golden()
    latents = free.encode_batch(golden["image"], golden.get("measured"))
    assert relative_error(fixed.encode_batch(golden["image"], golden.get("measured")), latents) < 1e-5
    low, high, _ = bounds(free.manifest)
    horizon = free.manifest.planner.horizon
    for count in (1, 5, 12):
        actions = np.random.default_rng(count).uniform(low, high, (count, horizon, len(low))).astype(np.float32)
        predicted = [model.rollout(latents[:1], actions[0, :0], actions) for model in (free, fixed)]
        assert relative_error(predicted[1], predicted[0]) < 1e-5
        energies = [
            GoalObjective(model, latents[-1], model.manifest.cost, model.layout)(predicted[0], actions)
            for model in (free, fixed)
        ]
        assert relative_error(energies[1], energies[0]) < 1e-5


def test_only_the_batch_differs(exports):
    found = bundle_differences(*(load_bundle(exports.folder("pldm", kind)) for kind in ("default", "static")))
    fields = [row.where for row in found if " " not in row.where and not row.where.endswith((".onnx", ".npz"))]
    assert fields == ["predictor.batch"]


def test_the_batch_is_the_planners_samples_where_none_is_given(monkeypatch):
    manifest = parts_of("pldm", [], None, "tiny", "x").manifest
    form = GraphForm(batch="static")
    assert form.of(manifest).predictor.batch == manifest.planner.samples
    # No more than are in memory at once anyway.
    monkeypatch.setattr(prediction, "_MOST_ACTIVATION_BYTES", 1)
    assert form.of(manifest).predictor.batch == 1
    assert GraphForm(batch="static", batch_size=9).of(manifest).predictor.batch == 9


def test_a_manifest_of_ones_own_may_ask_for_it():
    manifest = parts_of("pldm", [], None, "tiny", "x").manifest
    asks = manifest.model_copy(update={"predictor": manifest.predictor.model_copy(update={"batch": 3})})
    assert GraphForm().of(asks) is asks
    assert GraphForm(batch="static").of(asks).predictor.batch == 3


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_static_graphs_can_be_lowered(tmp_path, exports, precision):
    lower_bundle(exports.folder("tdmpc2", "static"), tmp_path / "low", Request(precision, plans=0))
    found = OnnxWorldModel(load_bundle(tmp_path / "low")).manifest
    assert (found.predictor.batch, found.precision) == (5, precision)


def test_the_projects_own_family(tmp_path, own_bundle):
    start, free, fixed = own_bundle.start, own_bundle.path, tmp_path / "fixed"
    form = GraphForm(opset=20, batch="static", batch_size=6)
    export(export_of(start.checkpoint, fixed, value=start.value, form=form), start.runs)
    assert set().union(*opsets(fixed).values()) == {20}
    models = [OnnxWorldModel(load_bundle(folder)) for folder in (free, fixed)]
    assert sizes(fixed, "heads/value.onnx") == sizes(fixed, "predictor.onnx") == {6}
    latents = np.random.default_rng(0).standard_normal((8, 6)).astype(np.float32)
    values = [model.head("value", latents, latents[0]) for model in models]
    assert relative_error(values[1], values[0]) < 1e-5


def test_static_ranges_are_measured_on_whole_batches(tmp_path):
    """As the default bundle's, whose graphs a bag gives ranges."""
    bundle = load_bundle(DEFAULT)
    windows = read_windows(BAG, bundle.manifest)
    inputs = graph_inputs(OnnxWorldModel(bundle), windows, np.random.default_rng(0))["heads/value.onnx"]
    graph = onnx.load(str(DEFAULT / "heads" / "value.onnx"))
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 7
    onnx.save(graph, str(tmp_path / "value.onnx"))
    to_int8(tmp_path / "value.onnx", tmp_path / "low.onnx", {name: array[:20] for name, array in inputs.items()})
    assert sizes(tmp_path, "low.onnx") == {7}


# ---- options


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--opset", "17"], "--opset 17: graphs are written at 18 to 25"),
        (["--opset", "26"], "--opset 26: graphs are written at 18 to 25"),
        (["--batch", "fixed"], "--batch fixed: must be dynamic or static"),
        (["--batch-size", "8"], "--batch-size 8: goes with --batch static"),
        (["--batch", "static", "--batch-size", "0"], "--batch-size 0: must be at least 1"),
    ],
)
@pytest.mark.parametrize("family", [["lewm", "--random-weights", "tiny"], ["sigreg-jepa", "--checkpoint", "none.pt"]])
def test_options_that_do_not_fit(tmp_path, family, options, says):
    done = CliRunner().invoke(cli.app, [*family, "--out", str(tmp_path / "b"), *options])
    assert done.exit_code == 1
    assert done.output.strip().endswith(f": {says}")
    assert list(tmp_path.iterdir()) == []


def test_the_commands_pass_them_on(tmp_path):
    line = ["pldm", "--random-weights", "tiny", "--out", str(tmp_path / "b"), "--no-derivative"]
    done = CliRunner().invoke(cli.app, [*line, "--opset", "21", "--batch", "static", "--batch-size", "4"])
    assert done.exit_code == 0, done.output
    assert set().union(*opsets(tmp_path / "b").values()) == {21}
    assert load_bundle(tmp_path / "b").manifest.predictor.batch == 4
