"""Every published family: the example of its page exports, holds parity and plans; a wrong checkpoint is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.golden import check_golden, golden_cases, relative_error
from jepa_ros.planning.cost import GoalObjective
from jepa_ros.planning.problem import ActionBounds
from jepa_ros.runtime import Session
from jepa_ros_export.families import FAMILIES, family_module
from jepa_ros_export.family_command import parts_of
from jepa_ros_export.family_probes import bounds
from jepa_ros_export.rollouts import torch_rollout

from .family_pages import export_as_the_page_says, page_name, run, run_the_code, write_inputs

pytestmark = pytest.mark.families
# ONNX Runtime (docs/OperatorKernels.md) has these for the CPU and not for CUDA: a plan with one is not recorded there.
NOT_ON_CUDA = {"Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cosh", "Sinh", "Tan"}
PUBLISHED = [name for name in FAMILIES if name != "generic"]


@dataclass
class Exports:
    """The exports of this run, each made once."""

    root: Path
    printed: dict[str, str] = field(default_factory=dict)

    def folder(self, family: str) -> Path:
        """Where the page's example was run."""
        folder = self.root / family
        if family not in self.printed:
            folder.mkdir()
            self.printed[family] = export_as_the_page_says(family, folder)
        return folder

    def bundle(self, family: str) -> Path:
        """What it made."""
        return self.folder(family) / f"{page_name(family)}-bundle"


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    return Exports(tmp_path_factory.mktemp("families"))


def parts(exports, family):
    """The PyTorch model behind a bundle."""
    folder, name = exports.folder(family), page_name(family)
    return parts_of(family, [str(folder / f"{name}.pt")], folder / f"{name}.yaml", None, name)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_graph_holds_parity_and_its_golden_values(exports, family):
    bundle = load_bundle(exports.bundle(family))
    printed = exports.printed[family]
    errors = dict(re.findall(r"^(\S.*?) +differs from PyTorch by (\S+) relative", printed, flags=re.MULTILINE))
    heads = {f"head {name}" for name in bundle.manifest.heads}
    values = {f"head {name} vjp" for name, head in bundle.manifest.heads.items() if head.kind == "value"}
    stepwise = {"predictor_condition", "predictor_step"} if bundle.manifest.predictor.cache else set()
    assert set(errors) == {"encoder", "predictor", "predictor_vjp", "rollout"} | heads | values | stepwise
    assert max(map(float, errors.values())) <= 1e-4
    cases = golden_cases(bundle.manifest)
    found = check_golden(bundle, {case.file: Session(bundle.file(case.file)) for case in cases})
    assert set(found) == {case.what for case in cases}
    assert max(found.values()) <= 1e-4
    assert bundle.manifest.calibration.measured_on == "random"


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_but_the_bundle_is_left(exports, family):
    made = {path.name for path in exports.folder(family).iterdir()}
    assert {name for name in made if name.startswith(".")} == set()
    assert f"{page_name(family)}-bundle" in made


@pytest.mark.parametrize("family", FAMILIES)
def test_plans_need_no_operator_that_a_gpu_lacks(exports, family):
    """V-JEPA 2-AC's had, for the angles of its pose."""
    graphs = {file.name: onnx.load(file, load_external_data=False) for file in exports.bundle(family).rglob("*.onnx")}
    del graphs["encoder.onnx"]
    assert "predictor.onnx" in graphs
    for name, model in graphs.items():
        used = {node.op_type for part in (model.graph, *model.functions) for node in part.node}
        assert used & NOT_ON_CUDA == set(), name


@pytest.mark.parametrize("family", FAMILIES)
def test_the_bundle_plans_toward_a_goal_latent(exports, family):
    """What it finds is within the bounds, no worse than standing still, and better than nearly every random plan."""
    names = run_the_code(family, exports.folder(family))
    model, mpc, step = names["model"], names["mpc"], names["step"]
    manifest = model.manifest
    low, high, rest = bounds(manifest)
    allowed = ActionBounds(low, high, manifest.action.norm_limit, manifest.action.block)
    assert step.plan.feasible
    assert (step.plan.actions >= allowed.low).all()
    assert (step.plan.actions <= allowed.high).all()
    objective = mpc._goal
    assert isinstance(objective, GoalObjective)
    horizon = len(step.plan.actions)
    others = np.random.default_rng(5).uniform(low, high, (64, horizon, len(low))).astype(np.float32)
    others[0] = rest
    energies = objective(model.rollout(step.latent[None], np.zeros((0, len(low)), np.float32), others), others)
    if mpc._delay == 0 and manifest.timing.warm_up != "pad":
        assert step.plan.energy <= energies[0]
        assert step.plan.energy <= np.quantile(energies, 0.1)


