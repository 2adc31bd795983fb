"""The manifest: what it refuses, and that the message names the field."""

from __future__ import annotations

import json

import pytest
import yaml

from jepa_ros.bundle.manifest import MANIFEST_NAME, Manifest, read_manifest
from jepa_ros.errors import BundleError

from .linear_world import manifest, term


def written(folder, change=lambda fields: None):
    fields = manifest().model_dump(mode="json")
    change(fields)
    plain = json.loads(json.dumps(fields))  # nothing twice: safe_dump would write an alias, which is refused
    (folder / MANIFEST_NAME).write_text(yaml.safe_dump(plain))
    return folder


def test_what_is_written_is_what_is_read(tmp_path):
    assert read_manifest(written(tmp_path)) == manifest()


def test_the_latent_is_the_first_state_tensor_that_is_one(tmp_path):
    def add(fields):
        fields["state"].insert(0, {"name": "joints", "kind": "vector", "shape": [12], "role": "proprio"})

    assert read_manifest(written(tmp_path, add)).latent.name == "latent"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.update(licence_="MIT"), "licence_"),
        (lambda m: m.update(schema_version=2), "schema_version is 2, this jepa_ros reads 1; export it again"),
        (lambda m: m.pop("camera"), "camera"),
        (lambda m: m["camera"].update(width=0), "camera.width"),
        (lambda m: m["camera"].update(crop=[0.5, 0.5, 0, 0]), "camera.crop: shares must not be negative"),
        (lambda m: m["camera"].update(crop=[-0.1, 0, 0, 0]), "camera.crop"),
        (lambda m: m["timing"].update(step_s=float("nan")), "timing.step_s"),
        (lambda m: m["timing"].update(history_min=3, history_max=2), "history_min must not be above history_max"),
        (lambda m: m["timing"].update(history_max=9), "history_max must not be above predictor.max_context"),
        (lambda m: m["action"].update(units=["m"]), "units must have 2 entries, one for each of x, y"),
        (lambda m: m["action"].update(low=[1.0, -1.0]), "low must be below high for x"),
        (lambda m: m["action"].update(names=["x", "x"]), "names must differ"),
        (lambda m: m["action"].update(fixed={"z": 0.0}), "fixed names z, which is no component"),
        (lambda m: m["action"].update(fixed={"x": 5.0}), "action: fixed x is 5, outside its bounds -1 to 1"),
        (lambda m: m["action"].update(low=[0.0, -1.0], high=[0.0, 1.0], fixed={"x": 0.1}), "outside its bounds 0 to 0"),
        (lambda m: m["heads"]["value"].update(file="../stray.onnx"), "'../stray.onnx' points outside the bundle's"),
        (lambda m: m["heads"]["value"].update(file="/tmp/stray.onnx"), "points outside the bundle's folder"),
        (lambda m: m["heads"]["value"].update(file="heads\\stray.onnx"), "points outside the bundle's folder"),
        (lambda m: m["heads"].update({"../up": m["heads"]["value"]}), "heads.../up"),
        (lambda m: m["heads"].update({"Value": m["heads"]["value"]}), "heads.Value"),
        (lambda m: m["cost"].append({"source": "head:safety"}), "source 'head:safety' is none of head:value, latent"),
        (lambda m: m.update(cost=[]), "cost"),
        (lambda m: m["state"].append(m["state"][0]), "state: names must differ"),
        (lambda m: m["state"][0].update(role="proprio"), "state: one tensor at least must have the role latent"),
        (lambda m: m["heads"]["value"].update(file="heads/value.ort"), "heads.value.file"),
        (lambda m: m["heads"]["value"].update(inputs=["latent", "noise"]), "heads.value: a value head takes no noise"),
        (lambda m: m["heads"]["value"].update(inputs=["latent", "action"]), "heads.value.inputs.1"),
        (lambda m: m["predictor"].update(output="sequence"), "predictor: output sequence needs causal: true"),
        (lambda m: m["predictor"].update(output="first"), "predictor.output"),
        (lambda m: m["camera"].update(frame_stack=0), "camera.frame_stack"),
        (lambda m: m["camera"].update(frame_repeat=2), "camera.frame_repeat"),
        (lambda m: m["action"].update(block=0), "action.block"),
        (lambda m: m.update(proprio={"names": ["a", "b"], "units": ["m"]}), "proprio: needs one unit for each of a, b"),
        (lambda m: m.update(proprio={"names": ["a", "a"], "units": ["m", "m"]}), "a, a, which must differ"),
        (lambda m: m.update(precision="fp8"), "precision"),
        (lambda m: m.update(files={"../encoder.onnx": "0"}), "points outside the bundle's folder"),
        (lambda m: m.update(files={"/etc/passwd": "0"}), "points outside the bundle's folder"),
    ],
)
def test_a_field_that_does_not_fit_is_named(tmp_path, change, says):
    with pytest.raises(BundleError) as caught:
        read_manifest(written(tmp_path, change))
    assert says in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


CACHE = {"layers": 2, "width": 12, "condition": 96}
CAUSAL = {"max_context": 3, "causal": True, "output": "sequence"}


