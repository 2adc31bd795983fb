"""Bundles of lower precision: the same from outside, nearly the same inside, and never half written."""

from __future__ import annotations

import subprocess
import sys

import onnx
import pytest
from onnx import TensorProto
from typer.testing import CliRunner

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.bundle.manifest import read_manifest
from jepa_ros.errors import BundleError
from jepa_ros.golden import tolerance
from jepa_ros.planning.factory import make_planner
from jepa_ros.planning.mpc import LatentMPC
from jepa_ros.world_model import OnnxWorldModel
from jepa_ros_export import cli, precision, weights
from jepa_ros_export.low_precision import copy_graph
from jepa_ros_export.precision import Request, lower_bundle, lower_in_place

from .lowered import BAG, DEFAULT, add_derivative, element_types, rewrite, write_runs

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def runs(tmp_path):
    return write_runs(tmp_path / "runs")


def request(kind, runs):
    if kind == "static":
        return Request("int8", calibrate=runs, plans=2)
    return Request(kind, plans=2)


@pytest.mark.parametrize("kind", ["fp16", "int8", "static"])
def test_the_new_bundle_is_the_same_from_outside_and_plans(tmp_path, tiny_bundle_with_head, runs, kind):
    before = contents(tiny_bundle_with_head)
    said = []
    report = lower_bundle(tiny_bundle_with_head, tmp_path / "low", request(kind, runs), said.append)
    assert contents(tiny_bundle_with_head) == before
    assert {path.name for path in tmp_path.iterdir()} == {"headed", "low", "runs"}
    original, found = load_bundle(tiny_bundle_with_head), load_bundle(tmp_path / "low")
    name = "fp16" if kind == "fp16" else "int8"
    calibration = found.manifest.calibration
    assert found.manifest.precision == name
    assert set(calibration.tolerance) == {f"{CPU}:{name}", f"{CUDA}:{name}"}
    assert set(calibration.precision_error) == {"encoder", "predictor", "head value"}
    worst = max(report.errors.values())
    assert 0 < worst < tolerance(found.manifest, CPU) < tolerance(found.manifest, CUDA)
    assert worst < {"fp16": 5e-3, "int8": 0.1}[name]
    unchanged = {"precision", "calibration", "created_by", "files"}
    assert found.manifest.model_dump(exclude=unchanged) == original.manifest.model_dump(exclude=unchanged)
    assert (found.path / "golden.npz").read_bytes() == before["golden.npz"]
    assert report.change.rank > 0.99
    assert report.change.energy < 0.05
    assert [line.split()[0] for line in said[:3]] == ["encoder", "predictor", "head"]
    model = OnnxWorldModel(found)
    mpc = LatentMPC(model, make_planner(found.manifest, model), found.manifest, delay_steps=0)
    image = found.golden()["image"][0]
    mpc.set_goal(model.encode_goal(found.golden()["image"][1]))
    steps = [mpc.step(image) for _ in range(3)]
    assert steps[-1].plan.feasible


def test_what_the_weights_are(tmp_path, tiny_bundle):
    lower_bundle(tiny_bundle, tmp_path / "fp16", Request("fp16", plans=0))
    lower_bundle(tiny_bundle, tmp_path / "int8", Request("int8", plans=0))
    assert TensorProto.FLOAT16 in element_types(tmp_path / "fp16" / "encoder.onnx")
    assert TensorProto.FLOAT not in element_types(tmp_path / "fp16" / "encoder.onnx")
    found = onnx.load(str(tmp_path / "int8" / "encoder.onnx")).graph.initializer
    assert {t.data_type for t in found if len(t.dims) == 2} == {TensorProto.UINT8}


def test_gradients_stay_fp32_beside_int8(tmp_path, tiny_bundle):
    add_derivative(tiny_bundle)
    reports = {name: lower_bundle(tiny_bundle, tmp_path / name, Request(name, plans=0)) for name in ("fp16", "int8")}
    assert TensorProto.FLOAT16 in element_types(tmp_path / "fp16" / "predictor_vjp.onnx")
    assert element_types(tmp_path / "int8" / "predictor_vjp.onnx") == element_types(tiny_bundle / "predictor_vjp.onnx")
    assert reports["int8"].errors["predictor_vjp"] < 1e-6 < reports["fp16"].errors["predictor_vjp"]
    load_bundle(tmp_path / "int8")


