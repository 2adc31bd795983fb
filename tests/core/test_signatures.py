"""What a manifest implies of its graphs, and what golden.npz calls their inputs and outputs."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_ros.bundle.loader import load_bundle, write_manifest
from jepa_ros.bundle.manifest import Head, StateTensor, read_manifest
from jepa_ros.bundle.model_spec import CacheSpec
from jepa_ros.bundle.signatures import derivatives, expected_signatures
from jepa_ros.errors import BundleError
from jepa_ros.golden import golden_cases, tolerance
from jepa_ros.world_model import OnnxWorldModel

from .linear_world import manifest
from .made_bundles import LATENT, MANY, Made


def shapes(signature):
    return [{name: str(tensor) for name, tensor in part.items()} for part in (signature.inputs, signature.outputs)]


def implied(state=(LATENT,), output="last", block=1, **changes):
    """Signatures of a manifest with a context of 3 and actions of two values."""
    found = manifest(action={"block": block})
    predictor = found.predictor.model_copy(update={"output": output, "causal": True})
    return expected_signatures(found.model_copy(update={"state": list(state), "predictor": predictor, **changes}))


def test_one_latent_vector():
    found = implied()
    assert shapes(found["encoder.onnx"]) == [{"image": "uint8 [None, 1, 2, 3]"}, {"latent": "float32 [None, 5]"}]
    assert shapes(found["predictor.onnx"]) == [
        {"latent": "float32 [None, 3, 5]", "action": "float32 [None, 3, 2]"}, {"next": "float32 [None, 5]"},
    ]  # fmt: skip
    assert shapes(found["heads/value.onnx"]) == [
        {"latent": "float32 [None, 5]", "goal": "float32 [None, 5]"}, {"value": "float32 [None]"},
    ]  # fmt: skip
    assert set(found) == {"encoder.onnx", "predictor.onnx", "heads/value.onnx"}


def test_several_tensors_in_a_sequence_with_a_block_of_actions():
    """The outcome is only given; heads judge the first latent tensor."""
    found = implied(MANY, "sequence", block=4)
    assert shapes(found["encoder.onnx"])[1] == {
        "patches": "float32 [None, 3, 2]", "joints": "float32 [None, 2]", "ground": "float32 [None, 1, 2, 2]",
    }  # fmt: skip
    assert shapes(found["predictor.onnx"]) == [
        {
            "patches": "float32 [None, 3, 3, 2]", "joints": "float32 [None, 3, 2]",
            "ground": "float32 [None, 3, 1, 2, 2]", "action": "float32 [None, 3, 8]",
        },
        {
            "next_patches": "float32 [None, 3, 3, 2]", "next_joints": "float32 [None, 3, 2]",
            "next_reward": "float32 [None, 3, 1]", "next_ground": "float32 [None, 3, 1, 2, 2]",
        },
    ]  # fmt: skip
    assert shapes(found["heads/value.onnx"])[0] == dict.fromkeys(("latent", "goal"), "float32 [None, 3, 2]")


def test_a_stack_and_what_is_measured():
    camera = manifest().camera.model_copy(update={"frame_stack": 2})
    proprio = {"names": ["a", "b", "c"], "units": ["rad"] * 3}
    written = type(manifest())(**{**manifest().model_dump(), "camera": camera.model_dump(), "proprio": proprio})
    taken = shapes(expected_signatures(written)["encoder.onnx"])[0]
    assert taken == {"image": "uint8 [None, 2, 1, 2, 3]", "measured": "float32 [None, 3]"}


def test_a_policy():
    policy = Head(file="pi.onnx", inputs=["latent", "noise"], output="does", kind="policy")
    assert shapes(implied(heads={"pi": policy}, block=2)["pi.onnx"]) == [
        {"latent": "float32 [None, 5]", "noise": "float32 [None, 4]"}, {"does": "float32 [None, 4]"},
    ]  # fmt: skip


def test_a_policy_that_acts_by_a_goal():
    policy = Head(file="pi.onnx", inputs=["latent", "goal", "noise"], output="does", kind="policy")
    assert shapes(implied(heads={"pi": policy})["pi.onnx"]) == [
        {"latent": "float32 [None, 5]", "goal": "float32 [None, 5]", "noise": "float32 [None, 2]"},
        {"does": "float32 [None, 2]"},
    ]  # fmt: skip


def test_the_derivative_where_the_manifest_lists_it():
    found = implied(output="sequence", files={"predictor_vjp.onnx": ""})["predictor_vjp.onnx"]
    taken = {"latent": "float32 [None, 3, 5]", "action": "float32 [None, 3, 2]"}
    assert shapes(found) == [
        {**taken, "cotangent_next": "float32 [None, 3, 5]"}, {f"grad_{name}": kind for name, kind in taken.items()},
    ]  # fmt: skip


def test_the_gradient_of_a_head():
    """Of the first latent tensor, whatever its shape; and it is a derivative, whose tolerance may be wider."""
    value = manifest().heads["value"].model_copy(update={"gradient": "heads/value_vjp.onnx"})
    found = implied(MANY, heads={"value": value})
    assert shapes(found["heads/value_vjp.onnx"]) == [
        {"latent": "float32 [None, 3, 2]", "goal": "float32 [None, 3, 2]", "cotangent": "float32 [None]"},
        {"grad_latent": "float32 [None, 3, 2]"},
    ]
    changed = manifest().model_copy(update={"heads": {"value": value}})
    assert derivatives(changed) == {"predictor_vjp.onnx", "heads/value_vjp.onnx"}
    case = next(case for case in golden_cases(changed) if case.file == value.gradient)
    assert (case.what, case.outputs) == ("head value vjp", {"grad_latent": "head_value_grad_latent"})
    assert case.inputs == {name: f"head_value_{name}" for name in ("latent", "goal", "cotangent")}
    wide = changed.calibration.model_copy(update={"derivative_tolerance": 0.01})
    allowed = changed.model_copy(update={"calibration": wide})
    assert tolerance(allowed, "CPUExecutionProvider", "heads/value_vjp.onnx") == 0.01
    assert tolerance(allowed, "CPUExecutionProvider", "heads/value.onnx") == 1e-4


def test_what_computes_new_steps_alone():
    """Rows, new steps and old steps are free."""
    cache = CacheSpec(layers=2, width=6, condition=60)
    predictor = manifest().predictor.model_copy(update={"output": "sequence", "causal": True, "cache": cache})
    found = manifest().model_copy(update={"predictor": predictor})
    kept = [f"{part}_{layer}" for layer in (0, 1) for part in ("keys", "values")]
    signatures = expected_signatures(found)
    condition = {"condition": "float32 [None, None, 60]"}
    assert shapes(signatures["predictor_condition.onnx"]) == [{"action": "float32 [None, None, 2]"}, condition]
    assert shapes(signatures["predictor_step.onnx"]) == [
        {"latent": "float32 [None, None, 2]", **condition, **dict.fromkeys(kept, "float32 [None, None, 6]")},
        {"next": "float32 [None, 2]", **dict.fromkeys((f"new_{name}" for name in kept), "float32 [None, None, 6]")},
    ]
    cases = {case.file: case for case in golden_cases(found)}
    step = cases["predictor_step.onnx"]
    assert cases["predictor_condition.onnx"].outputs == {"condition": step.inputs["condition"]}
    assert step.inputs["keys_1"] == "step_keys_1"
    assert step.outputs["new_values_0"] == "step_new_values_0"


def test_a_gradient_that_the_manifest_does_not_list(tmp_path):
    folder = Made(tmp_path / "made", heads=["value"]).folder
    said = read_manifest(folder)
    head = said.heads["value"].model_copy(update={"gradient": "heads/value_vjp.onnx"})
    write_manifest(folder, said.model_copy(update={"heads": {"value": head}}))
    with pytest.raises(BundleError, match=r"the manifest lists no heads/value_vjp\.onnx"):
        load_bundle(folder)


def test_heads_of_one_file_are_asked_for_together():
    value = manifest().heads["value"]
    second = Head(file=value.file, inputs=["latent"], output="doubt")
    found = shapes(implied(heads={"value": value, "second": second})[value.file])
    assert found[0].keys() == {"latent", "goal"}
    assert found[1].keys() == {"value", "doubt"}


def test_golden_names_of_one_tensor_and_of_several():
    files = {"predictor_vjp.onnx": ""}
    one = {case.what: case for case in golden_cases(manifest().model_copy(update={"files": files}))}
    assert set(one) == {"encoder", "predictor", "predictor_vjp", "head value"}
    assert one["predictor"].inputs == {"latent": "context", "action": "action"}
    assert one["predictor_vjp"].inputs == {**one["predictor"].inputs, "cotangent_next": "cotangent_next"}
    assert one["predictor_vjp"].outputs == {name: name for name in ("grad_latent", "grad_action")}
    assert one["head value"].inputs == {"latent": "head_value_latent", "goal": "head_value_goal"}
    assert one["head value"].outputs == {"value": "head_value_output"}
    many = {case.what: case for case in golden_cases(manifest().model_copy(update={"state": list(MANY)}))}
    names = ("patches", "joints", "ground")
    assert many["encoder"].outputs == {name: name for name in names}
    assert many["predictor"].inputs == {**{name: f"context_{name}" for name in names}, "action": "action"}
    assert many["predictor"].outputs.keys() == {"next_patches", "next_joints", "next_reward", "next_ground"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"stack": 3}, r"input image is uint8 \[None, 4, 4, 3\], .* \[None, 3, 4, 4, 3\]"),
        ({"measured": 3}, r"encoder\.onnx has no input 'measured'"),
        ({"state": (LATENT.model_copy(update={"shape": (6,)}),)}, r"output latent is float32 \[None, 5\]"),
        ({"output": "sequence"}, r"predictor\.onnx: output next is float32 \[None, 5\], .* \[None, 4, 5\]"),
        ({"block": 3}, r"input action is float32 \[None, 4, 2\], .* \[None, 4, 6\]"),
    ],
)
def test_graphs_that_are_not_what_the_manifest_implies(tmp_path, change, says):
    """A bundle's manifest beside another's graphs."""
    graphs, said = Made(tmp_path / "plain").folder, Made(tmp_path / "other", **change).folder
    write_manifest(graphs, read_manifest(said))
    with pytest.raises(BundleError, match=says):
        load_bundle(graphs)


def test_a_derivative_that_is_none(tmp_path):
    folder = Made(tmp_path / "made").folder
    (folder / "predictor_vjp.onnx").write_bytes((folder / "predictor.onnx").read_bytes())
    write_manifest(folder, read_manifest(folder))
    with pytest.raises(BundleError, match=r"predictor_vjp\.onnx has no input 'cotangent_next'; it has action, latent"):
        load_bundle(folder)


@pytest.mark.parametrize("name", ["ground", "context_joints", "next_reward", "head_policy_noise"])
def test_every_tensor_needs_its_golden_values(tmp_path, name):
    folder = Made(tmp_path / "made", MANY, heads=["policy"]).folder
    with np.load(folder / "golden.npz") as found:
        arrays = {key: array for key, array in found.items() if key != name}
    np.savez(folder / "golden.npz", **arrays)
    write_manifest(folder, read_manifest(folder))
    with pytest.raises(BundleError, match=rf"golden\.npz lacks {name};"):
        OnnxWorldModel(load_bundle(folder))


@pytest.mark.parametrize("name", ["joints", "next_reward"])
def test_golden_values_of_every_tensor_are_compared(tmp_path, name):
    folder = Made(tmp_path / "made", MANY, output="sequence").folder
    with np.load(folder / "golden.npz") as found:
        arrays = dict(found)
    arrays[name] = arrays[name] + 0.01
    np.savez(folder / "golden.npz", **arrays)
    write_manifest(folder, read_manifest(folder))
    with pytest.raises(BundleError, match=f"bundle made: {name} is off its golden value by .* more than 1.0e-04"):
        OnnxWorldModel(load_bundle(folder))


def test_a_name_of_the_next_state():
    assert manifest().next_name(manifest().latent) == "next"
    several = manifest().model_copy(update={"state": [LATENT, StateTensor(name="b", kind="vector", shape=(1,))]})
    assert several.next_name(LATENT) == "next_latent"