def with_a_second_head(**fields):
    return lambda m: m["heads"].update(second={**m["heads"]["value"], "file": "heads/second.onnx", **fields})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda m: m["heads"]["value"].update(gradient="../v.onnx"),
            "v.onnx. points outside the bundle",
        ),
        (lambda m: m["heads"]["value"].update(gradient="v.txt"), "heads.value.gradient"),
        (
            lambda m: m["heads"].update(
                pi={"file": "p.onnx", "inputs": ["latent"], "output": "a", "kind": "policy", "gradient": "g.onnx"}
            ),
            "heads.pi: a policy head has no gradient",
        ),
        (with_a_second_head(gradient="heads/value.onnx"), "heads: the gradient of second needs a file of its own"),
        (
            lambda m: (m["heads"]["value"].update(gradient="g.onnx"), with_a_second_head(gradient="g.onnx")(m)),
            r"heads: the gradient of \w+ needs a file of its own, not g\.onnx",
        ),
        (
            lambda m: m["predictor"].update(cache=CACHE),
            "predictor: cache needs output sequence",
        ),
        (lambda m: m.update(predictor={**CAUSAL, "batch": 4, "cache": CACHE}), "predictor: cache needs"),
        (lambda m: m.update(predictor={**CAUSAL, "cache": {**CACHE, "layers": 0}}), "predictor.cache.layers"),
        (
            lambda m: m.update(
                predictor={**CAUSAL, "cache": CACHE}, state=[{"name": "latent", "kind": "tokens", "shape": [3, 2]}]
            ),
            "predictor.cache: is for a state of one vector",
        ),
    ],
)
def test_derivatives_and_what_is_kept_have_their_rules(tmp_path, change, says):
    with pytest.raises(BundleError, match=says):
        read_manifest(written(tmp_path, change))


def test_a_fixed_component_needs_no_range():
    fixed = manifest(low=(-1.0, 0.0), high=(1.0, 0.0), action={"fixed": {"y": 0.0}})
    assert isinstance(fixed, Manifest)


@pytest.mark.parametrize(
    ("text", "says"), [("a: [", "is not plain YAML"), ("- 1", "must be a mapping"), ("", "must be a mapping")]
)
def test_a_file_that_is_no_manifest(tmp_path, text, says):
    (tmp_path / MANIFEST_NAME).write_text(text)
    with pytest.raises(BundleError, match=says):
        read_manifest(tmp_path)


def test_a_binary_file_is_no_manifest(tmp_path):
    (tmp_path / MANIFEST_NAME).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BundleError, match="is not plain YAML"):
        read_manifest(tmp_path)


def test_no_manifest(tmp_path):
    with pytest.raises(BundleError, match="is this a bundle"):
        read_manifest(tmp_path)


def with_tensor(fields, **changes):
    fields["state"].append({"name": "other", "kind": "vector", "shape": [3], **changes})


@pytest.mark.parametrize(
    "name",
    ["action", "image", "measured", "goal", "noise", "next", "context", "next_latent", "context_x", "head_a_output"],
)
def test_a_state_tensor_whose_name_means_something_else(tmp_path, name):
    with pytest.raises(BundleError, match=f"a state tensor cannot be named {name}"):
        read_manifest(written(tmp_path, lambda m: with_tensor(m, name=name)))


@pytest.mark.parametrize("name", ["", "Latent", "1st", "a-b", "a b", "_a", "a/b"])
def test_a_state_tensor_whose_name_is_none(tmp_path, name):
    with pytest.raises(BundleError, match=r"state\.1\.name"):
        read_manifest(written(tmp_path, lambda m: with_tensor(m, name=name)))


@pytest.mark.parametrize(
    ("kind", "shape", "axes"),
    [("vector", [2, 3], 1), ("vector", [0], 1), ("tokens", [4], 2), ("tokens", [4, -1], 2), ("map", [4, 4], 3)],
)
def test_a_state_tensor_of_another_shape_than_its_kind(tmp_path, kind, shape, axes):
    with pytest.raises(BundleError, match=f"shape of other must be {axes} sizes of at least 1 for kind {kind}"):
        read_manifest(written(tmp_path, lambda m: with_tensor(m, kind=kind, shape=shape)))


def with_term(fields, source, metric):
    """A term beside a measured tensor, an outcome of one element, one of two, and a policy."""
    for name, size, role in (("joints", 2, "proprio"), ("reward", 1, "outcome"), ("odds", 2, "outcome")):
        with_tensor(fields, name=name, shape=[size], role=role)
    policy = {"file": "pi.onnx", "inputs": ["latent", "noise"], "output": "does", "kind": "policy"}
    fields["heads"]["pi"] = policy
    fields["cost"] = [{"source": source, "metric": metric}]


@pytest.mark.parametrize(
    ("source", "metric"),
    [("latent", "l2"), ("joints", "cosine"), ("reward", "value"), ("head:value", "value")],
)
def test_what_a_cost_term_may_be_of(tmp_path, source, metric):
    found = read_manifest(written(tmp_path, lambda m: with_term(m, source, metric)))
    assert found.cost[0].source == source


@pytest.mark.parametrize(
    ("source", "metric", "says"),
    [
        ("sky", "l2", "source 'sky' is none of head:value, joints, latent, odds, reward"),
        ("head:pi", "value", "source 'head:pi' is none of"),
        ("latent", "value", "metric value needs a head or a tensor of one element, not latent"),
        ("odds", "value", "metric value needs a head or a tensor of one element, not odds"),
        ("reward", "l2", "reward has no goal to be distant from; its metric is value"),
        ("head:value", "l1", "head:value has no goal to be distant from; its metric is value"),
    ],
)
def test_what_a_cost_term_may_not_be_of(tmp_path, source, metric, says):
    with pytest.raises(BundleError, match=says):
        read_manifest(written(tmp_path, lambda m: with_term(m, source, metric)))


@pytest.mark.parametrize("discount", [0.0, -0.5, 1.01])
def test_a_discount_is_above_0_and_at_most_1(discount):
    with pytest.raises(ValueError, match="discount"):
        term(discount=discount)


def test_the_size_of_an_action_counts_its_block():
    assert manifest(action={"block": 3}).action_size == 6