def test_weights_in_a_file_beside_the_graphs_stay_beside_them(tmp_path, tiny_bundle, monkeypatch):
    monkeypatch.setattr(weights, "_INSIDE", 0)
    for name in ("encoder.onnx", "predictor.onnx"):
        copy_graph(tiny_bundle / name, tiny_bundle / name)
    rewrite(tiny_bundle)
    large = (tiny_bundle / "weights.bin").stat().st_size
    for name, share in (("fp16", 2), ("int8", 4)):
        lower_bundle(tiny_bundle, tmp_path / name, Request(name, plans=1))
        made = tmp_path / name / "weights.bin"
        assert made.stat().st_size == pytest.approx(large / share, rel=0.01)
        assert "weights.bin" in load_bundle(made.parent).manifest.files
    monkeypatch.setattr(weights, "_INSIDE", 2**20)
    lower_bundle(tiny_bundle, tmp_path / "inside", Request("fp16", plans=0))
    assert "weights.bin" not in load_bundle(tmp_path / "inside").manifest.files


def test_the_model_card_says_that_it_is_of_another_bundle(tmp_path, tiny_bundle):
    (tiny_bundle / "README.md").write_text("# World model\nreaches 9 of 10\n")
    lower_bundle(tiny_bundle, tmp_path / "low", Request("int8", plans=0))
    card = (tmp_path / "low" / "README.md").read_text()
    assert card.startswith("> Made int8 (dynamic) by `jepa-export precision`")
    assert "Figures below are of that one" in card
    assert card.endswith("reaches 9 of 10\n")


def test_a_bundle_can_be_lowered_where_it_lies(tmp_path, tiny_bundle):
    names = set(contents(tiny_bundle))
    lower_in_place(tiny_bundle, Request("fp16", plans=0), None)
    assert set(contents(tiny_bundle)) == names
    assert load_bundle(tiny_bundle).manifest.precision == "fp16"
    before = contents(tiny_bundle)
    with pytest.raises(BundleError, match="is fp16 already"):
        lower_in_place(tiny_bundle, Request("int8", plans=0), None)
    assert contents(tiny_bundle) == before
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_bundle_at_out_is_replaced_by_a_whole_one_or_not_at_all(tmp_path, tiny_bundle, monkeypatch):
    out = tmp_path / "low"
    lower_bundle(tiny_bundle, out, Request("fp16", plans=0))
    before = contents(out)
    monkeypatch.setitem(precision._REFUSED, "int8", 1e-9)
    with pytest.raises(
        BundleError, match=r"encoder is off the original by .* more than 1e-09; not written\. Try --met"
    ):
        lower_bundle(tiny_bundle, out, Request("int8", plans=0))
    assert contents(out) == before
    monkeypatch.undo()
    lower_bundle(tiny_bundle, out, Request("int8", plans=0))
    assert load_bundle(out).manifest.precision == "int8"
    assert {path.name for path in tmp_path.iterdir()} == {"tiny", "low"}


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("--precision", "int4"), "--precision int4: must be fp16 or int8"),
        (("--precision", "fp16", "--method", "dynamic"), "--method dynamic: is for int8"),
        (("--precision", "int8", "--method", "best"), "--method best: must be dynamic or static"),
        (("--precision", "int8", "--method", "static"), "--method static: needs --calibrate"),
        (("--precision", "int8", "--calibrate", "{root}/none"), "none: there is no such file or folder"),
        (("--precision", "int8", "--calibrate", "{root}/empty"), "empty: no bag is there"),
        (("--precision", "int8", "--calibrate", "{root}/short"), "has no 4 frames in a row"),
        (("--precision", "int8", "--calibrate", "{root}/slow"), "its frames are 0.5 s apart, the bundle needs 0.2 s"),
        (("--precision", "int8", "--calibrate", "{root}/wide"), "its actions are [24, 4], the bundle's vx, vy, wz"),
        (("--precision", "fp16", "--out", "{root}/empty/taken"), "exists and is not a bundle"),
        (("--precision", "fp16", "--out", "{root}/tiny"), "is the bundle itself"),
        (("--precision", "fp16", "--bundle", "{root}/empty"), "manifest.yaml cannot be read"),
    ],
)
def test_refusals_are_one_sentence_and_leave_nothing(tmp_path, tiny_bundle, asked, says):
    (tmp_path / "empty").mkdir()
    for name, options in (("short", {"frames": 3}), ("slow", {"step_s": 0.5}), ("wide", {"width": 4})):
        write_runs(tmp_path / name, **options)
    if "{root}/empty/taken" in asked:
        (tmp_path / "empty" / "taken").write_text("somebody's")
    before = contents(tmp_path)
    line = ["precision", "--bundle", str(tiny_bundle), "--out", str(tmp_path / "low"), *asked]
    done = CliRunner().invoke(cli.app, [word.format(root=tmp_path) for word in line], env={"COLUMNS": "400"})
    assert done.exit_code == 1, done.output
    assert says in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert contents(tmp_path) == before


