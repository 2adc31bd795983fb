"""A bundle small enough to be made in every test run: linear graphs whose best plan is known."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from jepa_ros.bundle.loader import write_manifest
from jepa_ros.bundle.manifest import (
    ActionSpec,
    Calibration,
    CameraSpec,
    CostTerm,
    Head,
    Manifest,
    PlannerDefaults,
    PredictorSpec,
    StateTensor,
    Timing,
)
from tests.dds_leftovers import remove_dead_segments

SIDE, LATENT, CONTEXT = 16, 8, 3

# A shell's background job has Ctrl-C ignored, and so would the processes that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _save(
    path: Path, nodes: list[onnx.NodeProto], inputs: list, outputs: list, constants: dict[str, np.ndarray]
) -> None:
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def make_tiny_bundle(folder: Path, channels: int = 3, head: bool = False) -> Path:
    """Encoder: a fixed projection of the pixels. Predictor: the last latent plus a fixed projection of the last
    action. Head "value", where asked for: the squared distance of a latent from a goal."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    look = (rng.standard_normal((SIDE * SIDE * channels, LATENT)) / SIDE).astype(np.float32)
    push = np.eye(3, LATENT, dtype=np.float32)
    value = helper.make_tensor_value_info
    _save(
        folder / "encoder.onnx",
        [
            helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["float"], ["flat"], axis=1),
            helper.make_node("Div", ["flat", "scale"], ["pixels"]),
            helper.make_node("MatMul", ["pixels", "look"], ["latent"]),
        ],
        [value("image", TensorProto.UINT8, ["N", SIDE, SIDE, channels])],
        [value("latent", TensorProto.FLOAT, ["N", LATENT])],
        {"scale": np.array(255.0, np.float32), "look": look},
    )
    _save(
        folder / "predictor.onnx",
        [
            helper.make_node("Gather", ["latent", "last"], ["from"], axis=1),
            helper.make_node("Gather", ["action", "last"], ["by"], axis=1),
            helper.make_node("MatMul", ["by", "push"], ["change"]),
            helper.make_node("Add", ["from", "change"], ["next"]),
        ],
        [
            value("latent", TensorProto.FLOAT, ["B", CONTEXT, LATENT]),
            value("action", TensorProto.FLOAT, ["B", CONTEXT, 3]),
        ],
        [value("next", TensorProto.FLOAT, ["B", LATENT])],
        {"last": np.array(CONTEXT - 1, np.int64), "push": push},
    )
    image = rng.integers(0, 256, (2, SIDE, SIDE, channels), dtype=np.uint8)
    context = rng.standard_normal((4, CONTEXT, LATENT)).astype(np.float32)
    action = rng.standard_normal((4, CONTEXT, 3)).astype(np.float32)
    heads, head_golden = {}, {}
    if head:
        (folder / "heads").mkdir()
        _save(
            folder / "heads" / "value.onnx",
            [
                helper.make_node("Sub", ["latent", "goal"], ["off"]),
                helper.make_node("ReduceSumSquare", ["off"], ["value"], axes=[1], keepdims=0),
            ],
            [value(name, TensorProto.FLOAT, ["B", LATENT]) for name in ("latent", "goal")],
            [value("value", TensorProto.FLOAT, ["B"])],
            {},
        )
        heads = {"value": Head(file="heads/value.onnx", inputs=["latent", "goal"], output="value")}
        head_golden = {
            "head_value_latent": context[:, 0],
            "head_value_goal": context[:, 1],
            "head_value_output": np.square(context[:, 0] - context[:, 1]).sum(axis=1),
        }
    np.savez(
        folder / "golden.npz",
        **head_golden,
        image=image,
        latent=(image.reshape(2, -1).astype(np.float32) / 255.0) @ look,
        context=context,
        action=action,
        next=context[:, -1] + action[:, -1] @ push,
    )
    manifest = Manifest(
        family="linear",
        name="tiny",
        licence="Apache-2.0",
        source="made by the tests",
        created_by="tests/conftest.py",
        camera=CameraSpec(width=SIDE, height=SIDE, channels=channels, horizontal_fov_rad=1.5708),
        timing=Timing(step_s=0.2, history_min=CONTEXT, history_max=CONTEXT),
        state=[StateTensor(name="latent", kind="vector", shape=(LATENT,))],
        action=ActionSpec(
            names=["vx", "vy", "wz"], units=["m/s", "m/s", "rad/s"], low=[-0.4, -0.3, -0.9], high=[0.6, 0.3, 0.9]
        ),
        predictor=PredictorSpec(max_context=CONTEXT),
        heads=heads,
        cost=[CostTerm(weight=1.0), CostTerm(weight=0.5, steps="last")],
        planner=PlannerDefaults(name="cem", samples=32, iterations=2, elites=6, horizon=4, knot=2),
        calibration=Calibration(arrival_energy=0.01, surprise_p50=0.001, surprise_p99=0.01),
    )
    write_manifest(folder, manifest)
    return folder


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Path:
    """A fresh copy for each test, which may damage it."""
    return make_tiny_bundle(tmp_path / "tiny")


@pytest.fixture
def tiny_bundle_with_head(tmp_path: Path) -> Path:
    """The same with a head."""
    return make_tiny_bundle(tmp_path / "headed", head=True)


@pytest.fixture
def tiny_grey_bundle(tmp_path: Path) -> Path:
    """The same with an encoder that takes one channel."""
    return make_tiny_bundle(tmp_path / "grey", channels=1)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Free what earlier runs left in shared memory; later, participants of this process may still look at it."""
    remove_dead_segments()


_ended: list[int] = []


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remember how the tests went."""
    _ended.append(int(exitstatus))


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End at once when everything is reported, with pytest's own exit code.

    Once, a run of all tests crashed while Python was taken down, after the last line of its report; the cause is not
    known. This process holds DDS, torch, EGL and Ray together, which none on a robot does.
    """
    if _ended:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_ended[0])
