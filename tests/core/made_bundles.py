"""Bundles of any state, history and action: small linear graphs with random weights, and what they must give.

The predictor weighs every position of its context differently, so that padding, a wrong order or a wrong index show.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from jepa_ros.bundle.loader import load_bundle, write_manifest
from jepa_ros.bundle.manifest import Manifest, StateTensor
from jepa_ros.world_model import OnnxWorldModel

SIDE = 4
LATENT = StateTensor(name="latent", kind="vector", shape=(5,))
# Two that are predicted and seen, one that is measured, one that is only predicted.
MANY = (
    StateTensor(name="patches", kind="tokens", shape=(3, 2)),
    StateTensor(name="joints", kind="vector", shape=(2,), role="proprio"),
    StateTensor(name="reward", kind="vector", shape=(1,), role="outcome"),
    StateTensor(name="ground", kind="map", shape=(1, 2, 2)),
)


class Made:
    """A bundle in a folder and the arithmetic that its graphs hold.

    Args:
        folder: is made.
        state, context, stack, measured, output, sliding, block: of the manifest; `measured` counts proprio names.
        heads: of "value" (a sum of the first latent tensor and of the goal's), "policy" and "led": a policy of the
            difference of both.
        blocks: further blocks of the manifest.
    """

    def __init__(
        self, folder, state=(LATENT,), context=4, stack=1, measured=0, output="last", sliding=True, block=1,
        heads=(), **blocks,
    ):  # fmt: skip
        self.folder, self.state, self.context, self.output = Path(folder), tuple(state), context, output
        self.sliding, self.stack, self.measured, self.actions = sliding, stack, measured, 2 * block
        self.taken = [tensor for tensor in state if tensor.role != "outcome"]
        size = sum(math.prod(tensor.shape) for tensor in self.taken)
        self.latent = next(tensor for tensor in state if tensor.role == "latent")
        rng = np.random.default_rng(0)

        def weights(*shape):
            return (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)

        # Of every position that the graph reads, for every position that it says something of.
        times = weights(context, context)
        self.times = np.tril(times) if output == "sequence" else times[:1]
        self.step = {tensor.name: weights(size + self.actions, math.prod(tensor.shape)) for tensor in state}
        pixels = stack * SIDE * SIDE * 3
        self.look = {tensor.name: weights(pixels + measured, math.prod(tensor.shape)) for tensor in self.taken}
        wide = math.prod(self.latent.shape)
        self.judge, self.act = weights(wide, 1), weights(wide, self.actions)
        self.folder.mkdir(parents=True)
        self._write(heads, self._manifest(block, heads, blocks), rng)

    def open(self) -> OnnxWorldModel:
        return OnnxWorldModel(load_bundle(self.folder))

    def encoded(self, images, measured=None):
        """`[N, …]` and `[N, P]` → `[N, D]`, zero where an outcome stands."""
        flat = np.concatenate([np.asarray(images, float).reshape(len(images), -1) / 255, *_given(measured)], axis=1)
        parts = [
            flat @ self.look[t.name] if t in self.taken else np.zeros((len(flat), math.prod(t.shape)))
            for t in self.state
        ]
        return np.concatenate(parts, axis=1)

    def rolled(self, latents, past, actions):
        """One candidate: `[T, D]`, `[T − 1, A]`, `[H, A]` → `[H, D]`, from the definition of the manifest's fields."""
        seen, done = list(np.asarray(latents, float)), list(np.asarray(past, float))
        if not self.sliding:
            keep = min(len(seen), self.context - len(actions) + 1)
            seen, done = seen[-keep:], done[len(done) - keep + 1 :]
        found = []
        for action in np.asarray(actions, float):
            done.append(action)
            window, acts = seen[-self.context :], done[-len(seen[-self.context :]) :]
            if self.output == "last":
                missing = self.context - len(window)
                window, acts = [window[0]] * missing + window, [np.zeros(self.actions)] * missing + acts
            weights = self.times[len(window) - 1 if self.output == "sequence" else 0]
            rows = [np.concatenate([self._read(x), a]) for x, a in zip(window, acts, strict=True)]
            read = self._bent(sum(weight * row for weight, row in zip(weights, rows, strict=False)))
            seen.append(np.concatenate([read @ self.step[t.name] for t in self.state]))
            found.append(seen[-1])
        return np.stack(found)

    def _bent(self, read):
        """What is done to the weighed positions; see `curved_bundles`."""
        return read

    def _read(self, latent):
        """What the predictor takes of `[D]`."""
        ends = np.cumsum([math.prod(t.shape) for t in self.state])
        parts = np.split(latent, ends[:-1])
        return np.concatenate([part for t, part in zip(self.state, parts, strict=True) if t in self.taken])

    def _manifest(self, block, heads, blocks):
        found = {}
        if "value" in heads:
            found["value"] = {"file": "heads/value.onnx", "inputs": ["latent", "goal"], "output": "value"}
        if "policy" in heads:
            inputs = {"inputs": ["latent", "noise"], "output": "does", "kind": "policy"}
            found["policy"] = {"file": "heads/policy.onnx", **inputs}
        if "led" in heads:
            inputs = {"inputs": ["latent", "goal", "noise"], "output": "does", "kind": "policy"}
            found["led"] = {"file": "heads/led.onnx", **inputs}
        names = [f"m{i}" for i in range(self.measured)]
        given = {
            "camera": {"width": SIDE, "height": SIDE, "frame_stack": self.stack},
            "proprio": {"names": names, "units": ["rad"] * self.measured} if names else None,
            "timing": {"step_s": 0.2, "history_max": self.context, "warm_up": "grow"},
            "state": [tensor.model_dump() for tensor in self.state],
            "action": {
                "names": ["vx", "vy"], "units": ["m/s", "m/s"], "low": [-1.0, -0.5], "high": [1.0, 0.5], "block": block,
            },
            "predictor": {
                "max_context": self.context, "causal": True, "sliding": self.sliding, "output": self.output,
            },
            "heads": found,
            "cost": [{"source": self.latent.name}],
            "planner": {"samples": 16, "iterations": 1, "elites": 4, "horizon": 2, "knot": 1},
            "calibration": {"arrival_energy": 0.01, "surprise_p50": 0.01, "surprise_p99": 0.04},
        }  # fmt: skip
        text = {"family": "linear", "name": "made", "licence": "none", "source": "tests", "created_by": "tests"}
        return Manifest(**text, **{**given, **blocks})

    def _write(self, heads, manifest, rng):
        frames = [self.stack] if self.stack > 1 else []
        image = rng.integers(0, 256, (2, *frames, SIDE, SIDE, 3), dtype=np.uint8)
        measured = rng.standard_normal((2, self.measured)).astype(np.float32) if self.measured else None
        golden = {"image": image} if measured is None else {"image": image, "measured": measured}
        ends = np.cumsum([math.prod(tensor.shape) for tensor in self.state])
        for tensor, part in zip(self.state, np.split(self.encoded(image, measured), ends[:-1], axis=1), strict=True):
            if tensor in self.taken:
                golden[tensor.name] = part.reshape(2, *tensor.shape)
        self._write_encoder([*frames, SIDE, SIDE, 3])
        golden |= self._write_predictor(manifest, rng)
        if heads:
            (self.folder / "heads").mkdir()
            golden |= _write_heads(self.folder, self.latent, self.actions, heads, self.judge, self.act)
        np.savez(self.folder / "golden.npz", **golden)
        write_manifest(self.folder, manifest)

    def _write_encoder(self, image):
        inputs = {"image": (TensorProto.UINT8, image)}
        nodes = [("Cast", ["image"], ["float"], {"to": TensorProto.FLOAT}), ("Flatten", ["float"], ["flat"], {}),
                 ("Div", ["flat", "scale"], ["pixels"], {})]  # fmt: skip
        read = ["pixels"]
        if self.measured:
            inputs["measured"] = (TensorProto.FLOAT, [self.measured])
            read.append("measured")
        nodes.append(("Concat", read, ["all"], {"axis": 1}))
        constants = {"scale": np.array(255, np.float32)}
        outputs = {}
        for tensor in self.taken:
            nodes += _shaped("all", self.look[tensor.name], tensor.name, [0, *tensor.shape], constants)
            outputs[tensor.name] = (TensorProto.FLOAT, list(tensor.shape))
        save(self.folder / "encoder.onnx", nodes, inputs, outputs, constants)

    def _write_predictor(self, manifest, rng):
        flat = [f"{tensor.name}_flat" for tensor in self.taken]
        constants = {"flat_shape": np.array([0, self.context, -1]), "times": self.times}
        nodes = [("Reshape", [t.name, "flat_shape"], [name], {}) for t, name in zip(self.taken, flat, strict=True)]
        nodes += [("Concat", [*flat, "action"], ["rows"], {"axis": 2}), ("MatMul", ["times", "rows"], ["read"], {})]
        inputs = {t.name: (TensorProto.FLOAT, [self.context, *t.shape]) for t in self.taken}
        inputs["action"] = (TensorProto.FLOAT, [self.context, self.actions])
        time = [self.context] if self.output == "sequence" else []
        golden = {name: rng.standard_normal((3, *shape)).astype(np.float32) for name, (_, shape) in inputs.items()}
        read = self.times @ np.concatenate([part.reshape(3, self.context, -1) for part in golden.values()], axis=2)
        outputs = {}
        for tensor in self.state:
            name = manifest.next_name(tensor)
            nodes += _shaped("read", self.step[tensor.name], name, [0, *time, *tensor.shape], constants)
            outputs[name] = (TensorProto.FLOAT, [*time, *tensor.shape])
            golden[name] = (read @ self.step[tensor.name]).reshape(3, *time, *tensor.shape)
        save(self.folder / "predictor.onnx", nodes, inputs, outputs, constants)
        for tensor in self.taken:
            golden["context" if len(self.state) == 1 else f"context_{tensor.name}"] = golden.pop(tensor.name)
        return golden


def save(path, nodes, inputs, outputs, constants):
    """A graph of nodes (operator, inputs, outputs, attributes); its inputs' and outputs' first size is free."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(kind, taken, given, **more) for kind, taken, given, more in nodes],
        path.stem,
        [value(name, kind, ["N", *shape]) for name, (kind, shape) in inputs.items()],
        [value(name, kind, ["N", *shape]) for name, (kind, shape) in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _shaped(read, weights, name, shape, constants):
    """A product with weights, in this shape."""
    constants |= {f"{name}_weights": weights, f"{name}_shape": np.array(shape)}
    return [("MatMul", [read, f"{name}_weights"], [f"{name}_rows"], {}),
            ("Reshape", [f"{name}_rows", f"{name}_shape"], [name], {})]  # fmt: skip


def _write_heads(folder, latent, actions, heads, judge, act):
    rng, golden, float_ = np.random.default_rng(1), {}, TensorProto.FLOAT
    seen, goal = (rng.standard_normal((3, *latent.shape)).astype(np.float32) for _ in range(2))
    noise = rng.standard_normal((3, actions)).astype(np.float32)
    if "value" in heads:
        nodes = [("Add", ["latent", "goal"], ["both"], {}), ("Flatten", ["both"], ["flat"], {}),
                 *_shaped("flat", judge, "value", [-1], constants := {})]  # fmt: skip
        inputs = dict.fromkeys(("latent", "goal"), (float_, latent.shape))
        save(folder / "heads" / "value.onnx", nodes, inputs, {"value": (float_, [])}, constants)
        golden |= {"head_value_latent": seen, "head_value_goal": goal}
        golden["head_value_output"] = ((seen + goal).reshape(3, -1) @ judge)[:, 0]
    if "policy" in heads:
        nodes = [("Flatten", ["latent"], ["flat"], {}), *_shaped("flat", act, "mean", [0, actions], constants := {}),
                 ("Add", ["mean", "noise"], ["does"], {})]  # fmt: skip
        inputs = {"latent": (float_, latent.shape), "noise": (float_, [actions])}
        save(folder / "heads" / "policy.onnx", nodes, inputs, {"does": (float_, [actions])}, constants)
        golden |= {"head_policy_latent": seen, "head_policy_noise": noise}
        golden["head_policy_output"] = seen.reshape(3, -1) @ act + noise
    if "led" in heads:
        nodes = [("Sub", ["goal", "latent"], ["way"], {}), ("Flatten", ["way"], ["flat"], {}),
                 *_shaped("flat", act, "mean", [0, actions], constants := {}),
                 ("Add", ["mean", "noise"], ["does"], {})]  # fmt: skip
        inputs = {**dict.fromkeys(("latent", "goal"), (float_, latent.shape)), "noise": (float_, [actions])}
        save(folder / "heads" / "led.onnx", nodes, inputs, {"does": (float_, [actions])}, constants)
        golden |= {"head_led_latent": seen, "head_led_goal": goal, "head_led_noise": noise}
        golden["head_led_output"] = (goal - seen).reshape(3, -1) @ act + noise
    return golden


def _given(array):
    return [] if array is None else [np.asarray(array, float)]
