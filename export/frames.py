"""Frames and actions of bags or run files, and what a model's graphs are given while it plans from them. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jepa_ros.arrays import read_arrays
from jepa_ros.bundle.loader import ENCODER, PREDICTOR
from jepa_ros.bundle.manifest import Manifest
from jepa_ros.errors import BundleError, JepaRosError
from jepa_ros.golden import golden_cases
from jepa_ros.types import Float32, UInt8
from jepa_ros.vision import Preprocessor
from jepa_ros.world_model import OnnxWorldModel

Inputs = dict[str, NDArray[np.generic]]
Prepare = Callable[[UInt8], UInt8]

_MOST_WINDOWS = 96
_MOST_FILES = 24  # run files that are read, evenly over all
_ROWS = 32  # frames that are encoded at once


@dataclass(frozen=True)
class Windows:
    """Stretches of a recording, each a whole context of a model and one step more.

    Attributes:
        images: uint8 `[N, T + 1, (S,) h, w, c]`, as the encoder takes them.
        actions: `[N, T, A]` in the manifest's units; row t was applied from image t to image t + 1.
    """

    images: UInt8
    actions: Float32

    def encoded(self, model: OnnxWorldModel) -> Float32:
        """Latents `[N, T + 1, D]`."""
        flat = self.images.reshape(-1, *self.images.shape[2:])
        parts = [model.encode_batch(flat[i : i + _ROWS]) for i in range(0, len(flat), _ROWS)]
        return np.concatenate(parts).reshape(*self.images.shape[:2], -1)


def read_windows(path: Path, manifest: Manifest) -> Windows:
    """At most 96 windows, spread evenly over everything that was recorded.

    Args:
        path: a bag, a folder of bags, a run file or a folder of run files; frames are prepared as a robot does it.
        manifest: of the bundle.

    Raises:
        BundleError: nothing there, nothing long enough, or recordings that do not fit the bundle; or its encoder takes
            measurements, which these recordings do not hold.
    """
    where = f"--calibrate {path}"
    if manifest.proprio is not None:
        raise BundleError(f"{where}: recordings hold no {', '.join(manifest.proprio.names)}, which the encoder takes")
    if not path.exists():
        raise BundleError(f"{where}: there is no such file or folder; give a bag, or a folder of run files")
    stack, block, context = manifest.camera.frame_stack, manifest.action.block, manifest.predictor.max_context
    length = (stack - 1 + context) * block + 1
    recordings = list(_run_files(path, manifest) if _run_paths(path) else _bags(path, manifest))
    starts = [(r, i) for r, (frames, _, _) in enumerate(recordings) for i in range(len(frames) - length + 1)]
    if not starts:
        raise BundleError(f"{where}: has no {length} frames in a row, which one context needs; record for longer")
    images, actions = [], []
    for pick in np.unique(np.linspace(0, len(starts) - 1, _MOST_WINDOWS).round().astype(int)):
        recording, first = starts[pick]
        frames, applied, prepare = recordings[recording]
        now = first + (stack - 1) * block + np.arange(context + 1) * block
        stacked = [[prepare(frames[at - back * block]) for back in reversed(range(stack))] for at in now]
        images.append([rows[0] if stack == 1 else np.stack(rows) for rows in stacked])
        actions.append([applied[at : at + block].reshape(-1) for at in now[:-1]])
    return Windows(np.array(images, np.uint8), np.array(actions, np.float32))


def graph_inputs(model: OnnxWorldModel, windows: Windows, rng: np.random.Generator) -> dict[str, Inputs]:
    """What the model's graphs take while it plans from recordings, `[N, …]` by file and input.

    Each context comes twice: with the actions that were carried out, and with actions drawn from all of the bounds, as
    a planner draws them. Heads judge latents that were seen and ones that were predicted, against others as goals.
    Golden inputs come last, edges and noise among them: what lies outside of all ranges is cut off, and a check against
    golden values that are cut off checks little.
    """
    manifest, layout = model.manifest, model.layout
    latents = windows.encoded(model)
    contexts = np.concatenate([latents[:, :-1]] * 2)
    drawn = rng.uniform(*bounds(manifest), windows.actions.shape).astype(np.float32)
    actions = np.concatenate([windows.actions, drawn])
    predictor: Inputs = {
        t.name: contexts[..., layout.place(t.name)].reshape(*contexts.shape[:2], *t.shape) for t in layout.taken
    }
    images = windows.images.reshape(-1, *windows.images.shape[2:])
    found: dict[str, Inputs] = {ENCODER: {"image": images}, PREDICTOR: {**predictor, "action": actions}}
    predicted = model.rollout(contexts, actions[:, :-1], actions[:, -1:])[:, 0]
    judged = layout.part(np.concatenate([latents.reshape(-1, layout.size), predicted]), layout.latent.name)
    judged = judged.reshape(-1, *layout.latent.shape)
    given = {"latent": judged, "goal": rng.permutation(judged)}
    given["noise"] = rng.standard_normal((len(judged), model.action_dim)).astype(np.float32)
    for head in manifest.heads.values():
        found[head.file] = {part: given[part] for part in head.inputs}
    golden = model.bundle.golden()
    for case in golden_cases(manifest):
        if case.file in found:
            inputs = found[case.file]
            found[case.file] = {part: np.concatenate([inputs[part], golden[key]]) for part, key in case.inputs.items()}
    return found


def bounds(manifest: Manifest) -> tuple[Float32, Float32]:
    """Low and high action `[A]` of one model step, what is fixed at its value."""
    action = manifest.action
    found = []
    for limits in (action.low, action.high):
        values = [action.fixed.get(name, value) for name, value in zip(action.names, limits, strict=True)]
        found.append(np.tile(np.array(values, np.float32), action.block))
    return found[0], found[1]


def _run_paths(path: Path) -> list[Path]:
    return [path] if path.suffix == ".npz" else sorted(path.glob("run_*.npz"))


def _run_files(path: Path, manifest: Manifest) -> Iterator[tuple[UInt8, Float32, Prepare]]:
    """Frames, the action of each until the next, and what prepares a frame for the encoder."""
    paths = _run_paths(path)
    for file in paths[:: -(-len(paths) // _MOST_FILES)]:
        try:
            run = read_arrays(file)
            images, actions, step_s = run["images"], run["actions"].astype(np.float32), float(run["step_s"])
        except KeyError as error:
            raise BundleError(f"run file {file}: has no {error.args[0]}; collect it again or remove it") from error
        except (JepaRosError, ValueError, TypeError) as error:
            raise BundleError(f"run file {file}: is damaged ({error}); collect it again or remove it") from error
        _check(file, manifest, images, actions, step_s)
        yield np.asarray(images, np.uint8), actions, Preprocessor(manifest.camera)


def _bags(path: Path, manifest: Manifest) -> Iterator[tuple[UInt8, Float32, Prepare]]:
    """The same, of every unbroken stretch; frames are prepared as they are read."""
    try:
        from jepa_ros_replay.bags import Bag, find_bags
        from jepa_ros_replay.runs import stretches_of
    except ModuleNotFoundError as error:
        raise BundleError(f"--calibrate: bags need {error.name}; pip install 'jepa_ros[replay]'") from error
    step_s = manifest.timing.step_s / manifest.action.block
    try:
        for found in find_bags([path]):
            for stretch in stretches_of(Bag(found), step_s, manifest.camera, tuple(manifest.action.names)).stretches:
                applied = np.stack([*stretch.actions, np.zeros_like(stretch.actions[0])])
                yield np.stack(stretch.images), applied, lambda frame: frame
    except JepaRosError as error:
        raise BundleError(f"--calibrate: {error}") from error


def _check(file: Path, manifest: Manifest, images: Any, actions: Float32, step_s: float) -> None:
    """Refuse what is no run, and actions or a time step that are not the bundle's."""
    action, wanted = manifest.action, manifest.timing.step_s / manifest.action.block
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8 or len(actions) != len(images):
        raise BundleError(f"run file {file}: images must be uint8 [N, h, w, 3] with N actions; collect it again")
    if actions.ndim != 2 or actions.shape[1] != len(action.names):
        raise BundleError(
            f"run file {file}: its actions are {list(actions.shape)}, the bundle's {', '.join(action.names)}"
        )
    if abs(step_s - wanted) > 0.02 * wanted:
        raise BundleError(f"run file {file}: its frames are {step_s:g} s apart, the bundle needs {wanted:g} s")
