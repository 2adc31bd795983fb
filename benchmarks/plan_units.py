"""What `jepa-bench plan` plans with: a bundle, or a unit, whose bundle is made from random weights at its first use.

`lewm` is LeWM's predictor at the size of 4.1 M parameters (latent 192, 6 causal AdaLN blocks of 3 heads of 64 and a
feed-forward of 768, projector 192) with its context of 3 steps, which slides. `lewm-long` is the same with a context of
8 that never slides, so that keys and values may be kept. Both plan from a history of 3 by CEM 300 × 10, 30 elites,
horizon 5, on the squared distance of the last latent.

`vjepa2-ac` is V-JEPA 2-AC's predictor at its published size (305 M parameters, 256 tokens of 1408), which plans one
step ahead by CEM 800 × 10 on the L1 distance of its tokens. Its encoder is one layer deep, since plans do not use it,
and its matrices are a block of random numbers over and over, so that the unit can be packed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from jepa_ros.bundle.loader import Bundle, load_bundle, sha256
from jepa_ros.bundle.manifest import MANIFEST_NAME, PlannerDefaults
from jepa_ros.errors import JepaRosError
from jepa_ros_benchmarks.plan_problems import cache_folder, key_of

UnitName = Literal["lewm", "lewm-long", "vjepa2-ac"]
LARGE: UnitName = "vjepa2-ac"
SEED, LONG = 0, 8
_DRAWN = "by NumPy"  # another way to draw weights makes another unit
_WIDTH = 0.02  # of their distribution: the usual one of a transformer before training
_BLOCK = 1_000_003  # numbers that the weights of the large unit repeat; a prime, so that no two rows are alike
_DEFAULT_FAMILY = "sigreg_jepa"


@dataclass(frozen=True)
class Subject:
    """A bundle to plan with.

    Attributes:
        name: the unit's, or the bundle's folder.
        made_s: seconds that making the unit took; None where it was there.
        torch: makes `TorchWorld` with the bundle's weights.
        is_unit: whether its weights are random.
    """

    name: str
    bundle: Bundle
    made_s: float | None
    torch: Callable[[], object]
    is_unit: bool


def unit(name: UnitName) -> Subject:
    """The unit's bundle, from the cache, else made there (torch is needed once)."""
    import time

    path = cache_folder() / f"{name}-{_unit_key(name)}"
    made = None
    if not (path / MANIFEST_NAME).is_file():
        from jepa_ros_export.writer import write_bundle

        begin = time.perf_counter()
        write_bundle(_parts(name), path, with_derivative=name != LARGE)
        made = time.perf_counter() - begin
    return Subject(name, load_bundle(path), made, lambda: _unit_world(name), is_unit=True)


def given(path: Path) -> Subject:
    """Somebody's bundle."""
    bundle = load_bundle(path)
    return Subject(path.resolve().name, bundle, None, lambda: _bundle_world(bundle), is_unit=False)


def lowered(bundle: Bundle, precision: str) -> Bundle:
    """The bundle at this precision: itself for fp32, else converted as `jepa-export precision` does it, and cached.

    Raises:
        JepaRosError: a precision that there is no conversion to, or a graph that cannot be converted.
    """
    if precision == "fp32":
        return bundle
    if precision not in ("fp16", "int8"):
        raise JepaRosError(f"{precision}: bundles are fp32, fp16 or int8")
    from jepa_ros_export import low_precision
    from jepa_ros_export import precision as conversion

    sources = [sha256(Path(str(module.__file__))) for module in (conversion, low_precision)]
    key = key_of(sha256(bundle.path / MANIFEST_NAME), sources)
    path = cache_folder() / f"{bundle.path.name}-{precision}-{key}"
    if not (path / MANIFEST_NAME).is_file():
        conversion.lower_bundle(bundle.path, path, conversion.Request(precision=precision, plans=0))
    return load_bundle(path)


def _unit_config(name: UnitName):
    """The published settings but for these; see above."""
    from jepa_ros_export import lewm, vjepa2_ac

    if name == LARGE:
        planner = PlannerDefaults(
            name="cem", samples=800, iterations=10, elites=10, horizon=1, knot=1, std=1.0, min_std=0.0, momentum=0.15
        )
        return vjepa2_ac.Config(name=name, planner=planner, max_context=1, encoder_depth=1)
    planner = PlannerDefaults(
        name="cem", samples=300, iterations=10, elites=30, horizon=5, knot=1, min_std=0.0, momentum=0.0
    )
    return lewm.Config(
        name=name, context=LONG if name == "lewm-long" else 3, history=3, planner=planner,
        heads=3, head_dim=64, mlp_dim=768, projector_dim=192, action_scale=1,
        image_size=32, patch_size=8, encoder_dim=48, encoder_depth=2,
    )  # fmt: skip