@pytest.mark.parametrize("family", PUBLISHED)
def test_the_energy_of_a_plan_is_what_pytorch_says(exports, family):
    names = run_the_code(family, exports.folder(family))
    model, original = names["model"], parts(exports, family)
    low, high, _ = bounds(model.manifest)
    rng = np.random.default_rng(3)
    actions = rng.uniform(low, high, (8, model.manifest.planner.horizon or 6, len(low))).astype(np.float32)
    history, past = names["step"].latent[None], np.zeros((0, len(low)), np.float32)
    objective = names["mpc"]._goal
    found = objective(model.rollout(history, past, actions), actions)
    expected = objective(torch_rollout(original, history, past, actions), actions)
    assert relative_error(found, expected) < 1e-4
    assert len(np.unique(found)) == len(found), "the actions matter"


# ---- wrong checkpoints


def altered(family, folder, change):
    """Export a checkpoint after `change(state)`; returns exit code and output."""
    write_inputs(family, folder)
    name = page_name(family)
    state = torch.load(folder / f"{name}.pt", weights_only=True)
    torch.save(change(state) or state, folder / f"{name}.pt")
    return run(f"jepa-export {name} --checkpoint {name}.pt --config {name}.yaml --out out/{name}", folder)


def paths(state, prefix=()):
    """Of every tensor in nested dictionaries."""
    for key, value in state.items():
        if isinstance(value, torch.Tensor):
            yield (*prefix, key)
        elif isinstance(value, dict):
            yield from paths(value, (*prefix, key))


def holder(state, path):
    for key in path[:-1]:
        state = state[key]
    return state


def a_weight(state):
    """The path of the largest matrix: one that no family ignores."""
    sized = [(path, holder(state, path)[path[-1]]) for path in paths(state)]
    return max((entry for entry in sized if entry[1].ndim > 1), key=lambda entry: entry[1].numel())[0]


def refused(done, folder):
    code, output = done
    assert code == 1, output
    (line,) = output.strip().splitlines()
    assert line.startswith("jepa-export: ")
    left = folder / "out"
    assert not left.exists() or list(left.iterdir()) == []
    return line


@pytest.mark.parametrize("family", PUBLISHED)
def test_a_missing_key_is_named_with_its_shape(tmp_path, family):
    lost = {}

    def change(state):
        path = a_weight(state)
        lost["name"], lost["shape"] = path[-1], list(holder(state, path).pop(path[-1]).shape)

    line = refused(altered(family, tmp_path, change), tmp_path)
    assert "lacks" in line
    assert lost["name"].rsplit(".", 1)[-1] in line


@pytest.mark.parametrize("family", PUBLISHED)
def test_an_extra_key_is_named_with_its_shape(tmp_path, family):
    def change(state):
        path = a_weight(state)
        parent = path[-1].rsplit(".", 1)[0]
        holder(state, path)[f"{parent}.surplus"] = torch.zeros(3, 7)

    line = refused(altered(family, tmp_path, change), tmp_path)
    assert "surplus" in line
    assert "[3, 7]" in line


@pytest.mark.parametrize("family", PUBLISHED)
def test_a_wrong_shape_is_named_with_both(tmp_path, family):
    shapes = {}

    def change(state):
        path = a_weight(state)
        tensor = holder(state, path)[path[-1]]
        wrong = torch.zeros(tensor.shape[0] + 1, *tensor.shape[1:])
        holder(state, path)[path[-1]] = wrong
        shapes["given"], shapes["wanted"] = list(wrong.shape), list(tensor.shape)

    line = refused(altered(family, tmp_path, change), tmp_path)
    assert str(shapes["given"]) in line
    assert str(shapes["wanted"]) in line


@pytest.mark.parametrize("family", PUBLISHED)
def test_a_checkpoint_of_another_family_is_named_as_such(tmp_path, family):
    other = "tdmpc2" if family != "tdmpc2" else "lewm"
    module = family_module(other)
    line = refused(altered(family, tmp_path, lambda _: module.random_checkpoint(module.tiny())), tmp_path)
    assert f"is of family {other} (it has " in line
    assert f", not {family}" in line


def test_every_family_has_a_page():
    pages = {path.stem for path in (Path(__file__).resolve().parents[2] / "docs" / "families").glob("*.md")}
    assert pages == {page_name(family) for family in FAMILIES}
