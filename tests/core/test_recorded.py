"""Files of recorded plans: what goes in comes out, and what is no such file is refused by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jepa_ros.bundle.loader import load_bundle
from jepa_ros.errors import JepaRosError, PlanningError
from jepa_ros.planning.factory import make_planner
from jepa_ros.planning.mpc import LatentMPC
from jepa_ros.planning.recorded import PlanLog, RecordedPlans, find_plans, read_plans
from jepa_ros.world_model import OnnxWorldModel


def some(count=4, horizon=3, latent=5, action=2, seed=0):
    rng = np.random.default_rng(seed)
    shapes = ((latent,), (latent,), (horizon, action), (horizon, latent), ())
    return RecordedPlans(*(rng.standard_normal((count, *s), dtype=np.float32) for s in shapes), encoder="ab")


def test_what_is_written_is_read(tmp_path):
    plans = some()
    plans.write(tmp_path / "new" / "plans.npz")
    found = read_plans(tmp_path / "new" / "plans.npz")
    for name in ("latents", "goals", "actions", "predicted", "energies"):
        np.testing.assert_array_equal(getattr(found, name), getattr(plans, name))
    assert (found.encoder, len(found)) == ("ab", 4)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["plans.npz"]


def test_a_drives_plans(tiny_bundle):
    bundle = load_bundle(tiny_bundle)
    model = OnnxWorldModel(bundle)
    mpc = LatentMPC(model, make_planner(bundle.manifest, model), bundle.manifest, delay_steps=1)
    log, frames = PlanLog.of(bundle), np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    goal = model.encode(frames[0])
    log.keep(mpc.step(frames[1]), goal)
    assert not len(log), "no goal, no plan"
    with pytest.raises(PlanningError, match="no plan was made"):
        log.plans()
    mpc.set_goal(goal)
    steps = [mpc.step(frame) for frame in frames]
    for step in steps:
        log.keep(step, goal)
    made = [step for step in steps if step.plan is not None]
    log.keep(replace(made[0], plan=replace(made[0].plan, feasible=False)), goal)
    found = log.plans()
    found.check("a drive")
    np.testing.assert_array_equal(found.latents, [step.origin for step in made])
    np.testing.assert_array_equal(found.predicted, [step.plan.latents for step in made])
    assert found.encoder == bundle.manifest.files["encoder.onnx"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"latents": np.zeros((0, 5)), "goals": np.zeros((0, 5)), "actions": np.zeros((0, 3, 2)),
          "predicted": np.zeros((0, 3, 5)), "energies": np.zeros(0)}, "holds no plan; was there a goal?"),
        ({"goals": np.zeros((4, 6))}, r"goals is \[4, 6\], not \[N = 4, D = 5\]"),
        ({"predicted": np.zeros((4, 2, 5))}, r"predicted is \[4, 2, 5\], not \[N = 4, H = 3, D = 5\]"),
        ({"energies": np.zeros((4, 1))}, r"energies is \[4, 1\], not \[N = 4\]"),
        ({"actions": np.full((4, 3, 2), np.nan)}, "actions holds values that are not numbers"),
        ({"goals": np.full((4, 5), np.inf)}, "goals holds values that are not numbers"),
        ({"latents": np.array([["a"] * 5] * 4)}, "latents holds no numbers"),
    ],
)  # fmt: skip
def test_what_is_no_plan_is_refused(tmp_path, change, says):
    replace(some(), **change).write(tmp_path / "plans.npz")
    with pytest.raises(PlanningError, match=rf"plans\.npz: {says}"):
        read_plans(tmp_path / "plans.npz")


def test_other_files_are_refused(tmp_path):
    np.savez(tmp_path / "run_0.npz", images=np.zeros(3), actions=np.zeros(3))
    with pytest.raises(PlanningError, match=r"run_0\.npz: lacks latents, goals, predicted, energies, encoder_sha256"):
        read_plans(tmp_path / "run_0.npz")
    (tmp_path / "plans.npz").write_bytes(b"nothing")
    with pytest.raises(JepaRosError, match=r"plans\.npz: cannot be read"):
        read_plans(tmp_path / "plans.npz")


def test_files_are_found_under_folders(tmp_path):
    for name in ("a/plans.npz", "b/plans_00001.npz", "b/plans_00000.npz", "mine.npz", "b/summary.npz"):
        some().write(tmp_path / name)
    found = find_plans([tmp_path / "mine.npz", tmp_path, tmp_path / "b"])
    names = ["mine.npz", "a/plans.npz", "b/plans_00000.npz", "b/plans_00001.npz"]
    assert [path.relative_to(tmp_path).as_posix() for path in found] == names
    with pytest.raises(PlanningError, match=r"none: no such file, or no plans\.npz under it; record some with"):
        find_plans([tmp_path / "none"])