def _parts(name: UnitName):
    """The unit's modules; the same weights each time."""
    import torch

    from jepa_ros_export import lewm, vjepa2_ac

    config = _unit_config(name)
    with torch.random.fork_rng(devices=[]):
        if name == LARGE:
            return vjepa2_ac.build(_repeated(vjepa2_ac.random_checkpoint(config)), config)
        parts = lewm.build(_drawn(lewm.random_checkpoint(config)), config)
    if name != "lewm-long":
        return parts
    manifest = parts.manifest
    still = manifest.predictor.model_copy(update={"sliding": False})
    return replace(parts, manifest=manifest.model_copy(update={"predictor": still}))


def _drawn(state: dict):
    """The same shapes, drawn by NumPy: PyTorch's versions draw differently. As wide as `lewm.random_checkpoint`."""
    import torch

    rng = np.random.default_rng(SEED)
    for name, tensor in sorted(state.items()):
        if not tensor.is_floating_point():
            continue
        drawn = rng.standard_normal(tuple(tensor.shape), np.float32)
        if name.endswith("running_var"):
            drawn = rng.uniform(0.5, 1.5, tuple(tensor.shape)).astype(np.float32)
        elif tensor.ndim > 1:
            drawn *= tensor[0].numel() ** -0.5
        else:  # a norm's weight, or a bias
            drawn = np.float32(name.endswith("weight")) + 0.1 * drawn
        tensor.copy_(torch.from_numpy(drawn))
    return state


def _repeated(state: dict):
    """The same shapes; matrices are one block of numbers over and over, other weights 1, biases 0."""
    import torch

    block = torch.from_numpy(np.random.default_rng(SEED).standard_normal(_BLOCK, np.float32) * np.float32(_WIDTH))
    for number, (name, tensor) in enumerate(sorted(state.items())):
        if tensor.ndim > 1:
            count = tensor.numel()
            many = block.roll(number).repeat(-(-count // _BLOCK))  # equal ones would be stored, and read, once
            tensor.copy_(many[:count].view(tensor.shape))
        elif tensor.ndim == 1:
            tensor.fill_(float(name.endswith("weight")))
    return state


def _unit_key(name: str) -> str:
    """Of what makes the unit: its settings, and the export's sources, since they write its graphs."""
    try:
        import jepa_ros_export
    except ModuleNotFoundError as error:
        raise JepaRosError("a unit is made by jepa_ros_export, which is not installed") from error
    folder = Path(jepa_ros_export.__file__).parent
    sources = {path.name: sha256(path) for path in sorted(folder.glob("*.py"))}
    return key_of(_unit_config(name).model_dump(mode="json"), SEED, LONG, _DRAWN, sources)


def _unit_world(name: UnitName) -> object:
    from jepa_ros_benchmarks.plan_torch import torch_world

    parts = _parts(name)
    return torch_world(parts.manifest, parts.predictor, parts.heads)


def _bundle_world(bundle: Bundle) -> object:
    """The PyTorch modules of a bundle of the default family, with its weights.

    Raises:
        JepaRosError: of another family: there, the modules are where the checkpoint is.
    """
    from jepa_ros_benchmarks.plan_torch import torch_world
    from jepa_ros_training.value import ValueConfig, ValueHead
    from jepa_ros_training.warm_start import load_weights

    if bundle.manifest.family != _DEFAULT_FAMILY:
        raise JepaRosError(
            f"bundle {bundle.path}: the PyTorch baseline has the modules of {_DEFAULT_FAMILY} and of the units, not of "
            f"{bundle.manifest.family}"
        )
    heads = {}
    for name, spec in bundle.manifest.heads.items():
        heads[name] = ValueHead(ValueConfig(latent=bundle.manifest.latent.shape[0]))
        heads[name].load_state_dict(_weights(bundle.file(spec.file), dict(heads[name].named_parameters())))
    return torch_world(bundle.manifest, load_weights(bundle.path).predictor, heads)


def _weights(graph: Path, named: dict):
    """The graph's weights of these names; graphs keep their modules' names."""
    import onnx
    import torch
    from onnx import numpy_helper

    found = {weight.name: numpy_helper.to_array(weight) for weight in onnx.load(str(graph)).graph.initializer}
    missing = named.keys() - found.keys()
    if missing:
        raise JepaRosError(f"graph {graph}: has no weight {sorted(missing)[0]}")
    return {name: torch.from_numpy(found[name].copy()) for name in named}