def test_the_command_says_what_changes(tmp_path, tiny_bundle_with_head, runs):
    line = ["precision", "--bundle", tiny_bundle_with_head, "--out", tmp_path / "low", "--precision", "int8"]
    line += ["--calibrate", runs, "--plans", 3]
    done = CliRunner().invoke(cli.app, list(map(str, line)), env={"COLUMNS": "60"})
    assert done.exit_code == 0, done.output
    for part in (
        "predictor            is off the original by",
        "rank correlation",
        "of the best 6 agree (3 pairs of start and goal)",
        "energy that the original gives to a whole plan",
        "prediction error on the recordings",
        "bundle written to",
    ):
        assert part in done.output
    assert "static" in read_manifest(tmp_path / "low").created_by


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("--precision", "int4"), "--precision int4: must be fp16 or int8"),
        (("--calibrate", "somewhere"), "goes with --precision"),
        (("--precision", "int8", "--calibrate", "nowhere"), "nowhere: there is no such file or folder"),
    ],
)
def test_a_family_command_refuses_before_it_exports(tmp_path, asked, says):
    line = ["lewm", "--random-weights", "tiny", "--out", str(tmp_path / "low"), *asked]
    done = CliRunner().invoke(cli.app, line, env={"COLUMNS": "400"})
    assert done.exit_code == 1
    assert says in done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.families
@pytest.mark.slow
def test_a_family_is_exported_at_a_lower_precision(tmp_path):
    line = ["tdmpc2", "--random-weights", "tiny", "--no-derivative", "--precision", "int8", "--out", tmp_path / "low"]
    done = CliRunner().invoke(cli.app, list(map(str, line)), env={"COLUMNS": "400"})
    assert done.exit_code == 0, done.output
    assert [path.name for path in tmp_path.iterdir()] == ["low"]
    bundle = load_bundle(tmp_path / "low")
    assert bundle.manifest.precision == "int8"
    assert "README.md" not in contents(tmp_path / "low")
    OnnxWorldModel(bundle)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "error", "rank", "elites"),
    [
        (Request("fp16"), 5e-3, 0.999, 0.9),
        (Request("int8"), 0.12, 0.98, 0.7),
        (Request("int8", BAG), 0.12, 0.98, 0.7),
    ],
    ids=["fp16", "dynamic", "static"],
)
def test_the_default_bundle_keeps_its_plans(tmp_path, asked, error, rank, elites):
    if asked.calibrate:
        pytest.importorskip("mcap")
        pytest.importorskip("rosbags")
    report = lower_bundle(DEFAULT, tmp_path / "low", asked)
    assert max(report.errors.values()) < error
    assert report.change.rank > rank
    assert report.change.elites > elites
    assert report.change.lowered < 1.05 * report.change.original
    # Derivatives, a third of it, stay fp32 beside int8.
    assert report.sizes[1] < {"fp16": 0.55, "int8": 0.55}[asked.precision] * report.sizes[0]
    if report.change.surprise:
        lowered, original = report.change.surprise
        assert lowered < 1.1 * original
    OnnxWorldModel(load_bundle(tmp_path / "low"))


def test_the_conversion_needs_no_torch():
    code = "import sys, jepa_ros_export.precision_command, jepa_ros_replay.runs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
